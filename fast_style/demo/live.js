// Called again with each stylized snapshot, on the same elements.
export default function ({ data, parentElement, setTriggerValue }) {
  const view = parentElement.querySelector(".view");
  const image = view.querySelector("img");
  const video = view.querySelector("video");
  const button = parentElement.querySelector(".switch");
  const state = parentElement.querySelector(".state");

  const send = () => {
    const scale = Math.min(1, data.side / Math.max(video.videoWidth, video.videoHeight));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(video.videoWidth * scale));
    canvas.height = Math.max(1, Math.round(video.videoHeight * scale));
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    setTriggerValue("frame", canvas.toDataURL("image/jpeg", 0.85));
  };
  const stop = () => {
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
    image.hidden = true;
    button.textContent = "Start the camera";
    state.textContent = "";
  };
  button.onclick = async () => {
    if (video.srcObject) return stop();
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
      await video.play();
    } catch (error) {
      state.textContent = navigator.mediaDevices
        ? `The camera cannot be used: ${error.message}`
        : "Browsers open the camera only for pages from this machine or over HTTPS.";
      return;
    }
    view.style.aspectRatio = `${video.videoWidth} / ${video.videoHeight}`;
    button.textContent = "Stop the camera";
    send();
  };

  if (data.picture && video.srcObject && view.dataset.number !== String(data.number)) {
    view.dataset.number = data.number;
    image.alt = `The camera in the style of ${data.style}`;
    image.src = data.picture;
    image.hidden = false;
    const now = performance.now();
    if (view.last) state.textContent = `${(1000 / (now - view.last)).toFixed(1)} pictures a second`;
    view.last = now;
    setTimeout(() => video.srcObject && send(), 30);
  }
  return () => {
    if (!parentElement.isConnected && !parentElement.host?.isConnected) stop();
  };
}

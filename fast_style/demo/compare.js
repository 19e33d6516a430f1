// Called again with new data on the same elements, so everything here must be repeatable.
export default function ({ data, parentElement }) {
  const stage = parentElement.querySelector(".stage");
  const range = stage.querySelector("input");
  const images = { before: stage.querySelector(".before"), after: stage.querySelector(".after") };

  stage.style.aspectRatio = `${data.width} / ${data.height}`;
  stage.style.maxWidth = `calc(64vh * ${data.width / data.height})`;
  range.setAttribute("aria-label", data.label);
  images.before.alt = data.before_alt;
  images.after.alt = data.after_alt;
  for (const [name, image] of Object.entries(images)) {
    if (image.src !== data[name]) image.src = data[name];
  }

  // Only where the browser can share files: on phones, and where the page is served by HTTPS.
  const share = stage.querySelector(".share");
  const makeFile = () => {
    const bytes = Uint8Array.from(atob(data.after.split(",")[1]), (letter) => letter.charCodeAt(0));
    return new File([bytes], data.file_name, { type: "image/jpeg" });
  };
  const probe = data.file_name && { files: [new File([], data.file_name, { type: "image/jpeg" })] };
  share.hidden = !(probe && navigator.share && navigator.canShare?.(probe));
  share.onpointerdown = (event) => event.stopPropagation();
  share.onclick = () => navigator.share({ files: [makeFile()] }).catch(() => {}); // it was cancelled

  const show = () => {
    stage.style.setProperty("--at", `${range.value}%`);
    range.setAttribute("aria-valuetext", `${range.value} % photo`);
  };
  const follow = (event) => {
    const box = stage.getBoundingClientRect();
    range.value = Math.round((100 * (event.clientX - box.left)) / box.width);
    show();
  };
  range.onkeydown = (event) => {
    const steps = { ArrowLeft: -5, ArrowDown: -5, ArrowRight: 5, ArrowUp: 5 };
    if (!(event.key in steps)) return; // the browser handles Home, End and the page keys
    event.preventDefault();
    range.value = Number(range.value) + steps[event.key];
    show();
  };
  range.oninput = show;
  stage.onpointerdown = (event) => {
    if (event.button !== 0) return;
    stage.setPointerCapture(event.pointerId);
    follow(event);
    range.focus({ preventScroll: true, focusVisible: false });
    event.preventDefault();
  };
  stage.onpointermove = (event) => {
    if (stage.hasPointerCapture(event.pointerId)) follow(event);
  };
  show();
}

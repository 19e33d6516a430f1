// Called again with new data on the same elements, so everything here must be repeatable.
const INK = "#ff6a1f";

export default function ({ data, parentElement, setStateValue }) {
  const board = parentElement.querySelector(".board");
  const image = board.querySelector("img");
  const canvas = board.querySelector("canvas");
  const size = parentElement.querySelector("input");
  const context = canvas.getContext("2d");
  const pressed = { paint: parentElement.querySelector(".paint"), erase: parentElement.querySelector(".erase") };

  board.style.aspectRatio = `${data.width} / ${data.height}`;
  board.style.maxWidth = `calc(56vh * ${data.width / data.height})`;
  image.alt = data.alt;
  if (image.src !== data.photo) image.src = data.photo;

  const fill = (color) => {
    context.globalCompositeOperation = "source-over";
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (color) {
      context.fillStyle = color;
      context.fillRect(0, 0, canvas.width, canvas.height);
    }
  };

  if (board.dataset.stamp !== data.stamp) {
    board.dataset.stamp = data.stamp;
    canvas.width = data.width;
    canvas.height = data.height;
    if (data.mask) {
      const old = new Image();
      old.onload = () => {
        // White of the mask becomes ink, black becomes transparent.
        fill();
        context.drawImage(old, 0, 0, canvas.width, canvas.height);
        const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
        for (let i = 0; i < pixels.data.length; i += 4) {
          pixels.data[i + 3] = pixels.data[i];
          pixels.data.set([255, 106, 31], i);
        }
        context.putImageData(pixels, 0, 0);
      };
      old.src = data.mask;
    }
  }

  const send = () => {
    const whole = document.createElement("canvas");
    whole.width = canvas.width;
    whole.height = canvas.height;
    const target = whole.getContext("2d");
    target.drawImage(canvas, 0, 0);
    target.globalCompositeOperation = "source-in";
    target.fillStyle = "#fff";
    target.fillRect(0, 0, whole.width, whole.height);
    target.globalCompositeOperation = "destination-over";
    target.fillStyle = "#000";
    target.fillRect(0, 0, whole.width, whole.height);
    setStateValue("mask", whole.toDataURL("image/png"));
  };

  const choose = (name) => {
    for (const [key, button] of Object.entries(pressed)) {
      button.setAttribute("aria-pressed", String(key === name));
    }
  };
  pressed.paint.onclick = () => choose("paint");
  pressed.erase.onclick = () => choose("erase");
  parentElement.querySelector(".all").onclick = () => {
    fill(INK);
    send();
  };
  parentElement.querySelector(".clear").onclick = () => {
    fill();
    send();
  };

  let last = null;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) * canvas.width) / box.width,
      ((event.clientY - box.top) * canvas.height) / box.height,
    ];
  };
  const draw = (event) => {
    const now = at(event);
    const erase = pressed.erase.getAttribute("aria-pressed") === "true";
    context.globalCompositeOperation = erase ? "destination-out" : "source-over";
    context.strokeStyle = INK;
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = (Number(size.value) / 100) * Math.max(canvas.width, canvas.height);
    context.beginPath();
    context.moveTo(...(last ?? now));
    context.lineTo(...now);
    context.stroke();
    last = now;
  };
  canvas.onpointerdown = (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    last = null;
    draw(event);
    event.preventDefault();
  };
  canvas.onpointermove = (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    for (const one of event.getCoalescedEvents?.() ?? [event]) draw(one);
  };
  canvas.onpointerup = canvas.onpointercancel = (event) => {
    if (last === null) return;
    last = null;
    send();
  };
}

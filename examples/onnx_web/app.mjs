import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs";
import { Camera } from "./camera.mjs";

const MAX_SIDE = 1024; // pixels; larger photos are made smaller first

const select = document.getElementById("style");
const input = document.getElementById("photo");
const button = document.getElementById("camera");
const status = document.getElementById("status");
const canvas = document.getElementById("picture");
const context = canvas.getContext("2d", { willReadFrequently: true });

const sessions = new Map(); // by the style's file; loaded when it is first chosen

/** Return the styles that are there: those of styles.json, or style.onnx alone. */
async function listStyles() {
  const response = await fetch("styles.json");
  return response.ok ? await response.json() : ["style.onnx"];
}

function session() {
  const file = select.value;
  if (!sessions.has(file)) {
    const options = { executionProviders: ["wasm"] };
    sessions.set(file, ort.InferenceSession.create(file, options));
  }
  return sessions.get(file);
}

/** Return what a canvas shows, in the chosen style. */
async function stylize(context) {
  const { width, height } = context.canvas;
  const pixels = context.getImageData(0, 0, width, height).data;
  const image = new ort.Tensor("uint8", new Uint8Array(pixels.buffer), [1, height, width, 4]);
  const { stylized } = await (await session()).run({ image });
  return new ImageData(new Uint8ClampedArray(stylized.data), width, height);
}

async function show(file) {
  const photo = await createImageBitmap(file);
  const scale = Math.min(1, MAX_SIDE / Math.max(photo.width, photo.height));
  canvas.width = Math.max(5, Math.round(photo.width * scale)); // the smallest side that the style takes
  canvas.height = Math.max(5, Math.round(photo.height * scale));
  context.drawImage(photo, 0, 0, canvas.width, canvas.height);
}

const camera = new Camera(
  canvas,
  stylize,
  (rate) => {
    status.textContent = `${rate.toFixed(1)} frames a second.`;
  },
  (error) => {
    button.textContent = "Start the camera";
    input.disabled = false;
    status.textContent = `The camera has stopped: ${error.message ?? error}`;
  },
);

button.addEventListener("click", async () => {
  if (camera.running) {
    camera.stop();
    status.textContent = "Choose a photo, or start the camera.";
  } else {
    status.textContent = "Starting the camera …";
    try {
      await camera.start();
    } catch (error) {
      status.textContent = `The camera cannot be used: ${error.message ?? error}`;
    }
  }
  button.textContent = camera.running ? "Stop the camera" : "Start the camera";
  input.disabled = camera.running;
});

input.addEventListener("change", async () => {
  if (!input.files.length) return;
  input.disabled = button.disabled = true;
  status.textContent = "Stylizing …";
  try {
    await show(input.files[0]);
    const start = performance.now();
    context.putImageData(await stylize(context), 0, 0);
    status.textContent = `Done in ${((performance.now() - start) / 1000).toFixed(1)} s.`;
  } catch (error) {
    status.textContent = `This photo cannot be used: ${error.message ?? error}`;
  }
  input.disabled = button.disabled = false;
});

try {
  for (const file of await listStyles()) {
    select.add(new Option(file.replace(/\.onnx$/, ""), file));
  }
  await session();
  status.textContent = "Choose a photo, or start the camera.";
  select.disabled = input.disabled = button.disabled = false;
} catch (error) {
  status.textContent = `The style cannot be loaded: ${error.message ?? error}`;
}

import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs";

const MAX_SIDE = 1024; // pixels; larger photos are made smaller first

const input = document.getElementById("photo");
const status = document.getElementById("status");
const canvas = document.getElementById("picture");
const context = canvas.getContext("2d", { willReadFrequently: true });

/** Put the style on what the canvas shows. */
async function stylize(session) {
  const { width, height } = canvas;
  const pixels = context.getImageData(0, 0, width, height).data;
  const image = new ort.Tensor("uint8", new Uint8Array(pixels.buffer), [1, height, width, 4]);
  const { stylized } = await session.run({ image });
  const bytes = new Uint8ClampedArray(stylized.data);
  context.putImageData(new ImageData(bytes, width, height), 0, 0);
}

async function show(file) {
  const photo = await createImageBitmap(file);
  const scale = Math.min(1, MAX_SIDE / Math.max(photo.width, photo.height));
  canvas.width = Math.max(5, Math.round(photo.width * scale)); // the smallest side that the style takes
  canvas.height = Math.max(5, Math.round(photo.height * scale));
  context.drawImage(photo, 0, 0, canvas.width, canvas.height);
}

try {
  const session = await ort.InferenceSession.create("style.onnx", {
    executionProviders: ["wasm"],
  });
  status.textContent = "Choose a photo.";
  input.disabled = false;
  input.addEventListener("change", async () => {
    if (!input.files.length) return;
    input.disabled = true;
    status.textContent = "Stylizing …";
    try {
      await show(input.files[0]);
      const start = performance.now();
      await stylize(session);
      status.textContent = `Done in ${((performance.now() - start) / 1000).toFixed(1)} s.`;
    } catch (error) {
      status.textContent = `This photo cannot be used: ${error.message ?? error}`;
    }
    input.disabled = false;
  });
} catch (error) {
  status.textContent = `The style cannot be loaded: ${error.message ?? error}`;
}

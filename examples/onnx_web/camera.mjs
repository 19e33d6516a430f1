// A camera's frames through a style, as many as the machine can do; those in between are dropped.

const MAX_SIDE = 320; // pixels; smaller is faster
const SMOOTHING = 0.9; // of the frames a second that are shown

export class Camera {
  /**
   * @param canvas where frames are shown
   * @param stylize puts the style on what the canvas shows, asynchronously
   * @param report is called with the frames a second, after every frame
   * @param fail is called with an error that has ended it
   */
  constructor(canvas, stylize, report, fail) {
    this.canvas = canvas;
    this.video = document.createElement("video");
    this.video.muted = this.video.playsInline = true;
    this.stylize = stylize;
    this.report = report;
    this.fail = fail;
    this.stream = null;
  }

  get running() {
    return this.stream !== null;
  }

  async start() {
    if (!navigator.mediaDevices) {
      throw new Error("browsers give the camera to https pages and to localhost only");
    }
    this.stream = await navigator.mediaDevices.getUserMedia({
      video: { width: { ideal: 640 }, facingMode: "user" },
    });
    this.video.srcObject = this.stream;
    await this.video.play();
    this.canvas.classList.add("live");
    this.loop();
  }

  stop() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = this.video.srcObject = null;
    this.canvas.classList.remove("live");
  }

  async loop() {
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    let seconds = null;
    try {
      while (this.running) {
        const start = performance.now();
        const { videoWidth, videoHeight } = this.video;
        const scale = Math.min(1, MAX_SIDE / Math.max(videoWidth, videoHeight));
        const width = Math.round(videoWidth * scale);
        const height = Math.round(videoHeight * scale);
        if (this.canvas.width !== width || this.canvas.height !== height) {
          this.canvas.width = width;
          this.canvas.height = height;
        }
        // Drawn and stylized on a canvas that is not shown, or the raw frame would flash up.
        const frame = new OffscreenCanvas(width, height);
        const hidden = frame.getContext("2d", { willReadFrequently: true });
        hidden.drawImage(this.video, 0, 0, width, height);
        const picture = await this.stylize(hidden);
        if (!this.running) return;
        context.putImageData(picture, 0, 0);
        await new Promise(requestAnimationFrame); // so that it is shown, and keys and clicks come through
        const took = (performance.now() - start) / 1000;
        seconds = seconds === null ? took : SMOOTHING * seconds + (1 - SMOOTHING) * took;
        this.report(1 / seconds);
      }
    } catch (error) {
      this.stop();
      this.fail(error);
    }
  }
}

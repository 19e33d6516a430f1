// Two videos over each other. Their addresses are those of Streamlit's own players, which the page
// hides. Called again on the same elements, so everything here must be repeatable.
export default function ({ data, parentElement }) {
  const stage = parentElement.querySelector(".stage");
  const range = stage.querySelector("input");
  const [before, after] = ["before", "after"].map((name) => stage.querySelector(`.${name}`));
  const play = parentElement.querySelector(".play");
  const sound = parentElement.querySelector(".sound");

  stage.style.aspectRatio = `${data.width} / ${data.height}`;
  stage.style.maxWidth = `calc(64vh * ${data.width / data.height})`;
  after.setAttribute("aria-label", data.label);
  const load = () => {
    let missing = false;
    for (const [video, key] of [[before, data.before], [after, data.after]]) {
      const source = document.querySelector(`.st-key-${key} video`)?.src;
      if (!source) missing = true;
      else if (video.src !== source) video.src = source;
    }
    if (missing) setTimeout(load, 100);
  };
  load();

  const show = () => {
    stage.style.setProperty("--at", `${range.value}%`);
    range.setAttribute("aria-valuetext", `${range.value} % original`);
  };
  const follow = (event) => {
    const box = stage.getBoundingClientRect();
    range.value = Math.round((100 * (event.clientX - box.left)) / box.width);
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

  const sync = () => {
    if (Math.abs(before.currentTime - after.currentTime) > 0.06) before.currentTime = after.currentTime;
  };
  after.ontimeupdate = after.onseeked = sync;
  after.onplay = () => {
    before.play();
    play.textContent = "Pause";
  };
  after.onpause = () => {
    before.pause();
    play.textContent = "Play";
  };
  after.muted = sound.getAttribute("aria-pressed") !== "true";
  play.onclick = () => (after.paused ? after.play() : after.pause());
  sound.onclick = () => {
    after.muted = !after.muted;
    sound.setAttribute("aria-pressed", String(!after.muted));
  };
  show();
}

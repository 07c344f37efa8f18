// A video from its first to its last second, with moments as marks.
import { h } from "./dom.js";
import { clock, percent, spoken } from "./wording.js";

const LANES = 3; // rows of marks that overlap

/** The row of each moment, so that those that overlap lie below each other. */
function lanes(moments) {
  const ends = Array(LANES).fill(-Infinity);
  const found = new Map();
  for (const moment of [...moments].sort((a, b) => a.start - b.start)) {
    let lane = ends.findIndex((end) => end <= moment.start);
    if (lane < 0) lane = ends.indexOf(Math.min(...ends));
    ends[lane] = moment.end;
    found.set(moment, lane);
  }
  return found;
}

/**
 * moments: [{start, end, confidence, rank}]; onMark(moment), onSeek(seconds).
 * With `onSeek` there is a slider for the place that is shown, which `show(seconds)` moves.
 */
export function makeTimeline({ duration, moments, onMark, onSeek = null, name }) {
  const lane = lanes(moments);
  const rows = Math.max(1, ...[...lane.values()].map((one) => one + 1));
  const at = (seconds) => `${(100 * Math.min(1, Math.max(0, seconds / duration))).toFixed(3)}%`;
  const marks = moments.map((moment) => {
    const sure = moment.confidence === null || moment.confidence === undefined ? "" : `, ${percent(moment.confidence)}`;
    const label = `Moment ${moment.rank}: ${spoken(moment.start, moment.end)}${sure}`;
    const mark = h("button", { type: "button", class: "mark", "aria-label": label, title: label });
    mark.style.left = at(moment.start);
    mark.style.width = at(moment.end - moment.start);
    mark.style.setProperty("--lane", lane.get(moment));
    mark.addEventListener("click", () => onMark(moment));
    return mark;
  });
  const track = h("div", { class: "track" });
  const head = h("span", { class: "head" });
  const element = h(
    "div",
    { class: onSeek ? "timeline seekable" : "timeline", role: "group", "aria-label": name },
    track,
    ...marks,
    onSeek ? head : null,
    h("span", { class: "begin", textContent: clock(0) }),
    h("span", { class: "end", textContent: clock(duration, false) }),
  );
  element.style.setProperty("--lanes", rows);
  let now = 0;
  const show = (seconds) => {
    now = seconds;
    head.style.left = at(seconds);
    track.setAttribute("aria-valuenow", seconds.toFixed(1));
    track.setAttribute("aria-valuetext", `${clock(seconds, false)} of ${clock(duration, false)}`);
  };
  if (onSeek) {
    for (const [key, value] of Object.entries({ role: "slider", "aria-label": "Place in the video", "aria-valuemin": 0, "aria-valuemax": duration }))
      track.setAttribute(key, value);
    track.tabIndex = 0;
    listen(track, element, duration, () => now, onSeek);
    show(0);
  }
  const emphasise = (moment) =>
    marks.forEach((mark, number) => mark.classList.toggle("current", moments[number] === moment));
  return { element, show, emphasise };
}

function listen(track, element, duration, now, onSeek) {
  const seconds = (event) => {
    const box = track.getBoundingClientRect();
    return Math.min(duration, Math.max(0, ((event.clientX - box.left) / box.width) * duration));
  };
  let held = false;
  track.addEventListener("pointerdown", (event) => {
    held = true;
    track.setPointerCapture(event.pointerId);
    onSeek(seconds(event));
  });
  track.addEventListener("pointermove", (event) => held && onSeek(seconds(event)));
  for (const type of ["pointerup", "pointercancel"]) track.addEventListener(type, () => (held = false));
  const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 };
  track.addEventListener("keydown", (event) => {
    const to = { Home: 0, End: duration }[event.key] ?? now() + (steps[event.key] ?? NaN);
    if (Number.isNaN(to)) return;
    event.preventDefault();
    onSeek(Math.min(duration, Math.max(0, to)));
  });
}

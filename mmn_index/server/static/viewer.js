// A whole video in a dialog: player, time line with the answer's moments, map of the sentence.
import * as api from "./api.js";
import { ofTube } from "./boxes.js";
import { h } from "./dom.js";
import { HeatMap } from "./heatmap.js";
import { about } from "./library.js";
import { Player } from "./player.js";
import { makeTimeline } from "./timeline.js";
import { clock, likelihood, named, percent, score, span, valueText } from "./wording.js";

let dialog;
let on; // {close, moved}
let shown = null;

export const isOpen = () => dialog.open;

export function startViewer(element, actions) {
  dialog = element;
  on = actions;
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    on.close();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && on.close());
  dialog.addEventListener("keydown", (event) => {
    const field = event.target.closest("input, select, .track, canvas, button, video");
    if (event.key === " " && !field) {
      event.preventDefault();
      shown?.player?.turn();
    }
  });
}

export function closeViewer() {
  shown?.end();
  shown = null;
  if (dialog.open) dialog.close();
  dialog.replaceChildren();
}

/** moment: {video, start, end, tube}; moments: of the answer, in this video; sentences: that maps are made of. */
export async function openViewer(index, moment, moments, sentences) {
  if (shown?.is(index, moment, moments)) {
    shown.play(moment);
    return;
  }
  shown?.end();
  const mine = (shown = new Viewer(index, moment, moments, sentences));
  if (!dialog.open) dialog.showModal();
  await mine.begin();
}

class Viewer {
  constructor(index, moment, moments, sentences) {
    Object.assign(this, { index, moment, moments, sentences, sentence: sentences[0] });
    this.stop = new AbortController();
    this.stage = h("div", { class: "stage" }, h("div", { class: "player waiting" }));
    this.below = h("div", { class: "below" });
    this.panel = h("section", { class: "panel", "aria-labelledby": "map-title" });
    dialog.replaceChildren(
      h(
        "div",
        { class: "viewer-head" },
        h("h2", { id: "viewer-title", textContent: moment.video, title: moment.video }),
        h("span", { class: "viewer-time" }),
        h("button", { type: "button", class: "icon-button", "aria-label": "Close the video", textContent: "✕", onclick: () => on.close() }),
      ),
      h("div", { class: "viewer-body" }, h("div", { class: "viewer-main" }, this.stage, this.below), this.panel),
    );
  }

  is(index, moment, moments) {
    return this.index === index && this.moment.video === moment.video && this.moments.length === moments.length && this.ready;
  }

  async begin() {
    try {
      this.video = await about(this.index, this.moment.video);
    } catch (error) {
      if (!this.ended) this.stage.replaceChildren(h("div", { class: "player dead" }, h("p", { class: "player-note", role: "alert", textContent: error.message })));
      return;
    }
    if (this.ended) return;
    this.player = new Player(this.index, this.video, (seconds) => this.timeline.show(seconds));
    this.timeline = makeTimeline({
      duration: this.video.duration,
      moments: this.moments,
      name: "Time line of the video",
      onMark: (moment) => this.chosen(moment),
      onSeek: (seconds) => this.player.seek(seconds),
    });
    this.stage.replaceChildren(this.player.element);
    this.below.replaceChildren(...[this.timeline.element, this.list(), this.facts()].filter(Boolean));
    if (this.sentences.length) this.showPanel();
    else this.panel.hidden = true;
    this.ready = true;
    this.play(this.moment);
  }

  /** Somebody chose a moment: played, and in the address bar. */
  chosen(moment) {
    this.play(moment);
    on.moved({ video: this.moment.video, start: moment.start, end: moment.end, ...ofTube(moment.tube) });
  }

  /** Draw the boxes of the moment's tube. */
  async follow({ start, end, tube }) {
    const mine = (this.following = {});
    this.player.follow(null);
    if (tube === undefined) return;
    try {
      const found = await api.boxes(this.index, this.moment.video, { tube, start, end }, this.stop.signal);
      if (!this.ended && mine === this.following) this.player.follow(found);
    } catch {
      // Without them the video is still worth to be seen; the tube may be gone from the index.
    }
  }

  play(given) {
    const moment = held(given, this.video.duration);
    this.moment = { video: this.moment.video, start: moment.start, end: moment.end, ...ofTube(given.tube) };
    const same = this.moments.find(({ start, end, tube }) => start === given.start && end === given.end && tube === given.tube);
    this.timeline.emphasise(same);
    dialog.querySelector(".viewer-time").textContent = span(moment.start, moment.end);
    for (const row of this.below.querySelectorAll(".moment")) {
      if (Number(row.dataset.rank) === same?.rank) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
    this.player.seek(moment.start, { play: true });
    this.follow(this.moment);
    if (this.heat) this.showMap();
  }

  list() {
    if (!this.moments.length) return null;
    const row = (moment) =>
      h(
        "li",
        {},
        h(
          "button",
          { type: "button", class: "moment", "data-rank": moment.rank, onclick: () => this.chosen(moment) },
          h("span", { class: "moment-time", textContent: span(moment.start, moment.end) }),
          moment.tube === undefined ? null : h("span", { class: "tube", textContent: `tube ${moment.tube}` }),
          h("span", {
            textContent: moment.confidence === null ? `score ${score(moment.score)}` : `${percent(moment.confidence)} · ${likelihood(moment.confidence)}`,
          }),
        ),
      );
    const inOrder = [...this.moments].sort((a, b) => a.start - b.start);
    return h("div", {}, h("h3", { textContent: "Moments of this answer" }), h("ul", { class: "moments", role: "list" }, ...inOrder.map(row)));
  }

  /** The video's metadata. */
  facts() {
    const known = Object.entries(this.video.metadata).filter(([name, value]) => value !== null && name !== "content_hash");
    if (!known.length) return null;
    return h(
      "details",
      { class: "facts" },
      h("summary", { textContent: "About this video" }),
      h("dl", {}, ...known.flatMap(([name, value]) => [h("dt", { textContent: named(name, value) }), h("dd", { textContent: valueText(value) })])),
    );
  }

  showPanel() {
    this.heat = new HeatMap((start, end) => {
      const tube = ofTube(this.heat.map.tube);
      this.play({ start, end, ...tube });
      on.moved({ video: this.moment.video, start, end, ...tube });
    });
    this.window = h("span", { class: "window", role: "status" });
    const step = (name, sign, to) => h("button", { type: "button", class: "icon-button small", "aria-label": name, title: name, textContent: sign, onclick: () => this.showMap(to) });
    this.steps = h("div", { class: "window-steps", hidden: true }, step("Earlier window", "←", -1), this.window, step("Later window", "→", 1));
    const choice =
      this.sentences.length < 2
        ? null
        : h(
            "label",
            { class: "map-of" },
            "of ",
            h("select", { onchange: (event) => this.change(event.target.value) }, ...this.sentences.map((text) => h("option", { value: text, textContent: text }))),
          );
    this.problem = h("p", { class: "map-problem", role: "alert", hidden: true });
    this.panel.replaceChildren(
      h("div", { class: "panel-head" }, h("h3", { id: "map-title", textContent: "Every moment of the video" }), choice),
      h("p", { class: "panel-about", textContent: "How well each start and end fits the sentence. The pink frame is the moment that plays; choose any other cell to play it." }),
      this.heat.element,
      this.steps,
      this.problem,
    );
  }

  change(sentence) {
    this.sentence = sentence;
    this.known = null;
    this.showMap();
  }

  /** The window that holds the moment; or with a direction, the one before or after what is shown. */
  async showMap(direction = 0) {
    const moment = this.moment;
    const before = this.heat.map;
    if (!direction && this.known && this.heat.map && (this.heat.map.tube ?? undefined) === moment.tube && this.heat.holds(moment)) {
      this.heat.mark(moment);
      return;
    }
    const at = { "-1": before?.start - 0.01, 0: (moment.start + moment.end) / 2, 1: before?.start + before?.length + 0.01 }[direction];
    if (at < 0 || at > this.video.duration) return;
    try {
      const found = await api.maps(this.index, this.moment.video, this.sentence, at, ofTube(moment.tube), this.stop.signal);
      if (this.ended || !found.maps.length) return;
      this.known = true;
      this.problem.hidden = true;
      this.heat.show(direction ? pickBeside(found.maps, direction) : pickHolding(found.maps, moment), moment);
      this.sayWindow();
    } catch (error) {
      if (error.name === "AbortError") return;
      this.problem.hidden = false;
      this.problem.textContent = error.message;
    }
  }

  sayWindow() {
    const { start, length, tube } = this.heat.map;
    const end = Math.min(start + length, this.video.duration);
    const whole = tube !== undefined && tube !== null; // a tube has one map
    this.steps.hidden = whole || (start < 0.01 && start + length > this.video.duration - 0.01);
    this.window.textContent = `${clock(start, false)} – ${clock(end, false)} of ${clock(this.video.duration, false)}`;
    const [earlier, later] = this.steps.querySelectorAll("button");
    earlier.disabled = start < 0.01;
    later.disabled = start + length > this.video.duration - 0.01;
  }

  end() {
    this.ended = true;
    this.stop.abort();
    this.player?.end();
  }
}

/** A moment as the video holds it; all of the video where it does not: a link may be older than the file. */
const held = ({ start, end }, duration) =>
  start < duration && start < end ? { start, end: Math.min(end, duration) } : { start: 0, end: duration };

/** Of the windows that hold a moment whole, the one in whose middle it is. */
function pickHolding(maps, { start, end }) {
  const far = (map) => {
    const whole = map.start - 0.01 <= start && end <= map.start + map.length + 0.01;
    return Math.abs(map.start + map.length / 2 - (start + end) / 2) + (whole ? 0 : 1e9);
  };
  return maps.reduce((best, map) => (far(map) < far(best) ? map : best));
}

const pickBeside = (maps, direction) =>
  maps.reduce((best, map) => ((map.start - best.start) * direction < 0 ? map : best));

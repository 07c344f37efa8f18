// A moment as a card: its picture, where it is, how sure it is; it plays on hover, focus or a key.
import * as api from "./api.js";
import { Boxes, ofTube } from "./boxes.js";
import { about } from "./library.js";
import { h, reducedMotion } from "./dom.js";
import * as preview from "./preview.js";
import { isSelected, toggle } from "./selection.js";
import { likelihood, percent, score, span, spoken } from "./wording.js";

const HOVER = 120; // milliseconds before a card plays that a pointer merely crosses
const hits = new WeakMap(); // card -> its hit
const overlays = new WeakMap(); // card -> the box on what it plays

export const hitOf = (card) => hits.get(card);
export const openOf = (card) => card.querySelector(".open");

/** The hits of an answer in one form; a pair has two parts. */
export function hitsOf(answer, state) {
  const kind = state.kind;
  const found = answer.pairs ?? answer.answers[0]?.hits ?? [];
  const only = answer.answers[0];
  return found.map((one) => {
    const given = one.first ? [one.first, one.second] : [one];
    const parts = given.map(({ start, end, tube }) => ({ start, end, ...ofTube(tube) }));
    const key = JSON.stringify([answer.index, one.video, parts.map(({ start, end, tube }) => [start, end, tube])]);
    const texts = parts.length > 1 ? [state.query, state.second] : [only.query];
    const confidence = one.confidence ?? null;
    const about = { rank: one.rank, score: one.score, scoreName: answer.score, exact: only?.exact ?? null, recall: only?.recall ?? null };
    const tubes = given.map(({ boxes, first_frame, frame_rate, frame_size }) => (boxes ? { boxes, first_frame, frame_rate, frame_size } : null));
    return { key, index: answer.index, kind, texts, parts, video: one.video, confidence, tubes, ...about };
  });
}

const tubeName = (parts) => (parts[0].tube === undefined ? null : `tube ${[...new Set(parts.map(({ tube }) => tube))].join(" + ")}`);

export function makeCard(hit, actions) {
  const times = hit.parts.map(({ start, end }) => span(start, end)).join(hit.kind === "and" ? "  +  " : "  →  ");
  const heard = hit.parts.map(({ start, end }) => spoken(start, end)).join(", then ");
  const sure = hit.confidence === null ? null : `${percent(hit.confidence)} · ${likelihood(hit.confidence)}`;
  const tube = tubeName(hit.parts);
  const name = [hit.video, tube, heard, sure].filter(Boolean).join(", ");
  // One on each picture, and one on what plays over all of them.
  const boxes = hit.tubes[0] ? hit.tubes.map(() => new Boxes("cover")) : [];
  const playing = hit.tubes[0] ? new Boxes("cover") : null;
  playing?.element.classList.add("playing");
  const note = h("p", { class: "note", hidden: true });
  const shot = h(
    "div",
    { class: hit.parts.length > 1 ? "shot pair" : "shot" },
    ...hit.parts.map((_, part) => picture(hit, part, () => fail(card, note))),
    ...boxes.map(({ element }) => element),
    playing?.element,
    h("button", { type: "button", class: "open", tabIndex: -1, "aria-label": `Open ${name}` }),
    h("span", { class: "time", textContent: times }),
    note,
    h("span", { class: "progress" }),
    h("button", { type: "button", class: "play", tabIndex: -1, "aria-label": `Play ${name}`, textContent: "▶" }),
    h(
      "label",
      { class: "pick", title: "Select (x)" },
      h("input", { type: "checkbox", tabIndex: -1, "aria-label": `Select ${name}`, checked: isSelected(hit) }),
    ),
    h("button", {
      type: "button",
      class: "like",
      tabIndex: -1,
      title: "Moments like this one (l)",
      "aria-label": `Moments like ${name}`,
      textContent: "≈ Like this",
    }),
  );
  const card = h(
    "li",
    { class: "card" },
    shot,
    h(
      "div",
      { class: "about" },
      h("span", { class: "name", title: hit.video, textContent: hit.video }),
      h(
        "span",
        { class: "sure" },
        tube ? h("span", { class: "tube", textContent: tube }) : null,
        sure ? meter(hit.confidence) : null,
        sure ? h("span", { textContent: sure }) : null,
        h("span", { class: "score", title: "Score", textContent: sure ? score(hit.score) : `score ${score(hit.score)}` }),
      ),
    ),
  );
  boxes.forEach((box, part) => {
    box.of(hit.tubes[part]);
    box.show(middle(hit, part));
  });
  hits.set(card, hit);
  overlays.set(card, playing);
  mark(card);
  listen(card, hit, actions);
  return card;
}

function meter(confidence) {
  const bar = h("span", { class: "meter", "aria-hidden": "true" }, h("span"));
  bar.firstChild.style.width = percent(confidence).replace(" ", "");
  return bar;
}

/** The second of its picture; of a tube in the middle of a frame: on the edge of two, picture and box could be of different ones. */
const middle = (hit, part) => {
  const seconds = (hit.parts[part].start + hit.parts[part].end) / 2;
  const tube = hit.tubes[part];
  return tube ? (Math.floor(seconds * tube.frame_rate + 0.01) + 0.5) / tube.frame_rate : seconds;
};

function picture(hit, part, failed) {
  const image = h("img", { alt: "", loading: "lazy", decoding: "async" });
  let again = true;
  image.addEventListener("load", () => image.classList.add("there"));
  image.addEventListener("error", () => {
    if (again) {
      // Many pictures at once: the server may have turned it away.
      again = false;
      setTimeout(() => (image.src = `${image.src}&again`), 1200);
    } else failed();
  });
  image.src = api.pictureAddress(hit.index, hit.video, middle(hit, part));
  return image;
}

async function fail(card, note) {
  card.classList.add("dead");
  if (!note.hidden) return;
  const hit = hitOf(card);
  try {
    const video = await about(hit.index, hit.video);
    say(note, video.reason ?? "No picture of this moment can be made.");
  } catch (error) {
    say(note, error.message);
  }
}

function say(note, text) {
  const lasting = note.parentElement?.parentElement?.classList.contains("dead");
  if (text === null && lasting) return; // what keeps it from being shown stays to be read
  note.hidden = text === null;
  note.textContent = text ?? "";
}

export function start(card) {
  const hit = hitOf(card);
  const show = (seconds, part) => {
    const box = overlays.get(card);
    if (!box) return;
    if (box.tube !== hit.tubes[part]) box.of(hit.tubes[part] ?? null);
    box.show(seconds);
  };
  preview.play(card, hit, hit.index, (text) => say(card.querySelector(".note"), text), show);
}

export function select(card, value = !isSelected(hitOf(card))) {
  toggle(hitOf(card), value);
  mark(card);
}

/** Show whether it is selected. */
export function mark(card) {
  const selected = isSelected(hitOf(card));
  card.classList.toggle("selected", selected);
  card.querySelector(".pick input").checked = selected;
}

function listen(card, hit, actions) {
  const shot = card.querySelector(".shot");
  let timer = null;
  let touched = false;
  shot.addEventListener("pointerenter", (event) => {
    if (event.pointerType === "mouse" && !reducedMotion()) timer = setTimeout(() => start(card), HOVER);
  });
  shot.addEventListener("pointerleave", (event) => {
    clearTimeout(timer);
    if (event.pointerType === "mouse") preview.stop(card);
  });
  shot.addEventListener("pointerdown", (event) => (touched = event.pointerType === "touch"));
  const open = openOf(card);
  open.addEventListener("focus", () => {
    if (open.matches(":focus-visible") && !reducedMotion()) start(card);
  });
  card.addEventListener("focusout", (event) => {
    if (!card.contains(event.relatedTarget) && !touched) preview.stop(card);
  });
  open.addEventListener("click", () => {
    // A finger cannot hover: its first tap plays, its second opens.
    if (touched && preview.playing() !== card) start(card);
    else actions.open(hit);
    touched = false;
  });
  card.querySelector(".play").addEventListener("click", () => turn(card));
  card.querySelector(".like").addEventListener("click", () => actions.like(hit));
  const box = card.querySelector(".pick input");
  box.addEventListener("click", (event) => actions.pick(card, box.checked, event.shiftKey));
}

/** Play it, or stop it. */
export function turn(card) {
  if (preview.playing() === card) preview.stop(card);
  else start(card);
}

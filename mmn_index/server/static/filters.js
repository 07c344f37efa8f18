// The filters beside the answer: how sure, where in a video, how long, and the metadata of the index.
import * as api from "./api.js";
import { $, h } from "./dom.js";
import { conditionsOf, facetsOf, fieldsOf } from "./facets.js";
import { filterCount, hasConfidence } from "./state.js";
import { clock, named, percent, whole } from "./wording.js";

const MOST = 1000; // videos whose values are looked at
const TIMES = [
  ["after", "Starts after", "before", "Ends before", "Where in the video"],
  ["min_length", "At least", "max_length", "At most", "Length of the moment"],
];
let facets = [];
let videos = { total: 0, videos: [] };
let loaded = null; // the name of their index
let onChange = () => {};

export const startFilters = (action) => {
  onChange = action;
  $("filters").addEventListener("submit", (event) => event.preventDefault());
};

/** Learn the columns and values of an index; whether there is something new. */
export async function loadFilters(index) {
  if (loaded === index.name) return false;
  const found = await api.videos(index.name, MOST);
  videos = found;
  facets = facetsOf(index.columns, found.videos);
  loaded = index.name;
  return true;
}

export const knownVideos = () => videos;

/** "1:30" or "90" as seconds; null where it is neither. */
function secondsOf(text) {
  const parts = text.trim().split(":");
  if (!parts.every((part) => /^\d+(\.\d+)?$/.test(part)) || parts.length > 3) return null;
  return parts.reduce((total, part) => total * 60 + Number(part), 0);
}

export function showFilters(state, index) {
  const form = $("filters");
  const focused = form.contains(document.activeElement) ? document.activeElement.id : null;
  form.replaceChildren(
    ...[
      index.calibrated && hasConfidence(state) ? sureness(state) : null,
      oneEach(state),
      ...TIMES.map((times) => timesField(state, ...times)),
      ...facets.map((facet, number) => facetField(state, facet, number)),
      videoField(state),
      videos.total > MOST ? h("p", { class: "filters-note", textContent: `Values of the first ${whole(MOST)} videos of ${whole(videos.total)}.` }) : null,
    ].filter(Boolean),
  );
  if (focused) $(focused)?.focus();
  const count = filterCount(state);
  $("filter-count").textContent = count ? ` (${count})` : "";
}

const group = (title, ...children) => h("fieldset", {}, h("legend", { textContent: title }), ...children);

function sureness(state) {
  const said = (value) => (value > 0 ? `at least ${percent(value)} sure` : "any");
  const value = state.min_confidence ?? 0;
  const output = h("output", { for: "sure", textContent: said(value) });
  const slider = h("input", { id: "sure", type: "range", min: 0, max: 0.99, step: 0.01, value, "aria-label": "How sure at least" });
  const tell = () => {
    output.textContent = said(Number(slider.value));
    slider.setAttribute("aria-valuetext", output.textContent);
    slider.style.setProperty("--share", `${(100 * slider.value) / 0.99}%`);
  };
  slider.addEventListener("input", tell);
  slider.addEventListener("change", () => onChange({ min_confidence: Number(slider.value) || null }));
  tell();
  return group("How sure", slider, output);
}

function oneEach(state) {
  const box = h("input", { id: "one", type: "checkbox", role: "switch", checked: state.one });
  box.addEventListener("change", () => onChange({ one: box.checked }));
  return h("label", { class: "toggle", for: "one" }, h("span", { textContent: "One moment per video" }), box);
}

function timesField(state, low, lowName, high, highName, title) {
  const field = (name, label) => {
    const value = state[name];
    const input = h("input", { id: `f-${name}`, type: "text", inputMode: "decimal", placeholder: "0:00", value: value === null ? "" : clock(value) });
    input.addEventListener("change", () => {
      const text = input.value.trim();
      const seconds = text ? secondsOf(text) : null;
      input.setCustomValidity(text && seconds === null ? "Seconds, or minutes and seconds as in 1:30." : "");
      if (input.reportValidity()) onChange({ [name]: seconds });
    });
    return h("label", {}, h("span", { textContent: label }), input);
  };
  return group(title, h("div", { class: "range" }, field(low, lowName), field(high, highName)));
}

const INPUTS = { instant: "date", day: "date", clock: "time", whole: "number", number: "number" };

function facetField(state, facet, number) {
  const { fields, used } = fieldsOf(facet, state.where);
  // Conditions that no field of this facet shows stay: they may have come with a link.
  const change = (changes) =>
    onChange({ where: [...state.where.filter((condition) => !used.has(condition)), ...conditionsOf(facet, { ...fields, ...changes })] });
  const id = (name) => `facet-${number}-${name}`;
  const title = named(facet.column, facet.values[0]);
  if (facet.kind === "choice") {
    const values = facet.values.map(String);
    if (fields.is && !values.includes(fields.is)) values.push(fields.is);
    const select = h("select", { id: id("is") }, h("option", { value: "", textContent: "any" }), ...values.map((value) => h("option", { value, textContent: value })));
    select.value = fields.is;
    select.addEventListener("change", () => change({ is: select.value }));
    return h("div", { class: "field" }, h("label", { for: select.id, textContent: title }), select);
  }
  if (facet.kind === "text") {
    const options = h("datalist", { id: id("list") }, ...facet.values.map((value) => h("option", { value })));
    const input = h("input", { id: id("is"), type: "text", placeholder: "any", value: fields.is, list: options.id });
    input.addEventListener("change", () => change({ is: input.value.trim() }));
    return h("div", { class: "field" }, h("label", { for: input.id, textContent: title }), input, options);
  }
  const shown = (value) => (typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value).slice(0, facet.kind === "clock" ? 5 : 10));
  const input = (name, label, example) => {
    const field = h("input", { id: id(name), type: INPUTS[facet.kind], step: "any", value: fields[name], placeholder: shown(example) });
    field.addEventListener("change", () => field.validity.valid && change({ [name]: field.value }));
    return h("label", {}, h("span", { textContent: label }), field);
  };
  const dates = INPUTS[facet.kind] === "date" || facet.kind === "clock";
  return group(title, h("div", { class: dates ? "range dates" : "range" }, input("from", "From", facet.values[0]), input("to", "To", facet.values.at(-1))));
}

function videoField(state) {
  const options = h("datalist", { id: "video-list" }, ...videos.videos.map(({ video }) => h("option", { value: video })));
  const input = h("input", { id: "f-video", type: "text", placeholder: "all", value: state.video, list: "video-list" });
  input.addEventListener("change", () => onChange({ video: input.value.trim() }));
  return h("div", { class: "field" }, h("label", { for: input.id, textContent: "Only in this video" }), input, options);
}

/** What is filtered by as chips, each with a button that takes it away. */
export function showChips(state, onClear) {
  const chips = [];
  const add = (text, changes) =>
    chips.push(h("span", { class: "chip" }, h("span", { class: "chip-text", textContent: text }), h("button", { type: "button", class: "icon-button small", "aria-label": `Remove: ${text}`, textContent: "✕", onclick: () => onChange(changes) })));
  if (state.min_confidence !== null && hasConfidence(state)) add(`at least ${percent(state.min_confidence)} sure`, { min_confidence: null });
  if (state.one) add("one per video", { one: false });
  if (state.video) add(`in ${state.video}`, { video: "" });
  for (const [low, lowName, high, highName, title] of TIMES) {
    const about = title.startsWith("Length") ? "length " : "";
    if (state[low] !== null) add(`${about}${lowName.toLowerCase()} ${clock(state[low])}`, { [low]: null });
    if (state[high] !== null) add(`${about}${highName.toLowerCase()} ${clock(state[high])}`, { [high]: null });
  }
  for (const condition of state.where) add(condition.replace("==", " = "), { where: state.where.filter((one) => one !== condition) });
  if (chips.length > 1) chips.push(h("button", { type: "button", class: "text-button", textContent: "Clear all", onclick: onClear }));
  $("chips").replaceChildren(...chips);
}

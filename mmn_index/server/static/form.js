// The search box and what stands beside it: a second sentence, the moment that others are to be like, the index.
import * as api from "./api.js";
import { $, h } from "./dom.js";
import { addRecent, startRecent } from "./recent.js";
import { span } from "./wording.js";

const LABELS = { then: "then", and: "and also", not: "but not" };
let kind = "";
let like = null;
let shown = false;

/** onSearch(changes): what the form says by now. */
export function startForm(onSearch) {
  const query = $("query");
  const submit = () => {
    recent.close();
    if (!query.value.trim() && !like) {
      query.focus();
      return;
    }
    addRecent(query.value);
    onSearch({ query: query.value.trim(), kind: $("second-text").value.trim() ? kind : "", second: $("second-text").value.trim(), like: query.value.trim() ? null : like });
  };
  const recent = startRecent(query, (text) => {
    query.value = text;
    submit();
  });
  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  // Held down, it would ask again and again, each time ending the search before.
  $("search").addEventListener("keydown", (event) => event.key === "Enter" && event.repeat && event.preventDefault());
  for (const button of $("second-kinds").querySelectorAll("button"))
    button.addEventListener("click", () => {
      showSecond(button.dataset.kind, "");
      $("second-text").focus();
    });
  $("second-remove").addEventListener("click", () => {
    const asked = $("second-text").value.trim();
    showSecond("", "");
    query.focus();
    if (asked && query.value.trim()) submit();
  });
  $("index").addEventListener("change", () => onSearch({ index: $("index").value, where: [], video: "", like: null }));
}

function showSecond(value, text) {
  kind = value;
  $("second").hidden = !kind;
  $("second-kinds").hidden = Boolean(kind);
  $("second-label").textContent = LABELS[kind] ?? "";
  $("second-text").value = text;
}

export function showForm(state, indexes, onUnlike) {
  if (shown || state.query) $("query").value = state.query; // else what was typed while the page was loading stays
  shown = true;
  like = state.like;
  showSecond(state.kind, state.second);
  if (like) $("second-kinds").hidden = true; // a second sentence goes with a first
  $("query").placeholder = like ? "Moments like the one below, or describe another" : "Describe a moment: who does what";
  showIndexes(state, indexes);
  showLike(state, onUnlike);
}

function showIndexes(state, indexes) {
  $("index-picker").hidden = indexes.length < 2;
  const select = $("index");
  select.replaceChildren(...indexes.map(({ name }) => h("option", { value: name, textContent: name })));
  select.value = state.index || indexes[0]?.name;
}

function showLike(state, onUnlike) {
  const chip = $("like");
  chip.hidden = !like;
  chip.replaceChildren();
  if (!like) return;
  const image = h("img", { alt: "", src: api.pictureAddress(state.index, like.video, (like.start + like.end) / 2, 64) });
  image.addEventListener("error", () => image.remove());
  chip.append(
    image,
    h("span", { class: "chip-text", textContent: `Like ${like.video}, ${span(like.start, like.end)}${like.tube === undefined ? "" : `, tube ${like.tube}`}`, title: like.video }),
    h("button", { type: "button", class: "icon-button small", "aria-label": "No longer like this moment", textContent: "✕", onclick: onUnlike }),
  );
}

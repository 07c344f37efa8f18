// A search from its beginning to its answer on the page; a newer one ends it.
import * as api from "./api.js";
import { ofTube } from "./boxes.js";
import { hitOf, hitsOf, makeCard } from "./cards.js";
import { $, announce, h } from "./dom.js";
import * as grid from "./grid.js";
import { about } from "./library.js";
import { hideNotice, showNotice, showWaiting } from "./notice.js";
import { stop as stopPreview } from "./preview.js";
import { filterCount, MOST, requestOf, searchKey, STEP } from "./state.js";
import { makeTimeline } from "./timeline.js";
import { clock, many, percent } from "./wording.js";

const SLOW = 3000; // milliseconds after which is said that it takes long
const KEPT = 12; // answers, so that the back button shows them at once

const answers = new Map(); // search -> answer
let actions; // {open, like, pick, go, clear}
let running = null;
let shown = null; // {hits, answer, grouped}
let cards = new Map();

export const startResults = (given) => (actions = given);
export const hitsIn = (video) => (shown?.hits ?? []).filter((hit) => hit.video === video);

/** Nothing is asked: no answer, no search that runs. */
export function clearResults() {
  running?.abort();
  running = null;
  shown = null;
  cards = new Map();
  stopPreview();
  hideNotice();
  $("list").replaceChildren();
  $("list").classList.remove("old");
  $("results").removeAttribute("aria-busy");
  $("bar").hidden = $("more").hidden = true;
}

/** Resolves when the answer is on the page, or will not be. */
export async function search(state) {
  const key = searchKey(state);
  running?.abort();
  if (answers.has(key)) {
    settle();
    show(answers.get(key), state);
    return;
  }
  const mine = (running = new AbortController());
  wait(state);
  const slow = setTimeout(() => sayThatItIsSlow(state, mine), SLOW);
  try {
    const answer = await api.search(requestOf(state), mine.signal);
    if (running !== mine) return;
    keep(key, answer);
    settle();
    show(answer, state);
  } catch (error) {
    if (running !== mine) return;
    settle();
    if (error.name === "AbortError") sayThatItWasStopped(state);
    else fail(error, state);
  } finally {
    clearTimeout(slow);
  }
}

function keep(key, answer) {
  answers.set(key, answer);
  if (answers.size > KEPT) answers.delete(answers.keys().next().value);
}

/** What was answered before may be of an index that has changed since. */
export const forgetAnswers = () => answers.clear();

function wait() {
  hideNotice();
  $("results").setAttribute("aria-busy", "true");
  if ($("list").querySelector(".card")) $("list").classList.add("old");
  else {
    const bone = () => h("li", { class: "card bone", "aria-hidden": "true" }, h("div", { class: "shot" }), h("div", { class: "about" }, h("span", { class: "line" }), h("span", { class: "line short" })));
    $("list").replaceChildren(h("ul", { class: "grid", role: "list" }, ...Array.from({ length: 8 }, bone)));
  }
}

function settle() {
  running = null;
  hideNotice();
  $("results").removeAttribute("aria-busy");
  $("list").classList.remove("old");
  if ($("list").querySelector(".bone")) $("list").replaceChildren();
}

function sayThatItIsSlow(state, mine) {
  if (running !== mine) return;
  showNotice({
    kind: "slow",
    sign: "◔",
    title: "Still searching …",
    text: "This takes longer than usual. The server may be answering many others.",
    actions: [["Cancel", () => mine.abort()]],
  });
}

function sayThatItWasStopped(state) {
  withoutAnswer();
  showNotice({ kind: "stopped", sign: "◌", title: "Cancelled", text: "The search was not finished.", actions: [["Search again", () => search(state)]] });
}

function fail(error, state) {
  const again = () => search(state);
  if (error.retry !== null && error.retry !== undefined) {
    const away = error.status === 0;
    // What was found before stays to be looked at, dimmed, until the server answers.
    if ($("list").querySelector(".card")) $("list").classList.add("old");
    showWaiting(
      {
        kind: away ? "away" : "busy",
        sign: away ? "⌁" : "◔",
        title: away ? "The server is away" : "The server is busy",
        text: error.message,
        actions: [["Try now", again]],
        alert: true,
      },
      error.retry,
      again,
    );
    return;
  }
  withoutAnswer();
  const more = filterCount(state) && error.status === 422 ? [["Clear the filters", actions.clear]] : [];
  showNotice({ kind: "error", sign: "!", title: "This search could not be answered", text: error.message, actions: [["Try again", again], ...more], alert: true });
}

function withoutAnswer() {
  shown = null;
  stopPreview();
  $("list").replaceChildren();
  $("bar").hidden = $("more").hidden = true;
}

function show(answer, state) {
  const hits = hitsOf(answer, state);
  if (shown?.answer !== answer || shown.grouped !== state.grouped) {
    stopPreview();
    const before = cards;
    cards = new Map(hits.map((hit) => [hit.key, sameCard(before.get(hit.key), hit) ?? makeCard(hit, actions)]));
    $("list").replaceChildren(...(state.grouped ? byVideo(hits) : [h("ul", { class: "grid", role: "list" }, ...cards.values())]));
  }
  shown = { hits, answer, grouped: state.grouped };
  const videos = new Set(hits.map((hit) => hit.video)).size;
  const found = answer.pairs ? many(hits.length, "pair of moments", "pairs of moments") : many(hits.length, "moment");
  const text = `${found} in ${many(videos, "video")}`;
  $("bar").hidden = false;
  $("bar").classList.toggle("empty", hits.length === 0);
  $("count").textContent = hits.length ? text : "No moments";
  $("as-moments").setAttribute("aria-pressed", String(!state.grouped));
  $("as-videos").setAttribute("aria-pressed", String(state.grouped));
  $("more").hidden = hits.length < state.k || state.k >= state.most || hits.length === 0;
  badge(answer, state, hits);
  if (!hits.length) sayThatNothingIsThere(answer, state);
  grid.markAll();
  grid.refresh();
  announce(hits.length ? text : `No moments. ${$("notice").textContent}`);
}

/** A card that is on the page already, where it says the same: another sentence has other scores of the same moment. */
const sameCard = (card, hit) => (card && JSON.stringify(hitOf(card)) === JSON.stringify(hit) ? card : undefined);

function byVideo(hits) {
  const groups = Map.groupBy(hits, (hit) => hit.video);
  return [...groups].map(([video, own], number) => {
    const line = h("div", { class: "line-place" });
    const title = h("h3", { id: `video-${number}`, class: "group-name", textContent: video, title: video });
    const facts = h("span", { class: "group-facts", textContent: many(own.length, "moment") });
    about(own[0].index, video).then(
      ({ duration }) => {
        facts.textContent = `${many(own.length, "moment")} · ${clock(duration, false)}`;
        const moments = momentsOf(own);
        line.replaceChildren(makeTimeline({ duration, moments, name: `Moments in ${video}`, onMark: (moment) => actions.open(moment.hit, moment) }).element);
      },
      () => {},
    );
    return h("section", { class: "group", "aria-labelledby": title.id }, h("div", { class: "group-head" }, title, facts), line, h("ul", { class: "grid", role: "list" }, ...own.map((hit) => cards.get(hit.key))));
  });
}

/** The parts of hits as a time line and a viewer show them. */
export const momentsOf = (hits) =>
  hits.flatMap((hit) => hit.parts.map(({ start, end, tube }) => ({ start, end, ...ofTube(tube), hit, score: hit.score, confidence: hit.confidence, rank: hit.rank })));

function badge(answer, state, hits) {
  const only = answer.answers[0] ?? answer.pairs?.[0];
  const part = only?.searched ?? 1;
  if (!only || (!hits.length && part === 1) || (answer.pairs && part === 1)) {
    $("badge").replaceChildren();
    return;
  }
  // Rounded down: a part is never all.
  const name = part < 1 ? `Only ${Math.floor(100 * part)} % searched` : only.exact ? "Exact" : only.recall === null ? "Approximate" : `${percent(only.recall)} of the exact top 10`;
  const text = part < 1
    ? `Computers of the cluster that searches are lost, so ${Math.floor(100 * part)} % of the moments could be searched. What is shown is right; better moments may be missing. Search again in a minute.`
    : only.exact
    ? "This list is proven to be the same as if every moment had been compared with the sentence."
    : `A part of the moments was compared (${many(only.candidates, "candidate")} of ${many(only.moments, "moment")}).${only.recall === null ? "" : ` Measured on this index, that finds ${percent(only.recall)} of the ten best.`}`;
  const close = h("div", { id: "badge-about", popover: "auto", class: "popover" }, h("p", { textContent: text }));
  if (!only.exact && part === 1) close.append(h("button", { type: "button", class: "button", textContent: "Compare every moment", onclick: () => actions.go({ exact: true }) }));
  const button = h("button", { type: "button", class: only.exact ? "badge exact" : "badge", textContent: only.exact ? `✓ ${name}` : `≈ ${name}` });
  button.popoverTargetElement = close;
  $("badge").replaceChildren(button, close);
}

function sayThatNothingIsThere(answer, state) {
  const refused = answer.answers[0]?.refused ?? null;
  const clear = ["Clear the filters", actions.clear];
  if (refused !== null) {
    // Rounded down: a cut above the best would leave it out again.
    const cut = Math.floor(refused * 100) / 100;
    showNotice({
      kind: "refused",
      sign: "?",
      title: `Nothing is ${percent(state.min_confidence)} sure`,
      text: `The best moment is ${percent(refused)} sure. What you look for may not be in these videos.`,
      actions: [[`Show what is at least ${percent(cut)} sure`, () => actions.go({ min_confidence: cut || null })]],
    });
  } else if (filterCount(state))
    showNotice({ kind: "none", sign: "∅", title: "No moment passes these filters", text: "No video, or no moment of the length and place that you ask for, is left.", actions: [clear] });
  else
    showNotice({
      kind: "none",
      sign: "∅",
      title: answer.pairs ? "No video has both" : "There is nothing to find",
      text: answer.pairs ? "No video has a moment of each sentence in that order. Try one of them alone." : "This index has no moments.",
      actions: answer.pairs ? [["Search the first sentence", () => actions.go({ kind: "", second: "" })]] : [],
    });
}

export const more = (state) => ({ k: Math.min(MOST, state.k + STEP) });

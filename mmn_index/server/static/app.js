// The page: one state, which the address bar holds, and the parts that show it.
import * as api from "./api.js";
import { $ } from "./dom.js";
import { ofTube } from "./boxes.js";
import { hitOf } from "./cards.js";
import { knownVideos, loadFilters, showChips, showFilters, startFilters } from "./filters.js";
import { showForm, startForm } from "./form.js";
import * as grid from "./grid.js";
import { startKeys } from "./keys.js";
import { login } from "./login.js";
import { showNotice, showWaiting } from "./notice.js";
import { clearResults, forgetAnswers, hitsIn, momentsOf, more, search, startResults } from "./results.js";
import { whenSelectionChanges } from "./selection.js";
import { asks, EMPTY, searchKey, stateOf, STEP, textOf, within, withoutFilters } from "./state.js";
import { startTheme } from "./theme.js";
import { closeViewer, isOpen, openViewer, startViewer } from "./viewer.js";
import { isWelcome, showWelcome } from "./welcome.js";

let state = stateOf(location.search);
let indexes = [];
let applied = 0; // counts, so that what comes late is not shown over what is newer
let asked = null; // what the answer on the page is of, and how it is shown

const index = () => indexes.find(({ name }) => name === state.index) ?? indexes[0];
const address = () => {
  const text = textOf(state);
  return text ? `?${text}` : location.pathname;
};

/** The place in the list is kept with the entry of the history that is left. */
const keepScroll = () => history.replaceState({ ...history.state, scroll: scrollY }, "");

/** Change the state: a new entry in the history, or the present one in its place. */
function go(changes, { replace = false } = {}) {
  const focused = document.activeElement;
  const from = focused?.closest(".card") ? "card" : focused !== document.body && "page";
  const before = address();
  state = { ...state, ...changes };
  if (replace || address() === before) history.replaceState(history.state, "", address());
  else {
    keepScroll();
    history.pushState({ opened: Boolean(state.open) }, "", address());
  }
  apply(null, from);
}

/** What had the focus may have gone with the answer before: whoever uses keys goes on at the new one. */
function keepFocus(from) {
  if (!from || document.activeElement !== document.body) return;
  if (from !== "card" || !grid.focusCard()) $("results").focus({ preventScroll: true });
}

/** A new search begins with the first moments and no video open. */
const ask = (changes) => {
  go({ exact: false, ...changes, k: STEP, open: null });
  scrollTo({ top: 0 });
};

async function apply(scroll = null, from = null) {
  const on = index();
  if (!on) return; // asked before the page is set up: begin() comes here again
  const mine = (applied += 1);
  const ready = loadFilters(on).catch(() => {}); // without them a search is still a search
  const full = within(on, state);
  document.title = state.query ? `${state.query} – moments` : "Search moments";
  showForm(full, indexes, () => ask({ like: null }));
  $("side").hidden = !asks(state);
  $("layout").classList.toggle("with-side", asks(state));
  if (asks(state)) {
    showFilters(full, on);
    ready.then((changed) => changed && mine === applied && showFilters(full, on));
    showChips(full, () => filter(withoutFilters(state)));
    const key = searchKey(full) + state.grouped;
    if (key !== asked) {
      asked = key;
      const found = search(full).then(() => mine === applied && keepFocus(from));
      if (scroll !== null || state.open) await found;
      if (mine !== applied) return;
    }
  } else {
    asked = null;
    $("chips").replaceChildren();
    if (!isWelcome(on)) {
      clearResults();
      await ready;
      if (mine !== applied) return;
      showWelcome(on, knownVideos(), (moment) => go({ open: moment }));
      if (from && document.activeElement === document.body) $("query").focus();
    }
  }
  if (scroll !== null) scrollTo({ top: scroll });
  showOpen(on);
}

function showOpen(on) {
  if (!state.open) {
    if (isOpen()) closeViewer();
    return;
  }
  const sentences = [state.query, state.kind === "then" || state.kind === "and" ? state.second : ""].filter(Boolean);
  openViewer(on.name, state.open, momentsOf(hitsIn(state.open.video)), sentences);
}

/** Search was pressed: the same sentence, too, is asked anew. It may have failed, or the index may have changed. */
function askAnew(changes) {
  asked = null;
  forgetAnswers();
  ask(changes);
}

const filter = (changes) => ask({ ...changes, exact: state.exact });

const open = (hit, part = hit.parts[0]) => go({ open: { video: hit.video, start: part.start, end: part.end, ...ofTube(part.tube) } });
const like = (hit) => ask({ like: { video: hit.video, ...hit.parts[0] }, query: "", kind: "", second: "" });

function closed() {
  if (history.state?.opened) history.back();
  else go({ open: null }, { replace: true });
}

function startFilterDrawer() {
  const narrow = matchMedia("(max-width: 999px)");
  // One form, which moves: beside the answer, or into a drawer where there is no room.
  const place = () => {
    if (!narrow.matches && $("drawer").open) $("drawer").close();
    (narrow.matches ? $("drawer-body") : $("side")).append($("filters"));
  };
  narrow.addEventListener("change", place);
  place();
  $("open-filters").addEventListener("click", () => $("drawer").showModal());
  $("close-filters").addEventListener("click", () => $("drawer").close());
  $("drawer").addEventListener("click", (event) => event.target === $("drawer") && $("drawer").close());
}

function startParts() {
  startTheme($("theme"));
  startForm(askAnew);
  startFilters(filter);
  startResults({ open, like, go, pick: grid.pick, clear: () => filter(withoutFilters(state)) });
  grid.startGrid($("list"), { like: (card) => like(hitOf(card)) });
  whenSelectionChanges(grid.markAll);
  startViewer($("viewer"), { close: closed, moved: (moment) => go({ open: moment }, { replace: true }) });
  startKeys({ search: $("query"), cards: () => grid.focusCard() });
  startFilterDrawer();
  $("more").addEventListener("click", () => go(more(state), { replace: true }));
  $("select-all").addEventListener("click", () => grid.selectAll(true));
  $("as-moments").addEventListener("click", () => go({ grouped: false }));
  $("as-videos").addEventListener("click", () => go({ grouped: true }));
  $("home").addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab
    event.preventDefault();
    go({ ...EMPTY, index: state.index });
    $("query").focus();
  });
}

function startHistory() {
  history.scrollRestoration = "manual";
  addEventListener("popstate", (event) => {
    state = stateOf(location.search);
    apply(event.state?.scroll ?? 0);
  });
  addEventListener("pagehide", keepScroll);
}

/** A link to an index that is elsewhere, or has another name by now: never answered from another one unasked. */
function sayThatThereIsNoIndex() {
  const actions = indexes.slice(0, 5).map(({ name }) => [`Search “${name}”`, () => go({ index: name, open: null }, { replace: true })]);
  showNotice({ kind: "error", sign: "?", title: `There is no index “${state.index}” here`, text: "It may have another name by now, or the link is of another server.", actions, alert: true });
  $("query").value = state.query;
  state.index = "";
}

async function begin() {
  try {
    indexes = await api.indexes();
  } catch (error) {
    const notice = { kind: error.status ? "error" : "away", sign: "⌁", title: error.status ? "The page could not be set up" : "The server is away", text: error.message, actions: [["Try now", begin]], alert: true };
    if (error.retry) showWaiting(notice, error.retry, begin);
    else showNotice(notice);
    return;
  }
  $("notice").hidden = true;
  if (state.index && !indexes.some(({ name }) => name === state.index)) {
    sayThatThereIsNoIndex();
    return;
  }
  await apply(history.state?.scroll ?? null);
  if (!asks(state) && !state.open && matchMedia("(hover: hover)").matches) $("query").focus();
}

api.whenUnauthorized(login);
startParts();
startHistory();
begin();

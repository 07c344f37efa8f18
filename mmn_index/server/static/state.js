// A search as the address bar holds it, and as the server is asked for it.

export const MOST = 1000; // moments that the page asks for at once
export const STEP = 24; // moments that one more page has
export const KINDS = ["then", "and", "not"];
const NUMBERS = ["after", "before", "min_length", "max_length", "min_confidence"];

export const EMPTY = Object.freeze({
  query: "",
  kind: "", // of the second sentence: then, and, not
  second: "",
  like: null, // {video, start, end}, and in an index of tubes {tube}
  index: "",
  where: [],
  video: "",
  after: null,
  before: null,
  min_length: null,
  max_length: null,
  min_confidence: null,
  one: false, // one moment per video
  exact: false,
  grouped: false,
  k: STEP,
  open: null, // the same, that is shown in the viewer
});

const momentText = ({ video, start, end, tube }) => `${start}-${end}${tube === undefined ? "" : `~${tube}`}@${video}`;

/** Times come first: a name may hold every character, and is the rest. */
function momentOf(text) {
  const found = /^(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)(?:~(\d{1,9}))?@(.+)$/s.exec(text ?? "");
  if (!found) return null;
  const tube = found[3] === undefined ? {} : { tube: Number(found[3]) };
  return { start: Number(found[1]), end: Number(found[2]), video: found[4], ...tube };
}

const numberOf = (text) => {
  const value = text === null || text === "" ? NaN : Number(text);
  return Number.isFinite(value) && value >= 0 ? value : null;
};

/** The state that a query string holds; what cannot be read is left out. */
export function stateOf(text) {
  const given = new URLSearchParams(text);
  const kind = KINDS.find((name) => given.get(name)) ?? "";
  const k = numberOf(given.get("k"));
  return {
    ...EMPTY,
    query: given.get("q") ?? "",
    kind,
    second: kind ? given.get(kind) : "",
    like: momentOf(given.get("like")),
    index: given.get("index") ?? "",
    where: given.getAll("where"),
    video: given.get("video") ?? "",
    ...Object.fromEntries(NUMBERS.map((name) => [name, numberOf(given.get(name))])),
    one: given.has("one"),
    exact: given.has("exact"),
    grouped: given.has("grouped"),
    k: k === null ? STEP : Math.min(MOST, Math.max(1, Math.round(k))),
    open: momentOf(given.get("open")),
  };
}

/** A state as a query string, with what differs from an empty one. */
export function textOf(state) {
  const text = new URLSearchParams();
  if (state.query) text.set("q", state.query);
  if (state.kind && state.second) text.set(state.kind, state.second);
  if (state.like) text.set("like", momentText(state.like));
  if (state.index) text.set("index", state.index);
  for (const condition of state.where) text.append("where", condition);
  if (state.video) text.set("video", state.video);
  for (const name of NUMBERS) if (state[name] !== null) text.set(name, state[name]);
  for (const name of ["one", "exact", "grouped"]) if (state[name]) text.set(name, "1");
  if (state.k !== STEP) text.set("k", state.k);
  if (state.open) text.set("open", momentText(state.open));
  return text.toString();
}

/** A state as an index can be searched: a link may ask for more than it, or its server, has. */
export const within = (index, state) => ({
  ...state,
  index: index.name, // what the server calls its only index need not be in a link; with several it has to be said
  most: Math.min(MOST, index.max_k),
  k: Math.min(state.k, MOST, index.max_k),
  min_confidence: index.calibrated ? state.min_confidence : null,
});

export const asks = (state) => Boolean(state.query.trim() || state.like);

/** Confidences are of the moments of one sentence: pairs and moments like another have none to cut at. */
export const hasConfidence = (state) => !state.like && !state.kind;

/** The body of POST /v1/search. */
export function requestOf(state) {
  const request = { k: state.k };
  if (state.like) request.like = state.like;
  else {
    request.query = state.query.trim();
    if (state.kind && state.second.trim()) request[state.kind] = state.second.trim();
  }
  if (state.index) request.index = state.index;
  if (state.where.length) request.where = state.where;
  if (state.video) request.videos = [state.video];
  for (const name of NUMBERS) if (state[name] !== null) request[name] = state[name];
  if (!hasConfidence(state)) delete request.min_confidence;
  if (state.one) request.per_video = 1;
  if (state.exact) request.exact = true;
  return request;
}

/** What tells two searches apart, however they are shown. */
export const searchKey = (state) => JSON.stringify(requestOf(state));

export const filterCount = (state) =>
  state.where.length +
  Boolean(state.video) +
  NUMBERS.filter((name) => state[name] !== null && (name !== "min_confidence" || hasConfidence(state))).length +
  state.one;

export const withoutFilters = (state) => ({
  ...state,
  where: [],
  video: "",
  one: false,
  ...Object.fromEntries(NUMBERS.map((name) => [name, null])),
});

// The server. Addresses are relative, so that the page works below any path of a proxy.

export class ApiError extends Error {
  /** status 0: no answer came. `retry`: seconds after which the same may succeed. */
  constructor(status, detail, retry = null) {
    super(detail);
    this.status = status;
    this.retry = retry;
  }
}

let onUnauthorized = async () => {};

/** What is done where the server asks for a token; the request is sent again when it resolves. */
export function whenUnauthorized(action) {
  onUnauthorized = action;
}

async function send(path, { signal, again = true, ...options } = {}) {
  let answer;
  try {
    answer = await fetch(path, { signal, ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server does not answer. Is it running, and is this machine online?", 5);
  }
  if (answer.status === 401 && again) {
    await onUnauthorized();
    signal?.throwIfAborted();
    return send(path, { signal, again: true, ...options });
  }
  if (!answer.ok) throw await problem(answer);
  return answer;
}

async function problem(answer) {
  let detail = `The server answered ${answer.status} ${answer.statusText}`.trim() + ".";
  try {
    detail = (await answer.json()).detail ?? detail;
  } catch {
    // Something between us and the server, such as a proxy, answered in its own words.
  }
  const retry = Number.parseInt(answer.headers.get("Retry-After") ?? "", 10);
  const wait = Number.isFinite(retry) ? retry : answer.status === 503 || answer.status === 502 ? 2 : null;
  return new ApiError(answer.status, detail, wait);
}

const post = (path, body, options = {}) =>
  send(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    ...options,
  });

const inIndex = (index, values) => {
  const parameters = new URLSearchParams(values);
  if (index) parameters.set("index", index);
  const text = parameters.toString();
  return text ? `?${text}` : "";
};
const below = (video, call, index, values) =>
  `v1/videos/${encodeURIComponent(video)}${call}${inIndex(index, values)}`;

export const indexes = async (signal) => (await send("v1/indexes", { signal })).json();
export const search = async (request, signal) => (await post("v1/search", request, { signal })).json();
export const videos = async (index, count, signal) =>
  (await send(`v1/videos${inIndex(index, { count })}`, { signal })).json();
export const video = async (index, id, signal) => (await send(below(id, "/", index), { signal })).json();
export const maps = async (index, id, query, at, tube, signal) =>
  (await send(below(id, "/moments", index, { query, at, ...tube }), { signal })).json();
export const boxes = async (index, id, { tube, start, end }, signal) =>
  (await send(below(id, "/boxes", index, { tube, start, end }), { signal })).json();
export const exported = (request, signal) => post("v1/export", request, { signal });
export const login = (token) => post("v1/session", { token }, { again: false });
/** The problem that keeps a picture or a film from coming, which elements do not tell; null where there is none. */
export async function trouble(address) {
  try {
    const stop = new AbortController();
    await send(address, { headers: { Range: "bytes=0-0" }, signal: stop.signal });
    stop.abort();
    return null;
  } catch (error) {
    return error;
  }
}

export const pictureAddress = (index, id, time, height = 270) =>
  below(id, "/thumbnail", index, { t: time.toFixed(2), height });
export const streamAddress = (index, id) => below(id, "/stream", index);
export const clipAddress = (index, id, start, end) =>
  below(id, "/clip", index, { start: start.toFixed(3), end: end.toFixed(3), height: 360 });
export const convertedAddress = (index, id, start) => below(id, "/transcoded", index, { start: start.toFixed(3) });

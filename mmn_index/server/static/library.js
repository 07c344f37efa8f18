// What is known of the videos of an index, asked for once, a few at a time.
import * as api from "./api.js";

const AT_ONCE = 4;
const known = new Map();
const waiting = [];
let running = 0;

function next() {
  while (running < AT_ONCE && waiting.length) {
    running += 1;
    waiting.shift()().finally(() => {
      running -= 1;
      next();
    });
  }
}

/** A video: {duration, playable, playback: direct | transcode | none, reason, metadata}. */
export function about(index, id) {
  const key = JSON.stringify([index, id]);
  if (!known.has(key)) {
    const found = new Promise((resolve, reject) => {
      waiting.push(() => api.video(index, id).then((video) => resolve(completed(video)), reject));
      next();
    });
    found.catch(() => known.delete(key)); // asked again the next time
    known.set(key, found);
  }
  return known.get(key);
}

function completed(video) {
  const playback = video.playable ? (video.playback ?? "direct") : "none";
  const gone = "The file of this video is not there any more.";
  return { ...video, playback, reason: video.reason ?? (video.playable ? null : gone) };
}

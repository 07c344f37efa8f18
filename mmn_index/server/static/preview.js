// Playing a moment inside its card: muted, again and again, and one card at a time.
import * as api from "./api.js";
import { about } from "./library.js";
import { h } from "./dom.js";

const LONGEST = 300; // seconds that the server converts at once
let current = null;

export const playing = () => current?.card ?? null;

export function stop(card = null) {
  if (current && (!card || current.card === card)) {
    current.end();
    current = null;
  }
}

/**
 * Play the parts of a hit in turn. `say` writes a line on the card, or removes it; `show` is told which second of
 * which part is seen.
 */
export async function play(card, hit, index, say, show) {
  if (current?.card === card) return;
  stop();
  const mine = (current = new Preview(card, hit, index, say, show));
  try {
    await mine.begin();
  } catch (error) {
    if (!mine.ended) say(error.message);
  }
}

class Preview {
  constructor(card, hit, index, say, show) {
    Object.assign(this, { card, hit, index, say, show, part: 0, ended: false });
    this.progress = card.querySelector(".progress");
  }

  async begin() {
    const video = await about(this.index, this.hit.video);
    if (this.ended) return;
    if (video.playback === "none") {
      this.say(video.reason);
      return;
    }
    this.converted = video.playback === "transcode";
    this.element = h("video", { muted: true, playsInline: true, preload: "auto", "aria-hidden": "true", tabIndex: -1 });
    this.element.disableRemotePlayback = true;
    this.element.addEventListener("playing", () => {
      this.say(null);
      this.card.classList.add("plays");
    });
    this.element.addEventListener("error", () => this.failed());
    this.element.addEventListener("ended", () => this.turn());
    this.card.querySelector(".shot").append(this.element);
    if (this.converted) this.convert();
    else {
      this.element.addEventListener("loadedmetadata", () => this.seek());
      this.element.src = api.streamAddress(this.index, this.hit.video);
    }
    this.watch();
  }

  convert() {
    const { start, end } = this.hit.parts[this.part];
    this.say("Being converted …");
    this.element.src = api.clipAddress(this.index, this.hit.video, start, Math.min(end, start + LONGEST));
    this.run();
  }

  seek() {
    this.element.currentTime = this.hit.parts[this.part].start;
    this.run();
  }

  run() {
    // Refused where it was stopped before it began.
    this.element.play().catch(() => {});
  }

  /** The end of a part: to the next one, or to the first again. */
  turn() {
    const before = this.part;
    this.part = (this.part + 1) % this.hit.parts.length;
    if (!this.converted) this.seek();
    else if (this.part !== before) this.convert();
    else {
      this.element.currentTime = 0;
      this.run();
    }
  }

  watch() {
    const look = () => {
      if (this.ended) return;
      const { start, end } = this.hit.parts[this.part];
      const begin = this.converted ? 0 : start;
      const at = this.element.currentTime;
      if (!this.element.seeking && this.element.readyState > 1) {
        this.progress.style.transform = `scaleX(${Math.min(1, Math.max(0, (at - begin) / (end - start)))})`;
        this.show(at - begin + start, this.part);
        if (!this.converted && (at >= end - 0.02 || at < start - 0.5)) this.turn();
      }
      this.frame = requestAnimationFrame(look);
    };
    this.frame = requestAnimationFrame(look);
  }

  async failed() {
    if (this.ended) return;
    const why = await api.trouble(this.element.src);
    if (this.ended) return;
    if (why?.retry) {
      this.say("The server is busy. Trying again …");
      this.timer = setTimeout(() => {
        this.element.load();
        this.run();
      }, 1000 * why.retry);
    } else this.say(why?.message ?? "This browser cannot play it.");
  }

  end() {
    this.ended = true;
    clearTimeout(this.timer);
    cancelAnimationFrame(this.frame);
    this.card.classList.remove("plays");
    this.progress.style.transform = "scaleX(0)";
    if (!this.element) return;
    this.element.pause();
    this.element.removeAttribute("src"); // the connection is closed, too
    this.element.load();
    this.element.remove();
    this.say(null);
  }
}

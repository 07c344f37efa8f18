// A whole video. What the browser cannot play itself comes converted from some second on: its second 0 is that.
import * as api from "./api.js";
import { Boxes } from "./boxes.js";
import { h } from "./dom.js";

const LAST = 0.2; // seconds before its end that a converted video can still begin at

export class Player {
  /** onTime(seconds): where it is. */
  constructor(index, video, onTime) {
    Object.assign(this, { index, video, onTime, offset: 0, waits: false });
    this.note = h("p", { class: "player-note", role: "status", hidden: true });
    this.element = h("div", { class: "player" });
    if (video.playback === "none") {
      this.say(video.reason);
      this.element.classList.add("dead");
      this.element.append(this.note);
      return;
    }
    this.media = h("video", { controls: true, playsInline: true, preload: "auto", "aria-label": video.video });
    this.boxes = new Boxes("contain");
    this.element.append(this.media, this.boxes.element, this.note);
    this.media.addEventListener("timeupdate", () => this.tell());
    this.media.addEventListener("seeked", () => this.tell());
    for (const type of ["loadeddata", "playing"]) this.media.addEventListener(type, () => this.say(null));
    this.media.addEventListener("error", () => this.failed());
    if (!this.converted) this.media.src = api.streamAddress(index, video.video);
  }

  get converted() {
    return this.video.playback === "transcode";
  }

  /** Draw the boxes of a tube while it plays; null for none. */
  follow(tube) {
    if (!this.media) return;
    this.boxes.of(tube);
    this.boxes.follow(this.media, () => (this.waits ? null : this.offset));
  }

  say(text) {
    this.note.hidden = text === null;
    this.note.textContent = text ?? "";
  }

  tell() {
    if (this.waits) return; // what still plays is of the source before
    this.onTime(this.offset + this.media.currentTime);
  }

  /** Show a second; `play` from there. */
  seek(seconds, { play = false } = {}) {
    this.onTime(seconds);
    if (!this.media) return;
    if (!this.converted) this.media.currentTime = seconds;
    else if (this.isBuffered(seconds - this.offset)) this.media.currentTime = seconds - this.offset;
    else {
      this.offset = Math.min(seconds, Math.max(0, this.video.duration - LAST));
      this.waits = true;
      this.say(this.video.reason ?? "Being converted …");
      clearTimeout(this.timer);
      // While somebody drags along the time line, not every second is converted.
      this.timer = setTimeout(() => {
        this.waits = false;
        const plays = play || !this.media.paused; // which a new source ends
        this.media.src = api.convertedAddress(this.index, this.video.video, this.offset);
        if (plays) this.run();
      }, 150);
      return;
    }
    if (play) this.run();
  }

  isBuffered(seconds) {
    const { buffered } = this.media;
    for (let n = 0; n < buffered.length; n += 1)
      if (buffered.start(n) <= seconds && seconds <= buffered.end(n)) return true;
    return false;
  }

  run() {
    // With sound it may only begin after somebody did something on the page; then it waits for its button.
    this.media.play().catch(() => {});
  }

  turn() {
    if (!this.media) return;
    if (this.media.paused) this.run();
    else this.media.pause();
  }

  async failed() {
    if (!this.media.getAttribute("src")) return;
    const address = this.media.src;
    const why = await api.trouble(address);
    if (this.ended || this.media.src !== address) return;
    if (why?.retry) {
      this.say("The server is busy converting other videos. Trying again …");
      this.timer = setTimeout(() => {
        this.media.load();
        this.run();
      }, 1000 * why.retry);
    } else this.say(why?.message ?? "This browser cannot play this video.");
  }

  end() {
    this.ended = true;
    clearTimeout(this.timer);
    if (!this.media) return;
    this.boxes.of(null);
    this.media.pause();
    this.media.removeAttribute("src");
    this.media.load();
  }
}

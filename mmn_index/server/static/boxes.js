// The box of a tube over a picture or a film of its video.
const SVG = "http://www.w3.org/2000/svg";

/** What tells a moment of a tube from another one of its video; nothing where there are no tubes. */
export const ofTube = (tube) => (tube === undefined || tube === null ? {} : { tube });

/** The box of a second, x1, y1, x2, y2 in pixels; null where the tube has none then. */
function boxAt({ boxes, first_frame, frame_rate }, seconds) {
  // The middle of a frame is shown for all of it: a second on its edge is not cut to the frame before.
  const place = Math.floor(seconds * frame_rate + 0.01) + 1 - first_frame;
  return boxes[place] ?? null;
}

export class Boxes {
  /** fit: how the picture fills its place, as CSS calls it: cover or contain. */
  constructor(fit) {
    this.element = document.createElementNS(SVG, "svg");
    this.element.setAttribute("class", "boxes");
    this.element.setAttribute("preserveAspectRatio", `xMidYMid ${fit === "cover" ? "slice" : "meet"}`);
    this.element.setAttribute("aria-hidden", "true");
    this.shadow = document.createElementNS(SVG, "rect"); // so that it is seen on every ground
    this.shadow.setAttribute("class", "shadow");
    this.box = document.createElementNS(SVG, "rect");
    this.element.append(this.shadow, this.box);
    this.of(null);
  }

  /** Show the box of the frame that a film shows; offset() is the second that the film begins at, or null. */
  follow(media, offset) {
    const tube = this.tube;
    if (!tube) return;
    // The frame that is seen, where the browser says it; what else is known is where the film is.
    const exact = "requestVideoFrameCallback" in media;
    const wait = (look) => (exact ? media.requestVideoFrameCallback(look) : requestAnimationFrame(look));
    const look = (_, frame) => {
      if (this.tube !== tube) return;
      const seconds = frame ? frame.mediaTime + 0.5 / tube.frame_rate : media.currentTime;
      const from = offset();
      if (from !== null) this.show(from + seconds);
      wait(look);
    };
    wait(look);
    this.show((offset() ?? NaN) + media.currentTime);
  }

  /** tube: {boxes, first_frame, frame_rate, frame_size} as the server sends it, or null. */
  of(tube) {
    this.tube = tube;
    if (tube) this.element.setAttribute("viewBox", `0 0 ${tube.frame_size.join(" ")}`);
    this.element.style.display = "none";
  }

  show(seconds) {
    const box = this.tube && boxAt(this.tube, seconds);
    this.element.style.display = box ? "" : "none";
    if (!box) return;
    const [x1, y1, x2, y2] = box;
    for (const rect of [this.shadow, this.box])
      for (const [name, value] of Object.entries({ x: x1, y: y1, width: x2 - x1, height: y2 - y1 })) rect.setAttribute(name, value);
  }
}

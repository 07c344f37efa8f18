// A sentence's 2D map: a cell for every moment of a window, from its start (to the right) to its end (upwards).
import { colour } from "./colours.js";
import { h } from "./dom.js";
import { clock, score, span, spoken } from "./wording.js";

const LEFT = 44; // pixels for the labels of the axes
const BELOW = 36;
const TOP = 8;
const RIGHT = 12;

export class HeatMap {
  /** onPlay(start, end): a cell was chosen. */
  constructor(onPlay) {
    this.onPlay = onPlay;
    this.canvas = h("canvas", {
      class: "map",
      tabIndex: 0,
      role: "application",
      "aria-roledescription": "heat map",
      "aria-label": "Map of all moments: arrow keys move from cell to cell, Enter plays one",
    });
    this.tip = h("div", { class: "tip", "aria-hidden": "true", hidden: true });
    this.said = h("p", { class: "visually-hidden", "aria-live": "polite" });
    this.element = h("div", { class: "map-box" }, this.canvas, this.tip, this.said);
    this.map = null;
    this.cell = null; // [first clip, last clip]
    this.shown = null; // {start, end} that is played
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.element);
    document.addEventListener("themechange", () => this.draw());
  }

  /** map: {start, length, scores} as the server sends it. */
  show(map, shown) {
    this.map = map;
    this.cell = null;
    this.tip.hidden = true;
    const values = map.scores.flat().filter((value) => value !== null);
    this.least = values.reduce((a, b) => Math.min(a, b), Infinity);
    this.most = values.reduce((a, b) => Math.max(a, b), -Infinity);
    this.mark(shown);
  }

  mark(shown) {
    this.shown = shown;
    this.draw();
  }

  get clips() {
    return this.map.scores.length;
  }

  times([first, last]) {
    const clip = this.map.length / this.clips;
    return { start: this.map.start + first * clip, end: this.map.start + (last + 1) * clip };
  }

  share(value) {
    return this.most > this.least ? (value - this.least) / (this.most - this.least) : 1;
  }

  get side() {
    return Math.min(this.element.clientWidth - LEFT - RIGHT, 420);
  }

  draw() {
    if (!this.map || !this.element.isConnected || this.side <= 0) return;
    const [width, height] = [this.side + LEFT + RIGHT, this.side + TOP + BELOW];
    const dense = devicePixelRatio || 1;
    this.canvas.width = width * dense;
    this.canvas.height = height * dense;
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    const pen = this.canvas.getContext("2d");
    pen.scale(dense, dense);
    const style = getComputedStyle(this.element);
    this.ink = style.getPropertyValue("--text").trim();
    this.faint = style.getPropertyValue("--muted").trim();
    pen.font = `11px ${style.fontFamily}`;
    this.drawCells(pen);
    this.drawAxes(pen);
    this.drawLegend(pen);
    if (this.shown) this.frame(pen, this.cellOf(this.shown), 2, true);
    if (this.cell) this.frame(pen, this.cell, 3, false);
  }

  box([first, last]) {
    const size = this.side / this.clips;
    return [LEFT + first * size, TOP + this.side - (last + 1) * size, size];
  }

  drawCells(pen) {
    // A sparse grid has scores in few cells: each is drawn over the empty ones up to its neighbours.
    for (let first = 0; first < this.clips; first += 1)
      for (let last = this.clips - 1; last >= first; last -= 1) {
        const value = this.map.scores[first][last];
        if (value === null) continue;
        const [x, y, size] = this.box([first, last]);
        const reach = this.reach(first, last);
        pen.fillStyle = colour(this.share(value));
        pen.fillRect(x, y, size * reach + 0.3, size * reach + 0.3);
      }
  }

  /** Clips to the next cell of the same row: long moments lie further apart. */
  reach(first, last) {
    const row = this.map.scores[first];
    for (let other = last - 1; other > first; other -= 1) if (row[other] !== null) return Math.min(last - other, 4);
    return 1;
  }

  drawAxes(pen) {
    const { start, length } = this.map;
    pen.fillStyle = this.faint;
    pen.strokeStyle = this.faint;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(LEFT - 0.5, TOP);
    pen.lineTo(LEFT - 0.5, TOP + this.side + 0.5);
    pen.lineTo(LEFT + this.side, TOP + this.side + 0.5);
    pen.stroke();
    for (let step = 0; step <= 4; step += 1) {
      const label = clock(start + (length * step) / 4, false);
      const along = (this.side * step) / 4;
      pen.textAlign = step === 4 ? "right" : step === 0 ? "left" : "center";
      pen.textBaseline = "top";
      pen.fillText(label, LEFT + along, TOP + this.side + 5);
      pen.textAlign = "right";
      pen.textBaseline = step === 4 ? "top" : step === 0 ? "bottom" : "middle";
      pen.fillText(label, LEFT - 6, TOP + this.side - along);
    }
    pen.fillStyle = this.ink;
    pen.textAlign = "right";
    pen.textBaseline = "bottom";
    pen.fillText("start of the moment →", LEFT + this.side, TOP + this.side + BELOW - 1);
    pen.textAlign = "left";
    pen.textBaseline = "top";
    pen.save();
    pen.translate(0, TOP + this.side);
    pen.rotate(-Math.PI / 2);
    pen.fillText("end of the moment →", this.side * 0.28, 0);
    pen.restore();
  }

  /** In the corner where no moment is: it would end before it starts. */
  drawLegend(pen) {
    const width = Math.min(130, this.side * 0.36);
    const [x, y] = [LEFT + this.side - width, TOP + this.side - 44];
    for (let n = 0; n < width; n += 1) {
      pen.fillStyle = colour(n / (width - 1));
      pen.fillRect(x + n, y, 1.2, 10);
    }
    pen.fillStyle = this.ink;
    pen.textBaseline = "top";
    pen.textAlign = "left";
    pen.fillText(score(this.least), x, y + 14);
    pen.textAlign = "right";
    pen.fillText(score(this.most), x + width, y + 14);
    pen.textBaseline = "bottom";
    pen.fillText("score", x + width, y - 3);
  }

  frame(pen, cell, width, shown) {
    if (!cell) return;
    const [x, y, size] = this.box(cell);
    const reach = this.reach(...cell) * size;
    pen.lineWidth = width + 2;
    pen.strokeStyle = "#000";
    pen.strokeRect(x - 1, y - 1, reach + 2, reach + 2);
    pen.lineWidth = width;
    pen.strokeStyle = shown ? "#ff5a8a" : "#fff";
    pen.strokeRect(x - 1, y - 1, reach + 2, reach + 2);
  }

  /** The cell whose times are nearest to a moment's. */
  cellOf({ start, end }) {
    return this.nearest((cell) => {
      const times = this.times(cell);
      return Math.abs(times.start - start) + Math.abs(times.end - end);
    });
  }

  nearest(distance, most = Infinity) {
    let best = null;
    let least = most;
    this.map.scores.forEach((row, first) =>
      row.forEach((value, last) => {
        if (value === null) return;
        const far = distance([first, last]);
        if (far < least) [best, least] = [[first, last], far];
      }),
    );
    return best;
  }

  /** Whether the window holds a moment whole. */
  holds({ start, end }) {
    return this.map.start - 0.01 <= start && end <= this.map.start + this.map.length + 0.01;
  }

  choose(cell, heard = true) {
    this.cell = cell;
    this.draw();
    if (!cell) {
      this.tip.hidden = true;
      return;
    }
    const { start, end } = this.times(cell);
    const value = score(this.map.scores[cell[0]][cell[1]]);
    this.tip.replaceChildren(h("strong", { textContent: span(start, end) }), h("span", { textContent: `score ${value}` }));
    this.tip.hidden = false;
    const [x, y, size] = this.box(cell);
    const right = x > LEFT + this.side / 2;
    this.tip.style.left = right ? "" : `${x + size + 10}px`;
    this.tip.style.right = right ? `${this.element.clientWidth - x + 10}px` : "";
    this.tip.style.top = `${Math.max(0, y - 10)}px`;
    if (heard) this.said.textContent = `${spoken(start, end)}, score ${value}`;
  }

  /** The next cell that has a score in a direction; rows and columns may have gaps. */
  beside([first, last], key) {
    const [right, up] = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[key];
    return this.nearest(([a, b]) => {
      const along = right ? (a - first) * right : (b - last) * up;
      const aside = right ? Math.abs(b - last) : Math.abs(a - first);
      return along > 0 ? along + 4 * aside : Infinity;
    });
  }

  play(cell) {
    const { start, end } = this.times(cell);
    this.onPlay(start, end);
  }

  listen() {
    const under = (event) => {
      const box = this.canvas.getBoundingClientRect();
      const [x, y] = [event.clientX - box.left, event.clientY - box.top];
      const size = this.side / this.clips;
      return this.nearest((cell) => {
        const [left, top] = this.box(cell);
        const half = (size * this.reach(...cell)) / 2;
        return Math.hypot(left + half - x, top + half - y);
      }, size * 3);
    };
    this.canvas.addEventListener("pointermove", (event) => this.map && this.choose(under(event), false));
    this.canvas.addEventListener("pointerleave", () => this.map && this.choose(null));
    this.canvas.addEventListener("click", (event) => {
      const cell = this.map && under(event);
      if (cell) this.play(cell);
    });
    this.canvas.addEventListener("focus", () => {
      if (this.map && this.canvas.matches(":focus-visible")) this.choose(this.cell ?? this.cellOf(this.shown ?? this.times([0, 0])));
    });
    this.canvas.addEventListener("blur", () => this.map && this.choose(null));
    this.canvas.addEventListener("keydown", (event) => {
      if (!this.map || event.ctrlKey || event.metaKey || event.altKey) return;
      const here = this.cell ?? this.cellOf(this.shown ?? this.times([0, 0]));
      if (event.key.startsWith("Arrow")) this.choose(this.beside(here, event.key) ?? here);
      else if (event.key === "Enter" || event.key === " ") this.play(here);
      else return;
      event.preventDefault();
    });
  }
}

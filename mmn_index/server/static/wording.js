// Numbers as people read them.

/** Seconds as a clock: 7.25 -> 0:07.3, 83 -> 1:23, 3723 -> 1:02:03; tenths only where they say something. */
export function clock(seconds, tenths = true, always = false) {
  const total = tenths ? Math.round(seconds * 10) / 10 : Math.floor(seconds + 1e-6);
  const hours = Math.floor(total / 3600);
  const minutes = Math.floor((total % 3600) / 60);
  const rest = total % 60;
  const whole = Math.floor(rest + 1e-6);
  const tenth = Math.round((rest - whole) * 10);
  const text = String(whole).padStart(2, "0") + (always || (tenths && tenth) ? `.${tenth}` : "");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${text}` : `${minutes}:${text}`;
}

/** Two times in one form: with tenths where one of them has some. */
const both = (start, end) => {
  const tenths = [start, end].some((time) => Math.round(time * 10) % 10);
  return [start, end].map((time) => clock(time, true, tenths));
};
export const span = (start, end) => both(start, end).join(" – ");
export const spoken = (start, end) => both(start, end).join(" to ");

// Numbers that an index knows of every video, with their units.
const UNITS = { duration: "Seconds of the video", size: "Size in bytes", width: "Width in pixels", height: "Height in pixels", fps: "Pictures per second" };

/** What a column of the metadata is called; `value` is one of its own. */
export const named = (column, value) =>
  (typeof value === "number" && Object.hasOwn(UNITS, column) && UNITS[column]) || column.charAt(0).toUpperCase() + column.slice(1).replaceAll("_", " ");

const SURE = [
  [0.9, "almost certain"],
  [0.7, "likely"],
  [0.5, "more likely than not"],
  [0.3, "possible"],
  [0.1, "unlikely"],
  [0, "very unlikely"],
];

/** A probability in words. */
export const likelihood = (p) => SURE.find(([least]) => p >= least)[1];

/** A value of the metadata; of a broken number the digits that say something. */
export const valueText = (value) => String(typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value);

export const percent = (p) => `${Math.round(100 * p)} %`;
export const whole = (n) => n.toLocaleString("en");
export const many = (n, one, several = `${one}s`) => `${whole(n)} ${n === 1 ? one : several}`;
export const score = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : Number(value.toPrecision(3)).toString());

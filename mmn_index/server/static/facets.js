// Which filters the metadata of an index allows, and conditions as the server reads them.
//
// A condition is COLUMN OPERATOR VALUE, and everything behind the operator is the value: no quote in it means
// anything. What cannot be said in that form is not offered: a column with an operator in its name, a value with
// blanks at its ends or with line breaks.

const FEW = 30; // values that a list to choose from has
const OWN = new Set(["video_id", "uri", "content_hash"]);
const CONDITION = /^\s*([^=!<>]+?)\s*(!=|>=|<=|==?|>|<)\s*(.*?)\s*$/;

export function read(condition) {
  const found = CONDITION.exec(condition);
  return found && { column: found[1], sign: found[2] === "=" ? "==" : found[2], value: found[3] };
}

/** Equality is always written "==": behind "=" a value that begins with "=" would lose it. */
export const write = (column, sign, value) => `${column}${sign}${value}`;

const canBeNamed = (column) => !/[=!<>]/.test(column) && column.trim() === column && column !== "";
const canBeValue = (value) => value.trim() === value && value !== "" && !/[\r\n\u2028\u2029\u0085\v\f\x1c-\x1e]/.test(value);
const isDay = (value) => /^\d{4}-\d\d-\d\d$/.test(value);
const isInstant = (value) => /^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(value);
const isClock = (value) => /^\d\d:\d\d(:\d\d(\.\d+)?)?$/.test(value);

function kindOf(values) {
  if (values.every((value) => typeof value === "number")) return values.every(Number.isInteger) ? "whole" : "number";
  if (values.every((value) => typeof value === "boolean")) return "choice";
  if (!values.every((value) => typeof value === "string")) return null;
  if (values.every(isInstant)) return "instant";
  if (values.every(isDay)) return "day";
  if (values.every(isClock)) return "clock";
  return new Set(values).size <= FEW ? "choice" : "text";
}

/** [{column, kind, values, missing}] of the columns that tell these videos apart. */
export function facetsOf(columns, videos) {
  const found = [];
  for (const column of columns) {
    if (OWN.has(column) || !canBeNamed(column)) continue;
    const all = videos.map((video) => (column === "duration" ? video.duration : (video.metadata[column] ?? null)));
    const given = all.filter((value) => value !== null && (typeof value !== "string" || canBeValue(value)));
    const values = [...new Set(given)].sort((a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true })));
    const kind = values.length ? kindOf(given) : null;
    // A text that is another one in each video is a name: there is a field for videos already.
    if (kind === "text" && values.length === given.length) continue;
    if (kind && (values.length > 1 || given.length < all.length)) found.push({ column, kind, values });
  }
  return found;
}

function dayAfter(day, days) {
  const date = new Date(`${day}T00:00:00Z`);
  date.setUTCDate(date.getUTCDate() + days);
  return date.toISOString().slice(0, 10);
}

/** What the fields of a facet say as conditions: `from` and `to`, or `is`. */
export function conditionsOf({ column, kind }, { from = "", to = "", is = "" }) {
  const found = [];
  if (is !== "") found.push(write(column, "==", is));
  if (from !== "") found.push(write(column, ">=", kind === "whole" ? Math.ceil(from) : from));
  // Of times, a day means all of it: up to, and without, the midnight at its end.
  if (to !== "" && kind === "instant") found.push(write(column, "<", dayAfter(to, 1)));
  else if (to !== "") found.push(write(column, "<=", kind === "whole" ? Math.floor(to) : to));
  return found;
}

/** The other way round: what the fields of a facet show of some conditions, and which of these are used up. */
export function fieldsOf({ column, kind }, conditions) {
  const fields = { from: "", to: "", is: "" };
  const used = new Set();
  const ranged = kind !== "choice" && kind !== "text";
  for (const condition of conditions) {
    const found = read(condition);
    if (found?.column !== column) continue;
    const day = kind === "instant" && isDay(found.value);
    let field = null;
    if (!ranged && found.sign === "==") field = "is";
    else if (ranged && found.sign === ">=" && (kind !== "instant" || day)) field = "from";
    else if (ranged && found.sign === "<=" && kind !== "instant") field = "to";
    else if (kind === "instant" && found.sign === "<" && day) field = "to";
    if (!field || fields[field] !== "") continue;
    fields[field] = field === "to" && kind === "instant" ? dayAfter(found.value, -1) : found.value;
    used.add(condition);
  }
  return { fields, used };
}

// Elements. Text only ever becomes a text node: nothing from names, metadata or queries is read as HTML.

export const $ = (id) => document.getElementById(id);

/** An element with properties (`class`, `data-*` and `aria-*` become attributes) and children. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class" || name === "for" || name === "role" || name === "list" || name.includes("-"))
      element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Only for what is no news in itself: a reader hears it, nobody sees it. */
export function announce(text) {
  $("live").textContent = text;
}

export const reducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// Makes and fills elements; text is always text, never markup.

/**
 * Makes an element.
 * @param {string} tag
 * @param {Object} given Properties; what has a hyphen, `for` and `role` are attributes, functions are listeners.
 * @param {...(Node|string)} children
 */
export function el(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name.includes("-") || name === "for" || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** The element with an id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Fills a select, and keeps what was chosen where it is still there. */
export function fillSelect(select, options, fallback) {
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => el("option", { value, textContent: text })));
  const values = options.map(([value]) => value);
  select.value = values.includes(before) ? before : fallback;
}

/** A share as people read it: 0.8123 is "81 %". */
export function percent(share) {
  const value = 100 * share;
  return `${value > 0 && value < 1 ? "< 1" : Math.round(value)} %`;
}

/** Shows a PNG in base64; small ones with hard edges, so that their pixels can be seen. */
export function showPng(image, base64) {
  image.src = `data:image/png;base64,${base64}`;
  image.onload = () => image.classList.toggle("pixels", image.naturalWidth <= 96);
}

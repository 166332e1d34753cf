// Each image beside its reconstruction, with what the model says of it.

import { byId, el, percent, showPng } from "./dom.js";
import { typicalityWord, uncertaintyOf, uncertaintyWord } from "./words.js";

/** The list of cards; one is made for each picture, and filled again when more is known of it. */
export class Cards {
  #cards = new Map();
  #list = byId("cards");

  /** @param {function(Picture): void} remove */
  constructor(remove) {
    this.remove = remove;
  }

  show(pictures, prior) {
    for (const [id, card] of this.#cards) {
      if (pictures.some((picture) => picture.id === id)) continue;
      card.node.remove();
      this.#cards.delete(id);
    }
    for (const picture of pictures) {
      let card = this.#cards.get(picture.id);
      if (!card) {
        card = this.#make(picture);
        this.#cards.set(picture.id, card);
        this.#list.append(card.node);
      }
      if (card.state !== picture.state) card.body.replaceChildren(...body(picture, prior));
      card.state = picture.state;
    }
  }

  #make(picture) {
    const inside = el("div", { className: "body" });
    const close = el("button", { type: "button", className: "close", "aria-label": `Remove ${picture.name}` }, "×");
    close.addEventListener("click", () => {
      const next = node.nextElementSibling ?? node.previousElementSibling;
      this.remove(picture);
      (next?.querySelector(".close") ?? byId("add")).focus();
    });
    const title = el("h3", { title: picture.name }, picture.name);
    const node = el("li", { className: "card" }, el("div", { className: "head" }, title, close), inside);
    return { node, body: inside };
  }
}

/** The image that was sent; a format that the browser cannot show has its name instead. */
export function original(picture) {
  const image = el("img", { src: picture.url, alt: picture.name });
  image.addEventListener("load", () => image.classList.toggle("pixels", image.naturalWidth <= 96));
  image.addEventListener("error", () => image.replaceWith(el("span", { className: "blank" }, "no preview")));
  return image;
}

function body(picture, prior) {
  const sent = el("figure", {}, original(picture), el("figcaption", {}, "sent"));
  if (picture.state === "bad") {
    return [el("div", { className: "pair" }, sent, el("p", { className: "problem", role: "alert" }, picture.problem))];
  }
  if (picture.state === "waiting") {
    const place = el("figure", { className: "waiting" }, el("span", { className: "blank" }), el("figcaption", {}, "looking …"));
    return [el("div", { className: "pair" }, sent, place)];
  }
  const image = el("img", { alt: `What the model saw in ${picture.name}` });
  showPng(image, picture.reconstruction);
  const seen = el("figure", {}, image, el("figcaption", {}, "seen"));
  const uncertainty = uncertaintyOf(picture.variance, prior);
  return [
    el("div", { className: "pair" }, sent, seen),
    meter("Typicality", picture.typicality, typicalityWord(picture.typicality)),
    meter("Uncertainty", uncertainty, uncertaintyWord(uncertainty)),
  ];
}

function meter(name, share, word) {
  const fill = el("span", {});
  fill.style.width = `${100 * share}%`;
  const text = `${percent(share)}, ${word}`;
  const bar = el(
    "div",
    {
      className: `bar ${name.toLowerCase()}`,
      role: "meter",
      "aria-label": name,
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      "aria-valuenow": Math.round(100 * share),
      "aria-valuetext": text,
    },
    fill,
  );
  const label = el("p", { className: "reading", "aria-hidden": "true" });
  label.append(el("span", {}, name), el("strong", {}, word), el("span", { className: "number" }, percent(share)));
  return el("div", { className: "meter" }, label, bar);
}

// A slider from one image to another, and the way between them as a film.

import { byId, el, fillSelect, showPng } from "./dom.js";
import { Live, between } from "./live.js";
import { betweenRecipe, showRecipe } from "./recipes.js";
import { isOvertaken } from "./server.js";

const STEPS = 9;

export class WalkBetween {
  #server;
  #live;
  #pictures = [];
  #filmed = null;

  constructor(server) {
    this.#server = server;
    this.#live = new Live(server, byId("between-picture"), byId("between-problem"));
    byId("between").addEventListener("input", () => this.#move());
    for (const id of ["from", "to"]) byId(id).addEventListener("change", () => this.#start());
  }

  /** Offers these pictures as ends. */
  offer(pictures) {
    const before = this.#ends;
    this.#pictures = pictures;
    byId("between-panel").hidden = pictures.length < 2;
    const options = pictures.map((picture) => [String(picture.id), picture.name]);
    fillSelect(byId("from"), options, options[0]?.[0]);
    if (byId("to").value === byId("from").value) byId("to").value = ""; // it was the only image so far
    fillSelect(byId("to"), options, String(this.#farthest()?.id));
    const after = this.#ends;
    if (after.every(Boolean) && after.some((end, index) => end.embedding !== before[index]?.embedding)) this.#start();
  }

  get #ends() {
    return ["from", "to"].map((id) => this.#pictures.find((picture) => String(picture.id) === byId(id).value));
  }

  /** The best end for a long way. */
  #farthest() {
    const [start] = this.#ends;
    const distance = ({ embedding }) => embedding.reduce((sum, value, i) => sum + (value - start.embedding[i]) ** 2, 0);
    return [...this.#pictures].sort((a, b) => distance(b) - distance(a))[0];
  }

  #start() {
    this.#move();
    this.#film();
  }

  #move() {
    const [start, end] = this.#ends;
    const share = Number(byId("between").value) / 100;
    this.#live.show(between(start.embedding, end.embedding, share));
    const text = `${Math.round(100 * share)} % of the way from ${start.name} to ${end.name}`;
    byId("between").setAttribute("aria-valuetext", text);
    byId("between-picture").alt = `What the model draws at ${text}`;
    byId("between-caption").textContent = text;
    showRecipe(byId("between-code"), betweenRecipe(this.#server, start, end, share));
  }

  async #film() {
    this.#filmed?.abort();
    this.#filmed = new AbortController();
    const [start, end] = this.#ends;
    const shares = Array.from({ length: STEPS }, (_, step) => step / (STEPS - 1));
    const way = shares.map((share) => between(start.embedding, end.embedding, share));
    try {
      const { images } = await this.#server.decode(way, this.#filmed.signal);
      byId("film").replaceChildren(...images.map((image, step) => el("li", {}, this.#frame(image, shares[step]))));
    } catch (error) {
      if (!isOvertaken(error)) byId("between-problem").textContent = error.message;
    }
  }

  #frame(png, share) {
    const text = `Go to ${Math.round(100 * share)} %`;
    const image = el("img", { alt: text });
    showPng(image, png);
    const go = () => {
      byId("between").value = 100 * share;
      this.#move();
    };
    return el("button", { type: "button", className: "thumb", title: text, click: go }, image);
  }
}

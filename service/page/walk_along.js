// A slider for each of the dimensions that vary most, starting at an image or at a random point.

import { byId, el, fillSelect } from "./dom.js";
import { Live } from "./live.js";
import { alongRecipe, showRecipe } from "./recipes.js";
import { mostVarying } from "./words.js";

const SLIDERS = 6;
const REACH = 3; // standard deviations of the prior
const MEAN = "mean";

export class WalkAlong {
  #server;
  #live;
  #pictures = [];
  #prior = [];
  #latent = [];

  constructor(server) {
    this.#server = server;
    this.#live = new Live(server, byId("along-picture"), byId("along-problem"));
    byId("start").addEventListener("change", () => this.#start());
    byId("random").addEventListener("click", () => this.#goTo(this.#prior.map((variance) => Math.sqrt(variance) * normal())));
  }

  /** Offers these pictures as starts; the dimensions are those that vary most over them. */
  offer(pictures, prior) {
    const before = this.#picked;
    this.#pictures = pictures;
    this.#prior = prior;
    const options = pictures.map((picture) => [String(picture.id), picture.name]);
    fillSelect(byId("start"), [...options, [MEAN, "the middle of all images"]], options[0]?.[0]);
    if (pictures.length && (this.#picked?.embedding !== before?.embedding || !this.#latent.length)) this.#start();
  }

  get #picked() {
    return this.#pictures.find((picture) => String(picture.id) === byId("start").value);
  }

  #start() {
    this.#goTo(this.#picked?.embedding ?? this.#prior.map(() => 0));
  }

  #goTo(latent) {
    this.#latent = [...latent];
    const chosen = mostVarying(this.#pictures.map((picture) => picture.variance), this.#prior, SLIDERS);
    byId("dimensions").replaceChildren(...chosen.map((dimension) => this.#slider(dimension)));
    this.#show();
  }

  #slider(dimension) {
    const value = this.#latent[dimension];
    const reach = Math.ceil(Math.max(REACH * Math.sqrt(this.#prior[dimension]), Math.abs(value)));
    const id = `dimension-${dimension}`;
    const output = el("output", { for: id }, value.toFixed(1));
    const range = el("input", { id, type: "range", min: -reach, max: reach, step: 0.05, value });
    range.addEventListener("input", () => {
      this.#latent[dimension] = Number(range.value);
      output.textContent = Number(range.value).toFixed(1);
      this.#show();
    });
    return el("p", {}, el("label", { for: id }, `Dimension ${dimension + 1}`), range, output);
  }

  #show() {
    this.#live.show([...this.#latent]);
    const caption = "What the model draws here";
    byId("along-picture").alt = caption;
    byId("along-caption").textContent = caption;
    showRecipe(byId("along-code"), alongRecipe(this.#server, this.#latent));
  }
}

/** A sample of the standard normal distribution, by Box and Muller. */
function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

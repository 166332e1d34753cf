// The similarity of every two images as a table, and the nearest neighbours of one of them.

import { original } from "./cards.js";
import { byId, el, fillSelect } from "./dom.js";
import { showRecipe, similarityRecipe } from "./recipes.js";
import { isOvertaken } from "./server.js";
import { METRICS } from "./words.js";

const LEVELS = 5;
const MOST_NEIGHBOURS = 8;
const PRIORS = [[0.5, "1 in 2"], [0.1, "1 in 10"], [0.01, "1 in 100"], [0.001, "1 in 1,000"]];

export class Alike {
  #server;
  #pictures = [];
  #asked = null; // aborts the question that is on its way
  #answer = null; // by metric a matrix, of the pictures as they were when it was asked
  #picked = null;

  constructor(server) {
    this.#server = server;
    fillSelect(byId("prior"), PRIORS, "0.5");
    byId("prior").addEventListener("change", () => this.#ask());
    byId("metric").addEventListener("change", () => this.#show());
  }

  /** What the model can measure. */
  offer(metrics) {
    const names = Object.keys(METRICS).filter((name) => metrics.includes(name));
    fillSelect(byId("metric"), names.map((name) => [name, METRICS[name].name]), names[0]);
    this.#pictures = [];
    this.#answer = null;
    byId("alike").hidden = true;
  }

  /** Compares these pictures, unless that was done. */
  compare(pictures) {
    const ids = (list) => list.map((picture) => picture.id).join();
    if (ids(pictures) === ids(this.#pictures)) return;
    this.#pictures = pictures;
    byId("alike").hidden = pictures.length < 2;
    if (pictures.length >= 2) this.#ask();
  }

  async #ask() {
    this.#asked?.abort();
    this.#asked = new AbortController();
    const pictures = this.#pictures;
    const items = pictures.map(({ embedding, variance }) => ({ embedding, variance }));
    try {
      const { similarity } = await this.#server.similarity(items, Number(byId("prior").value), this.#asked.signal);
      this.#answer = { pictures, similarity };
      byId("alike-problem").textContent = "";
      this.#show();
    } catch (error) {
      if (!isOvertaken(error)) byId("alike-problem").textContent = error.message;
    }
  }

  #show() {
    if (!this.#answer) return;
    const { pictures } = this.#answer;
    const name = byId("metric").value;
    byId("prior-control").hidden = name !== "probability_same";
    byId("metric-meaning").textContent = METRICS[name].meaning;
    if (!pictures.includes(this.#picked)) this.#picked = pictures[0];
    byId("matrix").replaceChildren(this.#table(name));
    this.#showNeighbours(name);
    showRecipe(byId("alike-code"), similarityRecipe(this.#server, pictures, name, byId("prior").value));
  }

  #table(name) {
    const { pictures, similarity } = this.#answer;
    const rows = similarity[name];
    const others = rows.flatMap((row, i) => row.filter((_, j) => i !== j));
    const [least, most] = [Math.min(...others), Math.max(...others)];
    const cell = (value, i, j) => {
      if (i === j) return el("td", { className: "itself" }, el("span", { className: "unseen" }, "the same image"), "·");
      const strength = Math.min(1, Math.max(0, METRICS[name].strength(value, least, most)));
      return el("td", { className: `level-${Math.round(LEVELS * strength)}` }, METRICS[name].text(value));
    };
    const head = pictures.map((picture) => el("th", { scope: "col", title: picture.name }, original(picture)));
    const body = pictures.map((picture, i) =>
      el("tr", {}, this.#rowHead(picture), ...rows[i].map((value, j) => cell(value, i, j))),
    );
    const caption = el("caption", { className: "unseen" }, METRICS[name].name);
    const corner = el("td", {}, el("span", { className: "unseen" }, "Image"));
    return el("table", {}, caption, el("thead", {}, el("tr", {}, corner, ...head)), el("tbody", {}, ...body));
  }

  #rowHead(picture) {
    const button = el("button", { type: "button", className: "thumb", title: `What is nearest to ${picture.name}?` });
    button.setAttribute("aria-pressed", picture === this.#picked);
    button.addEventListener("click", () => {
      this.#picked = picture;
      for (const other of byId("matrix").querySelectorAll("button")) other.setAttribute("aria-pressed", other === button);
      this.#showNeighbours(byId("metric").value);
    });
    button.append(original(picture));
    return el("th", { scope: "row" }, button);
  }

  #showNeighbours(name) {
    const { pictures, similarity } = this.#answer;
    const row = similarity[name][pictures.indexOf(this.#picked)];
    const sign = METRICS[name].nearestIsLeast ? 1 : -1;
    const others = pictures.map((picture, index) => [picture, row[index]]).filter(([picture]) => picture !== this.#picked);
    others.sort(([, a], [, b]) => sign * (a - b));
    byId("neighbours-title").textContent = `Nearest to ${this.#picked.name}`;
    byId("neighbours").replaceChildren(
      ...others.slice(0, MOST_NEIGHBOURS).map(([picture, value]) => {
        const caption = el("figcaption", {}, METRICS[name].text(value));
        return el("li", { title: picture.name }, el("figure", {}, original(picture), caption));
      }),
    );
  }
}

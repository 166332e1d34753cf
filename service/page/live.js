// Decodes the latent where a slider is, while it moves: the newest only, and no more often than the server can follow.

import { showPng } from "./dom.js";
import { isOvertaken } from "./server.js";

const LEAST_WAIT_MS = 40;
const MOST_WAIT_MS = 400;

export class Live {
  #latent = null;
  #timer = null;
  #asked = null;
  #waitMs = LEAST_WAIT_MS;

  /**
   * @param {import("./server.js").Server} server
   * @param {HTMLImageElement} image
   * @param {HTMLElement} problem Where it is told what went wrong.
   */
  constructor(server, image, problem) {
    Object.assign(this, { server, image, problem });
  }

  /** Shows a latent soon, unless another one comes before. */
  show(latent) {
    this.#latent = latent;
    this.#timer ??= setTimeout(() => this.#decode(), this.#waitMs);
  }

  async #decode() {
    this.#timer = null;
    if (this.#asked) this.#waitMs = Math.min(MOST_WAIT_MS, 2 * this.#waitMs); // it was slower than the hand
    this.#asked?.abort();
    const asked = (this.#asked = new AbortController());
    const start = performance.now();
    try {
      const { images } = await this.server.decode([this.#latent], asked.signal);
      showPng(this.image, images[0]);
      this.problem.textContent = "";
      this.#waitMs = Math.min(MOST_WAIT_MS, Math.max(LEAST_WAIT_MS, 1.5 * (performance.now() - start)));
    } catch (error) {
      if (!isOvertaken(error)) this.problem.textContent = error.message;
    } finally {
      if (this.#asked === asked) this.#asked = null;
    }
  }
}

/** The point at a share of the way from one latent to another. */
export function between(start, end, share) {
  return start.map((value, index) => value + share * (end[index] - value));
}

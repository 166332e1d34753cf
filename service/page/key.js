// The API key: asked for when the server wants one, kept for this tab only.

import { byId } from "./dom.js";

const PLACE = "simvae-api-key";

export class Key {
  #answer = null; // what everybody who needs a key waits for
  #give = null;

  constructor() {
    byId("key").addEventListener("submit", (event) => {
      event.preventDefault();
      sessionStorage.setItem(PLACE, byId("key-field").value.trim());
      byId("key").hidden = true;
      this.#give();
      this.#answer = null;
    });
  }

  get current() {
    return sessionStorage.getItem(PLACE);
  }

  /**
   * Waits for another key than the one that was refused; many may ask, a person is asked once.
   * @param {?string} problem What was wrong with it.
   * @param {?string} refused
   */
  ask(problem, refused) {
    if (this.current !== refused) return Promise.resolve();
    byId("key-problem").textContent = problem || "";
    if (!this.#answer) {
      this.#answer = new Promise((resolve) => {
        this.#give = resolve;
      });
      byId("key").hidden = false;
      byId("key-field").value = "";
      byId("key-field").focus();
    }
    return this.#answer;
  }
}

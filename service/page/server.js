// Asks the server that this page came from: keys, problems, and patience with one that is busy.

const MOST_TRIES = 5;

/** What the server said was wrong, in its own sentence. */
export class Problem extends Error {
  constructor(detail, status = 0, retryAfterS = 1) {
    super(detail);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

/** Whether an error only says that nobody waits for the answer any more. */
export function isOvertaken(error) {
  return error.name === "AbortError";
}

export class Server {
  /** @param {import("./key.js").Key} key */
  constructor(key) {
    this.key = key;
    this.model = null; // the reference, once one of several was picked
  }

  models() {
    return this.#ask("models", {});
  }

  embed(pictures) {
    return this.#ask(this.#address("embed", { variance: true, on_error: "skip" }), { body: formOf(pictures) });
  }

  reconstruct(pictures) {
    return this.#ask(this.#address("reconstruct", { on_error: "skip" }), { body: formOf(pictures) });
  }

  similarity(items, prior, signal) {
    return this.#ask(this.#address("similarity"), { body: JSON.stringify({ left: items, prior }), signal });
  }

  decode(latents, signal) {
    return this.#ask(this.#address("decode"), { body: JSON.stringify({ latents }), signal });
  }

  #address(path, options = {}) {
    const query = new URLSearchParams({ ...options, ...(this.model && { model: this.model }) });
    return query.size ? `${path}?${query}` : path;
  }

  async #ask(address, { body, signal }) {
    for (let tries = 1; ; tries += 1) {
      const key = this.key.current;
      const response = await send(address, body, key, signal);
      if (response.ok) return response.json();
      const problem = await problemOf(response);
      if (problem.status === 401) await this.key.ask(key && problem.message, key);
      else if ((problem.status === 429 || problem.status === 503) && tries < MOST_TRIES) await pause(problem.retryAfterS);
      else throw problem;
      signal?.throwIfAborted();
    }
  }
}

async function send(address, body, key, signal) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (typeof body === "string") headers["Content-Type"] = "application/json";
  try {
    return await fetch(address, { method: body ? "POST" : "GET", headers, body, signal });
  } catch (error) {
    if (isOvertaken(error)) throw error;
    throw new Problem("The server cannot be reached; look whether it still runs, and try again.");
  }
}

async function problemOf(response) {
  const fallback = `The server answered with status ${response.status}.`;
  const { detail } = await response.json().catch(() => ({}));
  return new Problem(detail || fallback, response.status, Number(response.headers.get("Retry-After")) || 1);
}

function formOf(pictures) {
  const form = new FormData();
  for (const picture of pictures) form.append("image", picture.blob, picture.name);
  return form;
}

function pause(seconds) {
  return new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
}

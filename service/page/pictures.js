// The images on the page, and what the model made of each.

/** What the page can show at once: its table has a cell for every two. */
export const MOST_PICTURES = 48;
const BATCH_PICTURES = 16;
const BATCH_BYTES = 8 * 1024 * 1024;

/**
 * @typedef {Object} Picture
 * @property {number} id
 * @property {string} name As a file.
 * @property {string} origin `file`, `sample` or `pasted`.
 * @property {Blob} blob
 * @property {string} url For an `img`.
 * @property {string} state `waiting`, `seen` or `bad`.
 * @property {string} problem Why it is bad, in the server's own sentence.
 * @property {number[]} embedding
 * @property {number[]} variance
 * @property {string} reconstruction A PNG in base64.
 * @property {number} typicality
 */

/** All of them; dispatches `change` whenever there are others, or more is known of one. */
export class Pictures extends EventTarget {
  #server;
  #round = 0; // grows with every model; answers of an earlier one are late
  #lastId = 0;

  constructor(server) {
    super();
    this.#server = server;
    /** @type {Picture[]} */
    this.all = [];
  }

  /** Those with an embedding. */
  get seen() {
    return this.all.filter((picture) => picture.state === "seen");
  }

  /** Adds images and has them seen; gives how many there was no room for. */
  add(files) {
    const taken = files.slice(0, MOST_PICTURES - this.all.length);
    const added = taken.map(({ name, blob, origin, problem }) => ({
      id: (this.#lastId += 1),
      name,
      blob,
      origin,
      url: URL.createObjectURL(blob),
      state: problem ? "bad" : "waiting",
      problem,
    }));
    this.all.push(...added);
    this.#see(added.filter((picture) => picture.state === "waiting"));
    return files.length - taken.length;
  }

  remove(gone) {
    for (const picture of gone) URL.revokeObjectURL(picture.url);
    this.all = this.all.filter((picture) => !gone.includes(picture));
    this.#changed();
  }

  /** Has all of them seen anew, by another model. */
  seeAgain() {
    this.#round += 1;
    const readable = this.all.filter((picture) => picture.blob.size);
    for (const picture of readable) picture.state = "waiting";
    this.#see(readable);
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }

  async #see(pictures) {
    const round = this.#round;
    this.#changed();
    for (const batch of batches(pictures)) await this.#seeBatch(batch, round);
  }

  async #seeBatch(batch, round) {
    try {
      const [embedded, seen] = await Promise.all([this.#server.embed(batch), this.#server.reconstruct(batch)]);
      if (round !== this.#round) return;
      batch.forEach((picture, index) => settle(picture, index, embedded, seen));
    } catch (error) {
      if (round !== this.#round) return;
      if (error.status === 413 && batch.length > 1) {
        const half = Math.ceil(batch.length / 2);
        await this.#seeBatch(batch.slice(0, half), round);
        await this.#seeBatch(batch.slice(half), round);
        return;
      }
      for (const picture of batch) Object.assign(picture, { state: "bad", problem: error.message });
    }
    this.#changed();
  }
}

function settle(picture, index, embedded, seen) {
  const bad = [...embedded.errors, ...seen.errors].find((error) => error.index === index);
  if (bad) {
    Object.assign(picture, { state: "bad", problem: bad.detail });
    return;
  }
  const { image, typicality } = seen.reconstructions[index];
  const [embedding, variance] = [embedded.embeddings[index], embedded.variances[index]];
  Object.assign(picture, { state: "seen", problem: "", embedding, variance, reconstruction: image, typicality });
}

function* batches(pictures) {
  let batch = [];
  let bytes = 0;
  for (const picture of pictures) {
    if (batch.length && (batch.length === BATCH_PICTURES || bytes + picture.blob.size > BATCH_BYTES)) {
      yield batch;
      [batch, bytes] = [[], 0];
    }
    batch.push(picture);
    bytes += picture.blob.size;
  }
  if (batch.length) yield batch;
}

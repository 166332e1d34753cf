// Puts the page together: which part is told of what. Nothing here knows how a part does its work.

import { Alike } from "./alike.js";
import { Cards } from "./cards.js";
import { byId, el } from "./dom.js";
import { takeImages } from "./intake.js";
import { Key } from "./key.js";
import { MOST_PICTURES, Pictures } from "./pictures.js";
import { seenRecipe, showRecipe } from "./recipes.js";
import { Server } from "./server.js";
import { WalkAlong } from "./walk_along.js";
import { WalkBetween } from "./walk_between.js";
import { priorVariance } from "./words.js";

const server = new Server(new Key());
const pictures = new Pictures(server);
const cards = new Cards((picture) => pictures.remove([picture]));
const alike = new Alike(server);
const walks = { between: new WalkBetween(server), along: new WalkAlong(server) };
let prior = [];

function show() {
  const { all, seen } = pictures;
  byId("seen").hidden = !all.length;
  byId("walk").hidden = !seen.length;
  cards.show(all, prior);
  alike.compare(seen);
  walks.between.offer(seen);
  walks.along.offer(seen, prior);
  byId("seen-code").hidden = !seen.length;
  if (seen.length) showRecipe(byId("seen-code"), seenRecipe(server, seen));
  tell(all, seen);
}

/** For those who hear the page: how far it is. */
function tell(all, seen) {
  const bad = all.filter((picture) => picture.state === "bad").length;
  const done = all.length && seen.length + bad === all.length;
  byId("status").textContent = done ? `${seen.length} of ${all.length} images seen.` : all.length ? "Looking …" : "";
}

function notify(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

function use(card) {
  prior = priorVariance(card.manifest.embedding);
  alike.offer(card.metrics);
  const { height, width, colour_mode: mode } = card.manifest.input;
  const facts = `${card.manifest.embedding.dim} dimensions · sees ${width} × ${height} ${mode === "L" ? "grey" : "colour"}`;
  byId("model").querySelector(".facts").textContent = facts;
}

function showModels(models, chosen) {
  const facts = el("span", { className: "facts" });
  if (models.length === 1) {
    byId("model").replaceChildren(el("strong", {}, chosen.reference), " ", facts);
    return;
  }
  const select = el("select", { id: "pick" }, ...models.map(({ reference }) => el("option", {}, reference)));
  select.value = chosen.reference;
  select.addEventListener("change", () => {
    server.model = select.value;
    use(models.find(({ reference }) => reference === select.value));
    pictures.seeAgain();
  });
  server.model = chosen.reference;
  byId("model").replaceChildren(el("label", { for: "pick" }, "Model"), " ", select, " ", facts);
}

async function begin() {
  try {
    const { models, default: reference } = await server.models();
    const chosen = models.find((model) => model.reference === reference) ?? models[0];
    showModels(models, chosen);
    use(chosen);
    notify("");
  } catch (error) {
    notify(error.message);
    if (error.status === 503) setTimeout(begin, 1000 * error.retryAfterS);
    return;
  }
  pictures.addEventListener("change", show);
  byId("clear").addEventListener("click", () => {
    pictures.remove(pictures.all);
    byId("add").focus();
  });
  takeImages((files) => {
    const left = pictures.add(files);
    notify(left ? `The page shows at most ${MOST_PICTURES} images; ${left} were left out.` : "");
  });
}

begin();

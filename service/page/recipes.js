// The commands that do from a terminal, or from Python, what the page just did.

import { el } from "./dom.js";
import { between } from "./live.js";

const KEY = "SIMVAE_API_KEY";

/** Shows a recipe, folded as it was, with a button to copy each of its two forms. */
export function showRecipe(place, { curl, python }) {
  if (!place.firstChild) {
    const summary = el("summary", {}, "The same with curl and Python");
    place.append(el("details", { className: "code" }, summary, block("curl"), block("Python")));
  }
  const [first, second] = place.querySelectorAll("code");
  first.textContent = curl;
  second.textContent = python;
}

function block(title) {
  const code = el("code");
  const button = el("button", { type: "button", "aria-label": `Copy the ${title} commands` }, "Copy");
  button.addEventListener("click", async () => {
    button.textContent = (await copy(code)) ? "Copied" : "Press Ctrl+C";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  const head = el("div", { className: "head" }, el("h4", {}, title), button);
  return el("div", {}, head, el("pre", { tabIndex: 0, role: "group", "aria-label": `${title} commands` }, code));
}

/** Copies; where the browser forbids that (a page without HTTPS), selects the text, and is false. */
async function copy(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(code);
    return false;
  }
}

/** Embeddings with variances, and reconstructions. */
export function seenRecipe(server, pictures) {
  const fields = pictures.map(({ name }) => `-F ${shell(`image=${formName(name)}`)}`);
  const curl = (path, options) => command(server, fields, path, options);
  const python = [
    `embedded = server.post("/embed"${params({ variance: "true", on_error: "skip" }, server)}, files=files)`,
    `seen = server.post("/reconstruct"${params({ on_error: "skip" }, server)}, files=files)`,
    'print(embedded.raise_for_status().json()["embeddings"], seen.raise_for_status().json()["reconstructions"])',
  ];
  return {
    curl: [
      ...fetched(pictures),
      curl("embed", { variance: true, on_error: "skip" }),
      curl("reconstruct", { on_error: "skip" }),
    ].join("\n"),
    python: [...opening(server, pictures), files(pictures, "image"), ...python].join("\n"),
  };
}

/** Each image with each. */
export function similarityRecipe(server, pictures, metric, prior) {
  const fields = pictures.map(({ name }) => `-F ${shell(`left=${formName(name)}`)}`);
  const options = { metrics: metric, ...(metric === "probability_same" && { prior }) };
  const python = [
    `answer = server.post("/similarity"${params(options, server)}, files=files)`,
    `print(answer.raise_for_status().json()["similarity"]["${metric}"])`,
  ];
  return {
    curl: [...fetched(pictures), command(server, fields, "similarity", options)].join("\n"),
    python: [...opening(server, pictures), files(pictures, "left"), ...python].join("\n"),
  };
}

/** One point between two images. */
export function betweenRecipe(server, start, end, share) {
  const latent = between(start.embedding, end.embedding, share);
  const python = [
    `vectors = server.post("/embed"${params({}, server)}, files=files).raise_for_status().json()["embeddings"]`,
    `latent = [a + ${share} * (b - a) for a, b in zip(*vectors)]`,
    ...decoding(server),
  ];
  return {
    curl: decodeCommand(server, latent),
    python: [...opening(server, [start, end]), files([start, end], "image"), ...python].join("\n"),
  };
}

/** One point, given as numbers. */
export function alongRecipe(server, latent) {
  const python = [`latent = ${JSON.stringify(latent.map(rounded))}`, ...decoding(server)];
  return { curl: decodeCommand(server, latent), python: [...opening(server, []), ...python].join("\n") };
}

function decodeCommand(server, latent) {
  const body = JSON.stringify({ latents: [latent.map(rounded)] });
  const given = ["-H 'Content-Type: application/json'", "-H 'Accept: image/png'", "-o seen.png", `-d '${body}'`];
  return command(server, given, "decode", {});
}

function decoding(server) {
  return [
    `answer = server.post("/decode"${params({}, server)}, json={"latents": [latent]}, headers={"Accept": "image/png"})`,
    'Path("seen.png").write_bytes(answer.raise_for_status().content)',
  ];
}

function opening(server, pictures) {
  const key = server.key.current ? `, headers={"Authorization": f"Bearer {os.environ['${KEY}']}"}` : "";
  const samples = pictures.filter(({ origin }) => origin === "sample").map(({ name }) => name);
  return [
    ...(key ? ["import os"] : []),
    "from pathlib import Path",
    "",
    "import httpx",
    "",
    `server = httpx.Client(base_url=${JSON.stringify(base())}${key})`,
    ...(samples.length
      ? [
          `for name in ${list(samples)}:`,
          '    Path(name).write_bytes(server.get(f"/page/samples/{name}").raise_for_status().content)',
        ]
      : []),
  ];
}

function files(pictures, field) {
  const names = list(pictures.map(({ name }) => name));
  return `files = [("${field}", (name, Path(name).read_bytes())) for name in ${names}]`;
}

function fetched(pictures) {
  const samples = pictures.filter(({ origin }) => origin === "sample");
  return samples.map(({ name }) => `curl -sO ${shell(`${base()}/page/samples/${name}`)}`);
}

function command(server, given, path, options) {
  const query = new URLSearchParams({ ...options, ...(server.model && { model: server.model }) });
  const key = server.key.current ? [`-H "Authorization: Bearer $${KEY}"`] : [];
  return ["curl", ...key, ...given, shell(`${base()}/${path}${query.size ? `?${query}` : ""}`)].join(" \\\n  ");
}

/** An argument of a call in Python; nothing where there is nothing to say. */
function params(options, server) {
  const all = Object.entries({ ...options, ...(server.model && { model: server.model }) });
  const text = all.map(([name, value]) => `"${name}": ${JSON.stringify(value)}`).join(", ");
  return text && `, params={${text}}`;
}

/** A list of texts in Python, whose literals are those of JSON here. */
function list(texts) {
  const literals = texts.map((text) => JSON.stringify(text));
  return literals.length > 3 ? `[\n    ${literals.join(",\n    ")},\n]` : `[${literals.join(", ")}]`;
}

function base() {
  return new URL(".", document.baseURI).href.replace(/\/$/, "");
}

function rounded(value) {
  return Number(value.toFixed(4));
}

/** A file for curl's -F, which takes some characters of a bare name for its own. */
function formName(name) {
  return /[;,"\\]/.test(name) ? `@"${name.replace(/(["\\])/g, "\\$1")}"` : `@${name}`;
}

function shell(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

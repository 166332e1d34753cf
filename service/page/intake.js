// Images that come in: picked, dropped, pasted, or one of the samples.

import { byId, el } from "./dom.js";

const SAMPLES = [
  ["ankle-boot-1", "Ankle boot"],
  ["ankle-boot-2", "Another ankle boot"],
  ["sneaker-1", "Sneaker"],
  ["sneaker-2", "Another sneaker"],
  ["high-heel", "High heel"],
  ["trousers-1", "Trousers"],
  ["trousers-2", "More trousers"],
  ["dress", "Dress"],
  ["t-shirt", "T-shirt"],
  ["handbag-1", "Handbag"],
  ["handbag-2", "Another handbag"],
  ["smiley", "Smiley, which is no clothing"],
];

let pasted = 0;

/** @param {function({name: string, blob: Blob, origin: string, problem: ?string}[]): void} take */
export function takeImages(take) {
  const read = async (files, origin) => take(await Promise.all([...files].map((file) => fromFile(file, origin))));
  const field = byId("add");
  field.addEventListener("change", async () => {
    await read(field.files, "file");
    field.value = ""; // so that the same file can be picked again
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) read(event.clipboardData.files, "pasted");
  });
  takeDrops((files) => read(files, "file"));
  showSamples(take);
}

/** The whole page takes drops, so that none of them makes the browser leave it. */
function takeDrops(read) {
  const zone = byId("drop");
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) zone.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    if (event.dataTransfer.files.length) read(event.dataTransfer.files);
  });
}

function showSamples(take) {
  const add = async (samples) => take(await Promise.all(samples.map(fromSample)));
  byId("samples").replaceChildren(
    ...SAMPLES.map((sample) => {
      const [name, title] = sample;
      const image = el("img", { src: address(name), alt: title, className: "pixels", width: 28, height: 28 });
      return el("li", {}, el("button", { type: "button", className: "thumb", title, click: () => add([sample]) }, image));
    }),
  );
  byId("all-samples").addEventListener("click", () => add(SAMPLES));
}

function address(name) {
  return `page/samples/${name}.png`;
}

async function fromSample([name]) {
  const response = await fetch(address(name));
  return { name: `${name}.png`, blob: await response.blob(), origin: "sample" };
}

/** The bytes are read at once: a file that changes or goes away later would fail without a reason. */
async function fromFile(file, origin) {
  const name = origin === "pasted" ? `pasted-${(pasted += 1)}.png` : file.name;
  try {
    return { name, blob: new Blob([await file.arrayBuffer()], { type: file.type }), origin };
  } catch {
    const problem = "This is a folder, or a file that cannot be read; choose the images themselves.";
    return { name, blob: new Blob(), origin, problem };
  }
}

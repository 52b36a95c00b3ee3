// The drawings that a sample model offers to try.

import { byId, element } from "./dom.js";

let listed = null; // a promise of the list, once it was needed

/** Shows the drawings; `take` is called with those that a person picks, as with files that were chosen. */
export function showSamples(take) {
  if (listed) return;
  listed = fetch("/web/samples/samples.json").then((answer) => answer.json());
  listed.then((samples) => {
    byId("sample").querySelector("ul").replaceChildren(...samples.map((sample) => item(sample, take)));
    byId("try-all").addEventListener("click", async () => take(await fetched(samples)));
  });
}

function item(sample, take) {
  const image = element("img", { src: `/web/samples/${sample.file}`, alt: "", width: 96, height: 96 });
  const button = element("button", { type: "button", ariaLabel: `Try the drawing of a ${sample.label}` }, image);
  button.addEventListener("click", async () => take(await fetched([sample])));
  return element("li", {}, button);
}

async function fetched(samples) {
  const one = async ({ file }) => {
    const blob = await (await fetch(`/web/samples/${file}`)).blob();
    return { file: new File([blob], file, { type: blob.type }), path: file };
  };
  return { found: await Promise.all(samples.map(one)), skipped: 0 };
}

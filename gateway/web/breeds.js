// Facts about dog breeds from breeds.txt: label, origin, size and similar breeds. Uncertain fields are empty.

import { language, t } from "./page.js";

const regions = new Intl.DisplayNames(language, { type: "region" });
const lines = (await (await fetch(new URL("./breeds.txt", import.meta.url))).text()).trim().split("\n");
const facts = new Map(lines.map((line) => line.split("|")).map(([label, ...rest]) => [label, rest]));

/** Facts about a breed in short sentences; empty for an unknown breed. */
export function factsOf(label) {
  const [origin, size, alike] = facts.get(label) ?? [];
  const said = [];
  if (size) said.push(t(`size.${size}`));
  if (origin) said.push(t("breed.origin", { place: regions.of(origin) })); // a country (ISO 3166)
  if (alike) said.push(t("breed.alike", { labels: alike }));
  return said;
}

// Facts about dog breeds from breeds.txt: label, original work, coat, size, origin and similar breeds. Uncertain fields
// are empty.

import { language, t } from "./page.js";
import { normalized } from "./words.js";

const SEPARATOR = "\u00a0· "; // a line may end with it, but not begin
const regions = new Intl.DisplayNames(language, { type: "region" });
const lines = (await (await fetch(new URL("./breeds.txt", import.meta.url))).text()).trim().split("\n");
const facts = new Map(lines.map((line) => line.split("|")).map(([label, ...rest]) => [normalized(label), rest]));

/** Facts about a breed: what it was bred for; coat, size and origin; similar breeds. Empty for an unknown breed. */
export function factsOf(label) {
  const [work, coat, size, origin, alike] = facts.get(normalized(label)) ?? [];
  const looks = [
    coat && t(`coat.${coat}`),
    size && t(`size.${size}`),
    origin && t("breed.origin", { place: regions.of(origin) }), // a country (ISO 3166)
  ];
  return [work && t(`work.${work}`), looks.filter(Boolean).join(SEPARATOR), alike && t("breed.alike", { labels: alike })].filter(Boolean);
}

/** The facts about a breed in one line. */
export const factLine = (label) => factsOf(label).join(SEPARATOR);

// The last answers, kept on this device where a person asked for it, and shown on the start page.

import { byId, element, language, t } from "./page.js";
import { toast } from "./toast.js";
import { said } from "./words.js";

const KEY = "history"; // a list, the newest first; nothing where no history is wanted
const LONGEST = 30; // as the message history.note says
const SIDE = 192; // pixels of a kept picture's longer side

const read = () => JSON.parse(localStorage.getItem(KEY) ?? "[]");

/** Begins to keep a history, or ends it and forgets what was kept. */
export function keepHistory(wanted) {
  const had = read().length;
  if (wanted) localStorage.setItem(KEY, JSON.stringify(read()));
  else localStorage.removeItem(KEY);
  if (!wanted && had) toast(t("history.deleted"));
  showHistory();
}

/** Keeps an answer with a small picture of its photo, unless no history is wanted. */
export async function remember({ thumbnail, answer, name }) {
  if (localStorage.getItem(KEY) === null || !thumbnail) return;
  const [title, sentence] = said(answer);
  const entry = { name, title, sentence, when: Date.now(), picture: await small(thumbnail) };
  const list = [entry, ...read()].slice(0, LONGEST);
  while (list.length) {
    try {
      localStorage.setItem(KEY, JSON.stringify(list));
      break;
    } catch {
      list.pop(); // no room: the oldest goes
    }
  }
  showHistory();
}

/** Shows what was kept. */
export function showHistory() {
  const list = read();
  byId("keep-history").checked = localStorage.getItem(KEY) !== null;
  byId("past").hidden = !list.length;
  for (const image of byId("past-list").querySelectorAll("img")) URL.revokeObjectURL(image.src);
  const day = new Intl.DateTimeFormat(language, { dateStyle: "medium" });
  byId("past-list").replaceChildren(
    ...list.map(({ name, title, sentence, when, picture }) => {
      const image = element("img", { src: URL.createObjectURL(blobOf(picture)), alt: name, loading: "lazy" });
      const words = element("div", {}, element("strong", { dir: "auto" }, title), element("span", { dir: "auto" }, sentence), element("small", {}, day.format(when)));
      return element("li", {}, image, words);
    }),
  );
}

async function small(thumbnail) {
  const bitmap = await createImageBitmap(thumbnail);
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale)));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: "image/jpeg", quality: 0.8 })).arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

const blobOf = (base64) => new Blob([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], { type: "image/jpeg" });

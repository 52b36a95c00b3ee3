// "Look here": classify an upright part of a photo as a photo of its own.

import { element, t } from "./page.js";

const VIEW_SIDE = 900; // size of the canvas in pixels
const MIN_PART = 0.05; // of the photo; smaller selections are ignored
const STEP = 0.02; // of the photo, for an arrow key

/**
 * Lets the user select a part of a photo.
 * @returns {Promise<{file: File, path: string} | null>} The part as a photo; null if the user cancels.
 */
export async function crop(photo) {
  let bitmap = await createImageBitmap(photo.file, { imageOrientation: "from-image" }).catch(() => createImageBitmap(photo.thumbnail));
  let part = { left: 0.1, top: 0.1, right: 0.9, bottom: 0.9 };
  const canvas = element("canvas", { tabIndex: 0, ariaLabel: t("cropLabel") });
  canvas.setAttribute("role", "application");
  const ask = element("button", { type: "button", className: "primary" }, t("cropAsk"));
  const turn = element("button", { type: "button" }, t("cropTurn"));
  const close = element("button", { type: "button", className: "quiet" }, t("cancel"));
  const dialog = element("dialog", { className: "tool", ariaLabel: t("crop") });
  dialog.append(element("h2", {}, t("cropTitle")), element("div", { className: "frame" }, canvas), element("div", { className: "row" }, ask, turn, close));
  document.body.append(dialog);

  const draw = () => {
    const scale = Math.min(1, VIEW_SIDE / Math.max(bitmap.width, bitmap.height));
    const [width, height] = [Math.round(bitmap.width * scale), Math.round(bitmap.height * scale)];
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0, width, height);
    context.fillStyle = "rgb(13 16 23 / .6)";
    const box = [part.left * width, part.top * height, (part.right - part.left) * width, (part.bottom - part.top) * height];
    const outside = new Path2D();
    outside.rect(0, 0, width, height);
    outside.rect(...box);
    context.fill(outside, "evenodd");
    context.lineWidth = 4;
    context.strokeStyle = "#ffd60a";
    context.strokeRect(...box);
  };

  let from = null;
  const place = ({ clientX, clientY }) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const scale = Math.min(width / canvas.width, height / canvas.height); // the canvas is centred
    const [spareX, spareY] = [(width - canvas.width * scale) / 2, (height - canvas.height * scale) / 2];
    return [limited((clientX - left - spareX) / (canvas.width * scale)), limited((clientY - top - spareY) / (canvas.height * scale))];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    from = place(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!from) return;
    const to = place(event);
    const [left, right] = [from[0], to[0]].sort((a, b) => a - b);
    const [top, bottom] = [from[1], to[1]].sort((a, b) => a - b);
    if (right - left < MIN_PART || bottom - top < MIN_PART) return;
    part = { left, top, right, bottom };
    draw();
  });
  canvas.addEventListener("pointerup", () => (from = null));
  canvas.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (!by) return;
    event.preventDefault();
    const moved = { ...part, right: part.right + by[0], bottom: part.bottom + by[1] };
    if (!event.shiftKey) Object.assign(moved, { left: part.left + by[0], top: part.top + by[1] });
    const fits = moved.left >= 0 && moved.top >= 0 && moved.right <= 1 && moved.bottom <= 1;
    if (fits && moved.right - moved.left >= MIN_PART && moved.bottom - moved.top >= MIN_PART) part = moved;
    draw();
  });
  turn.addEventListener("click", async () => {
    const turned = new OffscreenCanvas(bitmap.height, bitmap.width);
    const context = turned.getContext("2d");
    context.translate(bitmap.height, 0);
    context.rotate(Math.PI / 2);
    context.drawImage(bitmap, 0, 0);
    bitmap = turned.transferToImageBitmap();
    part = { left: 1 - part.bottom, top: part.left, right: 1 - part.top, bottom: part.right };
    draw();
  });
  draw();
  dialog.showModal();
  const wanted = await new Promise((resolve) => {
    ask.addEventListener("click", () => resolve(true));
    close.addEventListener("click", () => resolve(false));
    dialog.addEventListener("close", () => resolve(false));
  });
  const file = wanted ? await cut(bitmap, part, photo.name) : null;
  dialog.remove();
  bitmap.close();
  return file && { file, path: file.name };
}

async function cut(bitmap, { left, top, right, bottom }, name) {
  const [width, height] = [Math.round((right - left) * bitmap.width), Math.round((bottom - top) * bitmap.height)];
  const canvas = new OffscreenCanvas(Math.max(1, width), Math.max(1, height));
  canvas.getContext("2d").drawImage(bitmap, -left * bitmap.width, -top * bitmap.height);
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
  return new File([blob], `${t("partOf", { name: name.replace(/\.\w+$/, "") })}.jpg`, { type: blob.type });
}

const limited = (fraction) => Math.min(1, Math.max(0, fraction));

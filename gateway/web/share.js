// A picture of a photo with its answer, drawn here, for the system's share sheet or as a file.

import { element } from "./dom.js";
import { t } from "./i18n.js";
import { toast } from "./toast.js";
import { said } from "./words.js";

const SIDE = 1080;
const FOOT = 190; // pixels below the photo
const FONT = 'system-ui, "Segoe UI", "Helvetica Neue", "Liberation Sans", sans-serif';

/** Draws the picture and shares it; where there is no share sheet for files, it is saved. */
export async function share(photo, { question }) {
  const [title, sentence] = said(photo.answer);
  const blob = await drawn(photo.thumbnail && (await sharpest(photo)), title, sentence, question);
  const file = new File([blob], `${title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "answer"}.jpg`, { type: blob.type });
  if (navigator.canShare?.({ files: [file] })) {
    try {
      return await navigator.share({ files: [file], text: title });
    } catch (error) {
      if (error.name === "AbortError") return;
    }
  }
  const link = element("a", { href: URL.createObjectURL(file), download: file.name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  toast(t("savedAs", { name: file.name }));
}

/** The file as the browser shows it, else the thumbnail. */
const sharpest = (photo) => createImageBitmap(photo.file, { imageOrientation: "from-image" }).catch(() => createImageBitmap(photo.thumbnail));

async function drawn(bitmap, title, sentence, question) {
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const width = Math.max(640, Math.round(bitmap.width * scale));
  const height = Math.round(bitmap.height * (width / bitmap.width));
  const canvas = element("canvas", { width, height: height + FOOT });
  const context = canvas.getContext("2d");
  context.fillStyle = "#1f47c9";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  context.fillStyle = "#fff";
  write(context, title, 44, height + 78, width - 190, 60, 800);
  context.fillStyle = "#e4eaff";
  write(context, sentence, 44, height + 130, width - 190, 30, 500);
  write(context, question, 44, height + 168, width - 190, 24, 500);
  mark(context, width - 120, height + (FOOT - 88) / 2, 88);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
}

/** One line, in letters as large as fit. */
function write(context, text, x, y, width, size, weight) {
  const set = () => (context.font = `${weight} ${size}px ${FONT}`);
  for (set(); context.measureText(text).width > width && size > 16; set()) size -= 2;
  context.fillText(text, x, y, width);
}

/** The small mark of the page. */
function mark(context, x, y, side) {
  context.save();
  context.translate(x, y);
  context.scale(side / 32, side / 32);
  context.fillStyle = "#ffd60a";
  context.fill(new Path2D("M8.2 6.500c2.300-.9 4.900.7 6.300 2.700h3c1.400-2 4-3.600 6.300-2.700 1.700 4.200 1.900 8.700.4 11.600-.3 4.400-3.700 7.900-8.200 7.900s-7.900-3.500-8.200-7.900C6.300 15.200 6.500 10.700 8.200 6.500z"));
  context.fillStyle = "#10172b";
  for (const across of [12.3, 19.7]) context.fill(new Path2D(`M${across - 1.7} 15.300a1.700 1.700 0 1 0 3.400 0a1.700 1.700 0 1 0-3.400 0`));
  context.fill(new Path2D("M13.600 19.600h4.800c.2 1.700-1 2.900-2.400 2.900s-2.600-1.200-2.400-2.900z"));
  context.restore();
}

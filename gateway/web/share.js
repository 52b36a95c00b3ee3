// A picture of a photo with its answer, drawn here, for the system's share sheet or as a file.

import { element, t } from "./page.js";
import { toast } from "./toast.js";
import { said } from "./words.js";

const SIDE = 1080;
const FOOT = 190; // pixels below the photo
const FONT = 'system-ui, "Segoe UI", "Helvetica Neue", "Liberation Sans", sans-serif';

/** Draws the picture and shares it; where there is no share sheet for files, it is saved. */
export async function share(photo) {
  const [title, sentence] = said(photo.answer);
  const blob = await drawn(photo.thumbnail && (await sharpest(photo)), title, sentence, photo.question);
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
  const size = write(context, sentence, 44, height + 130, width - 190, 30, 500);
  write(context, question, 44, height + 168, width - 190, Math.min(24, size - 2), 500);
  mark(context, width - 120, height + (FOOT - 88) / 2, 88);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
}

/** Writes one line in letters as large as fit, and returns their size. */
function write(context, text, x, y, width, size, weight) {
  const set = () => (context.font = `${weight} ${size}px ${FONT}`);
  for (set(); context.measureText(text).width > width && size > 16; set()) size -= 2;
  context.fillText(text, x, y, width);
  return size;
}

/** The small mark of the page. */
function mark(context, x, y, side) {
  context.save();
  context.translate(x, y);
  context.scale(side / 32, side / 32);
  context.fillStyle = "#ffd60a";
  context.fill(new Path2D("M16 7.5c3 0 5.200 1.200 6.500 3.200 1.100 1.900 1.500 4.900 1.100 7.300-.7 4.300-3.600 7-7.600 7s-6.900-2.700-7.600-7c-.4-2.400 0-5.400 1.100-7.300C10.800 8.700 13 7.500 16 7.500z"));
  context.fillStyle = "#f0a800";
  context.fill(new Path2D("M11.200 8.300C8.300 6.600 5.400 8.300 4.900 11.900c-.4 3 .1 6.100 1.500 8 .5.7 1.400.6 1.700-.2.9-2.600 1-5.800 3.600-8.400.9-.9.6-2.400-.5-3zM20.800 8.300c2.900-1.700 5.800 0 6.300 3.600.4 3-.1 6.100-1.500 8-.5.7-1.400.6-1.700-.2-.9-2.600-1-5.800-3.600-8.400-.9-.9-.6-2.400.5-3z"));
  context.fillStyle = "#10172b";
  for (const across of [12.6, 19.4]) context.fill(new Path2D(`M${across - 1.5} 14a1.500 1.500 0 1 0 3 0a1.500 1.500 0 1 0-3 0`));
  context.fill(new Path2D("M13.600 17.600c0-1.100 1.100-1.600 2.400-1.600s2.400.5 2.400 1.600c0 1.300-1.400 2.300-2.400 2.300s-2.400-1-2.400-2.300z"));
  context.restore();
}

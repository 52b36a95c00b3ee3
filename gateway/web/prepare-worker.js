// Decodes, shrinks and encodes photos, away from the page's own thread.

const THUMBNAIL_SIDE = 560; // a tile is 280 wide, and screens have two pixels for one
const SMALL_BYTES = 200_000; // nothing is won by making these smaller
const SLOW_BYTES = 40_000;
const ACCEPTED = /^image\/(jpeg|png|gif|bmp|webp)$/; // by the gateway; browsers read more: AVIF, some of them HEIC
const WORTHWHILE = 0.8;
const MARGIN = 3; // times what the model sees: measured, less moves scores and more does not move them back
const SLOW_MARGIN = 2; // on a slow line: scores move by a few hundredths, and half as much is sent
const QUALITY = 0.92;
const SLOW_QUALITY = 0.8;

let queue = Promise.resolve();

onmessage = ({ data }) => {
  // One after the other: a photo of 50 megapixels takes 200 MB while it is open.
  queue = queue.then(() => prepared(data)).then(postMessage);
};

async function prepared({ id, file, input }) {
  const nothing = { id, body: null, thumbnail: null };
  let bitmap;
  try {
    // Upright, and with its colours as they are stored, which is how the gateway reads them.
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    return nothing; // the gateway says what is wrong with it, or can read it all the same
  }
  try {
    if (!(await readsBack())) return { ...nothing, thumbnail: file };
    const scale = scaleFor(bitmap, input);
    const smaller = file.size > (input.slow ? SLOW_BYTES : SMALL_BYTES) && scale < WORTHWHILE;
    const body = smaller || !ACCEPTED.test(file.type) ? await shrunk(bitmap, scale, input.slow ? SLOW_QUALITY : QUALITY) : null;
    const toThumbnail = THUMBNAIL_SIDE / Math.max(bitmap.width, bitmap.height);
    const thumbnail = toThumbnail < 1 || file.size > SMALL_BYTES ? await shrunk(bitmap, Math.min(1, toThumbnail), 0.8) : file;
    return { id, body, thumbnail };
  } catch {
    return nothing;
  } finally {
    bitmap.close();
  }
}

/** How much smaller a photo may become and still cover MARGIN times what the model sees of it. */
function scaleFor({ width, height }, input) {
  const margin = input.slow ? SLOW_MARGIN : MARGIN;
  const across = (margin * input.width) / width;
  const down = (margin * input.height) / height;
  return Math.min(1, input.fit === "pad" ? Math.min(across, down) : Math.max(across, down));
}

async function shrunk(bitmap, scale, quality) {
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale)));
  const context = canvas.getContext("2d", { alpha: false });
  context.fillStyle = "#fff"; // what the gateway, too, puts behind what is transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/jpeg", quality });
}

let honest;

/** Whether pixels can be read back: browsers that resist fingerprinting give noise instead. */
function readsBack() {
  honest ??= (async () => {
    if (!globalThis.OffscreenCanvas) return false;
    const context = new OffscreenCanvas(16, 16).getContext("2d");
    context.fillStyle = "#1e90ff";
    context.fillRect(0, 0, 16, 16);
    const { data } = context.getImageData(0, 0, 16, 16);
    return data.every((value, at) => value === [0x1e, 0x90, 0xff, 0xff][at % 4]);
  })();
  return honest;
}

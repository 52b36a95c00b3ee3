// A worker that decodes, reduces and encodes photos.

const THUMBNAIL_SIDE = 560; // tiles are 280 wide, on screens with a pixel ratio of 2
const SMALL_BYTES = 200_000; // smaller files are sent unchanged
const SLOW_BYTES = 40_000;
const ACCEPTED = /^image\/(jpeg|png|gif|bmp|webp)$/; // by the gateway; browsers support more: AVIF and partly HEIC
const WORTHWHILE = 0.8;
const MARGIN = 3; // multiple of the model input; measured: less changes scores, more makes no difference
const SLOW_MARGIN = 2; // for slow connections: changes scores by a few hundredths and halves the size
const QUALITY = 0.92;
const SLOW_QUALITY = 0.8;

let queue = Promise.resolve();

onmessage = ({ data }) => {
  // One at a time: a photo of 50 megapixels takes 200 MB of memory.
  queue = queue.then(() => prepared(data)).then(postMessage);
};

async function prepared({ id, file, input }) {
  const nothing = { id, body: null, thumbnail: null };
  let bitmap;
  try {
    // Apply the orientation but no colour conversion, like the gateway.
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    return nothing; // the gateway may be able to decode it, or will report the error
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

/** Scale that still gives MARGIN times the size of the model input. */
function scaleFor({ width, height }, input) {
  const margin = input.slow ? SLOW_MARGIN : MARGIN;
  const across = (margin * input.width) / width;
  const down = (margin * input.height) / height;
  return Math.min(1, input.fit === "pad" ? Math.min(across, down) : Math.max(across, down));
}

async function shrunk(bitmap, scale, quality) {
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale)));
  const context = canvas.getContext("2d", { alpha: false });
  context.fillStyle = "#fff"; // the background that the gateway uses for transparency
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/jpeg", quality });
}

let honest;

/** Whether pixels can be read back; browsers with fingerprinting protection return noise. */
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

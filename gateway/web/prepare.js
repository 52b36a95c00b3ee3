// Prepare photos in worker threads: create a thumbnail, and reduce the photo before the upload.

const WORKERS = Math.max(1, Math.min(4, (navigator.hardwareConcurrency || 2) - 1));

const waiting = new Map();
const workers = [];
let next = 0;

/**
 * @param {File} file
 * @param {{width: number, height: number, fit: string, slow: boolean}} input Input of the model; `slow` requests a smaller file.
 * @returns {Promise<{body: Blob, thumbnail: Blob | null}>} No thumbnail if the browser cannot show the photo.
 */
export function prepare(file, input) {
  return new Promise((resolve) => {
    const id = next++;
    waiting.set(id, { resolve, file, input });
    if (workers.length < Math.min(WORKERS, waiting.size)) start();
    send(id);
  });
}

function send(id) {
  const photo = waiting.get(id);
  photo.worker = workers[id % workers.length];
  photo.worker.postMessage({ id, file: photo.file, input: photo.input });
}

function start() {
  const worker = new Worker(new URL("./prepare-worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data: { id, body, thumbnail } }) => {
    const photo = waiting.get(id);
    waiting.delete(id);
    photo?.resolve({ body: body ?? photo.file, thumbnail });
  };
  worker.onerror = worker.onmessageerror = () => discard(worker);
  workers.push(worker);
}

/** Ends a worker that fails or cannot be loaded. The others prepare its photos; without others, photos stay as they are. */
function discard(worker) {
  if (!workers.includes(worker)) return;
  workers.splice(workers.indexOf(worker), 1);
  worker.terminate();
  for (const [id, photo] of waiting) {
    if (photo.worker !== worker) continue;
    if (workers.length) send(id);
    else {
      waiting.delete(id);
      photo.resolve({ body: photo.file, thumbnail: null });
    }
  }
}

start(); // with the page, because the script cannot be loaded while the service is unavailable

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
    waiting.set(id, { resolve, file });
    if (workers.length < Math.min(WORKERS, waiting.size)) start();
    workers[id % workers.length].postMessage({ id, file, input });
  });
}

function start() {
  const worker = new Worker(new URL("./prepare-worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data: { id, body, thumbnail } }) => {
    const { resolve, file } = waiting.get(id);
    waiting.delete(id);
    resolve({ body: body ?? file, thumbnail });
  };
  workers.push(worker);
}

start(); // with the page, because the script cannot be loaded while the service is unavailable

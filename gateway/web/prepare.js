// Photos made ready in worker threads: a thumbnail to show, and something small to send.

const WORKERS = Math.max(1, Math.min(4, (navigator.hardwareConcurrency || 2) - 1));

const waiting = new Map();
const workers = [];
let next = 0;

/**
 * @param {File} file
 * @param {{width: number, height: number, fit: string, slow: boolean}} input What the model takes; `slow`: send less.
 * @returns {Promise<{body: Blob, thumbnail: Blob | null}>} No thumbnail for what the browser cannot show.
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

start(); // with the page: its script cannot be had once the service is away

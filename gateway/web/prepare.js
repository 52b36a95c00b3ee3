// Photos made ready in worker threads: a thumbnail to show, and something small to send.

const WORKERS = Math.max(1, Math.min(4, (navigator.hardwareConcurrency || 2) - 1));

const waiting = new Map();
const workers = [];
let next = 0;

/**
 * @param {File} file
 * @param {{width: number, height: number, fit: string}} input What the model takes.
 * @returns {Promise<{body: Blob, thumbnail: Blob | null}>} No thumbnail for what the browser cannot show.
 */
export function prepare(file, input) {
  return new Promise((resolve) => {
    const id = next++;
    waiting.set(id, { resolve, file });
    workers[id % workers.length].postMessage({ id, file, input });
  });
}

// Started with the page, since their script cannot be had once the service is away.
for (let count = 0; count < WORKERS; count++) {
  const worker = new Worker("/web/prepare-worker.js", { type: "module" });
  worker.onmessage = ({ data: { id, body, thumbnail } }) => {
    const { resolve, file } = waiting.get(id);
    waiting.delete(id);
    resolve({ body: body ?? file, thumbnail });
  };
  workers.push(worker);
}

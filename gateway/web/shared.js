// Photos that another app shared with the installed page; share-worker.js has put them down.

const SHELF = "shared-photos";

/** Lets the system install the page, and then share photos with it. */
export function offerInstallation() {
  // Here and not in the HTML, because Firefox loads every icon at once.
  for (const [rel, name] of [["manifest", "manifest.webmanifest"], ["apple-touch-icon", "icon-192.png"]]) {
    const { href } = new URL(name, import.meta.url);
    document.head.append(Object.assign(document.createElement("link"), { rel, href }));
  }
  navigator.serviceWorker?.register("/share-worker.js").catch(() => {}); // not over plain HTTP, nor in private windows
}

/** Takes the photos that were shared, each only once. */
export async function takeShared() {
  history.replaceState(null, "", "/");
  const shelf = await caches.open(SHELF);
  const found = [];
  for (const request of await shelf.keys()) {
    const answer = await shelf.match(request);
    const name = decodeURIComponent(answer.headers.get("X-Name"));
    const file = new File([await answer.blob()], name, { type: answer.headers.get("Content-Type") });
    found.push({ file, path: name });
    await shelf.delete(request);
  }
  return { found, skipped: 0, text: "" };
}

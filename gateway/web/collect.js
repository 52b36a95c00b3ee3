// Collect the files that users choose, drop or paste.

const IMAGE_NAME = /\.(jpe?g|jfif|png|gif|bmp|webp|heic|heif|avif|tiff?)$/i;

/** Whether a file in a folder is an image, by its type or name. Hidden files are not. */
function isPicture(file) {
  return !file.name.startsWith(".") && (file.type.startsWith("image/") || IMAGE_NAME.test(file.name));
}

/**
 * Collects the images in a chosen folder.
 * @param {File[]} files
 * @returns {{found: {file: File, path: string}[], skipped: number}}
 */
export function fromFolder(files) {
  const all = Array.from(files, (file) => ({ file, path: file.webkitRelativePath || file.name }));
  const found = all.filter(({ file }) => isPicture(file));
  return { found, skipped: visible(all).length - found.length };
}

/** Collects files that were chosen individually. All of them are accepted. */
export function fromFiles(files) {
  return { found: Array.from(files, (file) => ({ file, path: file.name })), skipped: 0 };
}

/**
 * Collects dropped or pasted items, including those in folders.
 * @param {{entries: FileSystemEntry[], files: File[], text: string}} given
 * @returns {Promise<{found: {file: File, path: string}[], skipped: number, text?: string}>} No `text` if there are folders.
 */
export async function fromTransfer({ entries, files, text }) {
  if (!entries.some((entry) => entry.isDirectory)) return { ...fromFiles(files), text };
  const all = { found: [], skipped: 0 };
  for (const entry of entries) {
    const inside = [];
    await walk(entry, inside);
    const found = entry.isDirectory ? inside.filter(({ file }) => isPicture(file)) : inside;
    all.found.push(...found);
    all.skipped += visible(inside).length - found.length;
  }
  return all;
}

const visible = (files) => files.filter(({ file }) => !file.name.startsWith("."));

async function walk(entry, into) {
  if (entry.isFile) {
    try {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      into.push({ file, path: entry.fullPath.replace(/^\//, "") });
    } catch {
      // It was deleted after the drop.
    }
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // Browsers return the entries of a folder in batches, and an empty batch at the end.
    const piece = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (!piece.length) return;
    piece.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
    for (const one of piece) await walk(one, into);
  }
}

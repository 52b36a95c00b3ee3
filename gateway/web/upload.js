// Sends a photo to the API.

import { CallFailed, call } from "./api.js";
import { t } from "./page.js";

const LARGE_BYTES = 10_000_000;

let sending = 0; // number of uploads in progress, which share the connection

/**
 * Sends a photo, reduced to the size that the model needs, and returns the JSON of the API.
 * @param {Photo} photo
 * @param {string} path Path in the API.
 * @param {{input?: object, service: Service, pace: Pace, signal?: AbortSignal}} how `input` is the input of the model.
 */
export async function upload(photo, path, { input, service, pace, signal }) {
  const { body, thumbnail } = await photo.prepared(input, pace.slow);
  signal?.throwIfAborted();
  if (!thumbnail) await readable(photo.file);
  const type = body.type.startsWith("image/") ? body.type : "application/octet-stream";
  sending += 1;
  const together = sending;
  try {
    return await call(path, {
      body,
      type,
      signal,
      onProgress(fraction) {
        photo.sent = fraction;
        photo.onSent?.();
      },
      onAnswer(milliseconds, timing) {
        pace.note(body.size * Math.max(together, sending), milliseconds - worked(timing));
      },
    });
  } catch (error) {
    if (error.status !== 0 || body.size < LARGE_BYTES || signal?.aborted) throw error;
    await service.check();
    if (!service.reachable) throw error;
    const size = Math.round(body.size / 1e6);
    throw new CallFailed(t("cutOff"), t("cutOff.text", { size }), { status: 413, code: "upload_too_large" });
  } finally {
    sending -= 1;
    photo.sent = null;
  }
}

/** The milliseconds of the server's own work, by its header `Server-Timing`. */
function worked(timing) {
  const parts = [...timing.matchAll(/(\w+);dur=([\d.]+)/g)];
  return parts.filter(([, name]) => name !== "upload").reduce((sum, [, , milliseconds]) => sum + Number(milliseconds), 0);
}

async function readable(file) {
  if (!file.size) throw new CallFailed(t("emptyFile"), t("emptyFile.text"), { status: 400, code: "empty_file" });
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new CallFailed(t("unreadable"), t("unreadable.text"), { status: 400, code: "unreadable_file" });
  }
}

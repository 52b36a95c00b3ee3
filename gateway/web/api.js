// Calls to the gateway's API, the API key, and readable errors.

import { errorText, t } from "./page.js";

const KEY = document.documentElement.dataset.key ?? "gateway-api-key"; // where the key is kept; reviewers have others
const TIMEOUT_MS = 90_000; // more than the gateway's limits on an upload and an answer together

const requestIds = new WeakMap();
let askForKey = async () => null;
let asking = null;

/** Sets the function that asks for a key. It gets whether a key was rejected, and returns a key or null. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

/** A failed call, with a message for the user. */
export class CallFailed extends Error {
  /**
   * @param {string} title Kind of error.
   * @param {string} detail Description of the error.
   * @param {{status?: number, code?: string, retryAfter?: number}} more `status` is 0 if there was no answer.
   */
  constructor(title, detail, { status = 0, code = "", retryAfter = 1 } = {}) {
    super(detail);
    this.title = title;
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }

  /** Whether the service as a whole seems to be unavailable. */
  get away() {
    // A 502 comes from a proxy. A model that is listed but unknown is being loaded or unloaded.
    return [0, 503].includes(this.status) || this.code === "unknown_model" || (this.status === 502 && !this.code);
  }

  /** Whether the error is due to the file, so that sending it again cannot help. */
  get final() {
    return [400, 413, 415, 422].includes(this.status);
  }

  /** Whether the same photo may succeed a moment later. */
  get passing() {
    return this.away || [408, 429, 504].includes(this.status);
  }
}

/** Headers with the key, if there is one. */
export function keyHeaders() {
  const key = sessionStorage.getItem(KEY);
  return key ? { "X-API-Key": key } : {};
}

/** Sets the key for all further calls, until the tab is closed. */
export const useKey = (key) => sessionStorage.setItem(KEY, key);

/**
 * Calls the API and returns its JSON, or a Blob if `blob` is true. Asks for a key if one is required.
 * @param {string} path
 * @param {{body?: Blob, type?: string, signal?: AbortSignal, timeout?: number, blob?: boolean,
 *   onProgress?: (fraction: number) => void, onAnswer?: (milliseconds: number, timing: string) => void}} how
 *   `onProgress` gets the share of the body that was sent, 0 to 1; much of it may still wait in the system's buffers.
 *   `onAnswer` gets, on success only, the time since the start, and the header `Server-Timing`.
 */
export async function call(path, { body, type, signal, timeout = TIMEOUT_MS, blob = false, onProgress, onAnswer } = {}) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const headers = keyHeaders();
    if (type) headers["Content-Type"] = type;
    const limit = AbortSignal.timeout(timeout);
    const ends = signal ? AbortSignal.any([signal, limit]) : limit;
    let answer;
    try {
      answer = await (body ? send(path, body, headers, ends, { onProgress, onAnswer }) : fetch(path, { headers, signal: ends, cache: "no-store" }));
      if (answer.ok && blob) return await answer.blob();
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new CallFailed(t("noAnswerTitle"), t("noAnswerText"));
    }
    const json = await answer.json().catch(() => ({}));
    if (answer.ok) {
      requestIds.set(json, answer.headers.get("X-Request-ID"));
      return json;
    }
    if (answer.status === 401 && (await keyInstead(key))) continue;
    const translated = errorText(json.code);
    const title = translated ? "" : json.title ?? t("errorStatus", { status: answer.status });
    throw new CallFailed(title, translated || (json.detail ?? t("serviceFailed")), {
      status: answer.status,
      code: json.code ?? "",
      retryAfter: Number(answer.headers.get("Retry-After")) || 1,
    });
  }
}

/** Posts a body. `fetch` cannot report the progress of an upload. */
function send(path, body, headers, signal, { onProgress, onAnswer }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const started = performance.now();
    const abort = () => request.abort();
    request.open("POST", path);
    request.responseType = "blob";
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    if (onProgress) request.upload.onprogress = ({ loaded, total }) => onProgress(total ? loaded / total : 0);
    request.onload = () => {
      if (request.status < 400) onAnswer?.(performance.now() - started, request.getResponseHeader("Server-Timing") ?? "");
      const headers = ["Retry-After", "X-Request-ID"].map((name) => [name, request.getResponseHeader(name)]);
      resolve(new Response(request.response, { status: request.status, headers: headers.filter(([, value]) => value) }));
    };
    request.onerror = request.onabort = () => reject(signal.reason ?? new TypeError("no answer"));
    request.onloadend = () => signal.removeEventListener("abort", abort);
    signal.addEventListener("abort", abort);
    if (signal.aborted) return reject(signal.reason);
    request.send(body);
  });
}

/** Asks for another key after one was rejected. Several calls may wait for the same answer. */
async function keyInstead(refused) {
  if (sessionStorage.getItem(KEY) !== refused) return true; // another call has asked already
  asking ??= askForKey(refused !== null).finally(() => (asking = null));
  const key = await asking;
  if (!key) return false;
  useKey(key);
  return true;
}

/** The ID of the request whose answer `call` returned. */
export const requestIdOf = (json) => requestIds.get(json);

/** Path of a model in the API. */
export const modelPath = (model) => `/api/v1/models/${encodeURIComponent(model)}`;

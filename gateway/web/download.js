// Save the results to a file.

const TOP = 5;

/** Results as JSON: an object for each answer, and for each photo without an answer. */
export function asJson(photos) {
  return JSON.stringify(photos.flatMap(rows), null, 2) + "\n";
}

/** Results as CSV (RFC 4180) with a header row. Text that a spreadsheet would run as a formula is escaped. */
export function asCsv(photos) {
  const found = photos.flatMap(rows);
  const several = found.some(({ labels }) => labels); // a column only if a model is multi-label, as in `breed predict`
  const header = ["file", "state", "label", ...(several ? ["labels"] : []), "looks_like", "confidence", "model", "version"];
  for (let rank = 1; rank <= TOP; rank++) header.push(`label_${rank}`, `score_${rank}`);
  header.push("error_code", "error");
  const lines = found.map(({ file, state, label, labels, looks_like, confidence, model, version, predictions, error }) => {
    const ranked = Array.from({ length: TOP }, (_, at) => [predictions[at]?.label, predictions[at]?.score]);
    return [file, state, label, ...(several ? [labels?.join("|")] : []), looks_like, confidence, model, version, ...ranked.flat(), error?.code, error?.detail];
  });
  // The byte order mark tells Excel that the file is UTF-8.
  return "\ufeff" + [header, ...lines].map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}

function rows({ path, state, answers, error }) {
  const failed = error ? { code: error.code || "no_answer", title: error.title, detail: error.message } : null;
  const nothing = { label: null, looks_like: null, confidence: null, model: null, version: null, predictions: [] };
  const given = Array.from(answers.values(), ({ label, labels, looks_like, confidence, model, predictions }) => ({
    file: path,
    state: label === null ? "unknown" : "named",
    ...(labels && { labels }),
    ...{ label, looks_like, confidence, model: model.name, version: model.version, predictions },
    error: null,
  }));
  return failed || !given.length ? [...given, { file: path, state: failed ? "failed" : state, ...nothing, error: failed }] : given;
}

function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Saves text to a file. */
export function save(text, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

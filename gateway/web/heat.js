// Paints a heat map over a photo: dark blue for no evidence, then transparent, then yellow for the most evidence.
// gateway/images/overlay.py uses the same colours.

const COLD = [13, 26, 92];
const HOT = [255, 214, 10];
const COLD_OPACITY = 0.62;
const HOT_OPACITY = 0.55;
const SIDE = 360; // pixels of the longer side; the map is smooth, so more would make no difference
const STRIPE = 5; // width in pixels of the stripes outside the area that the model saw
const HATCH = 0.5; // opacity of the stripes

/**
 * Paints the map and returns where most of the heat is.
 * @param {HTMLCanvasElement} canvas
 * @param {{values: number[][], box: {left: number, top: number, right: number, bottom: number}}} heatmap As in
 *   the API: the box is in fractions of the upright photo.
 * @param {number} width Of the photo; only the ratio to the height matters.
 * @param {number} height
 * @returns {string} Row and column, such as `upper.left`, each empty in the middle (`.`); empty where there is no heat.
 */
export function showHeat(canvas, { values, box }, width, height) {
  const scale = SIDE / Math.max(width, height);
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  const gain = gainOf(values);
  let sum = 0, across = 0, down = 0, at = 0;
  for (let y = 0; y < canvas.height; y++) {
    const v = ((y + 0.5) / canvas.height - box.top) / (box.bottom - box.top);
    for (let x = 0; x < canvas.width; x++) {
      const u = ((x + 0.5) / canvas.width - box.left) / (box.right - box.left);
      if (u < 0 || u > 1 || v < 0 || v > 1) {
        pixels.data.set([...COLD, (x + y) % (2 * STRIPE) < STRIPE ? 255 * HATCH : 255 * HATCH * 0.55], at);
        at += 4;
        continue;
      }
      const heat = Math.min(1, gain * sample(values, u, v));
      for (let channel = 0; channel < 3; channel++) {
        pixels.data[at++] = COLD[channel] + (HOT[channel] - COLD[channel]) * heat;
      }
      pixels.data[at++] = 255 * (heat < 0.5 ? COLD_OPACITY * (1 - 2 * heat) : HOT_OPACITY * (2 * heat - 1));
      const weight = heat * heat; // emphasise peaks over wide, weak areas
      sum += weight;
      across += (weight * (x + 0.5)) / canvas.width;
      down += (weight * (y + 0.5)) / canvas.height;
    }
  }
  context.putImageData(pixels, 0, 0);
  canvas.hidden = false;
  return sum ? place(across / sum, down / sum) : "";
}

/** Removes the map and frees its memory. */
export function clearHeat(canvas) {
  canvas.hidden = true;
  canvas.width = canvas.height = 0;
}

/** The value at a position in fractions of the map: a cubic B-spline through the cells, so that no edges are visible. */
function sample(values, u, v) {
  const rows = weights(v, values.length);
  const columns = weights(u, values[0].length);
  let sum = 0;
  for (const [row, down] of rows) {
    for (const [column, across] of columns) sum += values[row][column] * down * across;
  }
  return sum;
}

/** Factor for a smoothed map that keeps its maximum. */
function gainOf(values) {
  let [highest, smoothed] = [0, 0];
  values.forEach((row, y) =>
    row.forEach((value, x) => {
      highest = Math.max(highest, value);
      smoothed = Math.max(smoothed, sample(values, (x + 0.5) / row.length, (y + 0.5) / values.length));
    }),
  );
  return smoothed ? highest / smoothed : 1;
}

/** The four cells around a position and their weights (uniform cubic B-spline). */
function weights(fraction, count) {
  const position = fraction * count - 0.5;
  const first = Math.floor(position);
  const t = position - first;
  const parts = [(1 - t) ** 3, 3 * t ** 3 - 6 * t ** 2 + 4, -3 * t ** 3 + 3 * t ** 2 + 3 * t + 1, t ** 3];
  return parts.map((part, at) => [Math.min(count - 1, Math.max(0, first - 1 + at)), part / 6]);
}

function place(x, y) {
  const column = x < 0.4 ? "left" : x > 0.6 ? "right" : "";
  const row = y < 0.4 ? "upper" : y > 0.6 ? "lower" : "";
  return `${row}.${column}`;
}

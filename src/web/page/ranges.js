// Owns the drawing of the received ranges: a canvas, so that thousands of ranges cost as much as one.
// Does not own the numbers beside it.

/**
 * How much of each column is received, from 0 to 1.
 * @param {[number, number][]} ranges Part numbers, both included.
 */
export function coverage(ranges, totalParts, width) {
  const columns = new Float32Array(width);
  const full = new Int32Array(width + 1); // Where runs of full columns begin (+1) and end (-1).
  const scale = width / totalParts;
  for (const [first, last] of ranges) {
    const [from, to] = [(first - 1) * scale, last * scale];
    const [left, right] = [Math.min(width - 1, Math.floor(from)), Math.min(width - 1, Math.floor(to))];
    if (left === right) { columns[left] += to - from; continue; }
    columns[left] += left + 1 - from;
    columns[right] += to - right;
    full[left + 1] += 1;
    full[right] -= 1;
  }
  for (let column = 0, runs = 0; column < width; column += 1) {
    runs += full[column];
    columns[column] = runs > 0 ? 1 : Math.min(1, columns[column]);
  }
  return columns;
}

/** Draws the ranges in the text colour of the canvas. */
export function drawRanges(canvas, ranges, totalParts) {
  const width = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
  canvas.width = width; // Clears it too.
  canvas.height = 1;
  if (totalParts === 0) return;
  const context = canvas.getContext('2d');
  context.fillStyle = getComputedStyle(canvas).color;
  const columns = coverage(ranges, totalParts, width);
  for (let begin = 0; begin < width;) {
    let end = begin + 1;
    while (end < width && columns[end] === columns[begin]) end += 1;
    // A single part of a long file stays visible.
    context.globalAlpha = columns[begin] === 0 ? 0 : Math.max(0.25, columns[begin]);
    context.fillRect(begin, 0, end - begin, 1);
    begin = end;
  }
}

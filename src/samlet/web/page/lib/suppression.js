/**
 * IoU of two boxes x, y, width, height.
 * @param {readonly number[]} a
 * @param {readonly number[]} b
 */
export function boxIou(a, b) {
  const across = Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0]);
  const down = Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1]);
  const common = Math.max(across, 0) * Math.max(down, 0);
  return common / Math.max(a[2] * a[3] + b[2] * b[3] - common, 1e-12);
}

/**
 * Greedy non-maximum suppression.
 *
 * @template {{box: readonly number[], iou: number}} Candidate
 * @param {readonly Candidate[]} candidates
 * @param {number} threshold of two whose boxes' IoU is larger, that of lower predicted IoU goes
 * @returns {Candidate[]} what stays, best first
 */
export function suppress(candidates, threshold) {
  /** @type {Candidate[]} */
  const kept = [];
  for (const candidate of [...candidates].sort((a, b) => b.iou - a.iou)) {
    if (kept.every((other) => boxIou(candidate.box, other.box) <= threshold)) kept.push(candidate);
  }
  return kept;
}

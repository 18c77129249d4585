// Two sides, measured in turns, and what their ratio is.
//
// The machine that measures is the machine that is measured, and is never quiet: an absolute figure says little. So the
// sides run A B A B in short rounds, each round gives one ratio, and what counts is their median with the spread.

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export function spread(values) {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

export function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0;
}

/** What one side did in one round: { rate, cpu }, in things a second and microseconds of CPU for each. */
function figures({ count, seconds, cpu }) {
  return { rate: count / seconds, cpu: cpu / count };
}

/**
 * Runs both sides once to warm up and then `rounds` times in turns. A side is { name, run() -> { count, seconds, cpu,
 * failed? } }, its CPU in microseconds of everything that works for it (never of the load generator).
 * Returns { a, b, rate, cpu }: how often as many a second, and how often as much CPU, A needs than B.
 */
export async function compare({ rounds, a, b, warm = true }) {
  const sides = [a, b], seen = [[], []];
  let failed = 0;
  for (let round = warm ? -1 : 0; round < rounds; round++) {
    for (const [i, side] of sides.entries()) {
      const got = await side.run();
      if (!(got.count > 0)) throw new Error(`${side.name}: nothing was done`);
      failed += got.failed ?? 0;
      if (round >= 0) seen[i].push(figures(got));
    }
  }
  const show = (i) => ({ name: sides[i].name, rate: spread(seen[i].map((one) => one.rate)),
    cpu: spread(seen[i].map((one) => one.cpu)) });
  const ratio = (what) => spread(seen[0].map((one, round) => one[what] / seen[1][round][what]));
  return { a: show(0), b: show(1), rate: ratio("rate"), cpu: ratio("cpu"), rounds, failed };
}

/** Prints rows of a table, the first column to the left, figures to the right. */
export function table(head, rows) {
  const all = [head, ...rows].map((row) => row.map((cell) =>
    typeof cell === "number" ? cell.toFixed(cell >= 100 ? 0 : cell >= 10 ? 1 : 2) : cell ?? ""));
  const widths = head.map((_, i) => Math.max(...all.map((row) => (row[i] ?? "").length)));
  for (const row of all) {
    console.log(row.map((cell, i) => (i ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))).join("  "));
  }
  console.log("");
}

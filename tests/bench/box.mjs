// What merchants' rules cost in their box: tests/bench/box.lua (time, in the real VM, over the real processes) and
// tests/bench/bench_box.c (memory while idle, replacement).
import path from "node:path";
import { BUILD, ROOT } from "./lib/ground.mjs";
import { run } from "./lib/load.mjs";

// Half of the 25,900 invoices of the shop whose transactions we have (data/) hold ten lines or fewer.
const MEDIAN_CART = "1 rule, 10 lines";

const rows = (text) => text.trim().split("\n").map((line) => line.split("\t")).filter((row) => row.length > 1);

export default async function (bench) {
  const rounds = [], processes = [];
  for (let round = 0; round < bench.rounds; round++) {
    rounds.push(rows((await run(path.join(BUILD, "moontill"), ["spec", "tests/bench/box.lua"], { cwd: ROOT })).stdout)
      .filter(([title]) => title !== "warm-up"));
    processes.push(rows((await run(path.join(BUILD, "bench_box"), [], { cwd: ROOT })).stdout));
  }
  rounds[0].forEach(([title], row) => {
    bench.spread(`${title}: added to pricing, median`, rounds.map((round) => Number(round[row][1])), "us",
      title === MEDIAN_CART ? { most: 60 } : undefined);
    bench.spread(`${title}: inside of the box`, rounds.map((round) => Number(round[row][3])), "us");
  });
  processes[0].forEach(([title], row) => {
    const [, unit, rest] = title.match(/^(\w+),? (.*)$/);
    bench.spread(rest, processes.map((one) => Number(one[row][1])), unit);
  });
}

// What a price takes, by kind of cart: tests/bench/price.lua.
import { ROOT } from "./lib/ground.mjs";
import { run } from "./lib/load.mjs";

export default async function (bench) {
  const rounds = [];
  for (let round = 0; round < bench.rounds; round++) {
    rounds.push((await run("luajit", ["tests/bench/price.lua"], { cwd: ROOT })).stdout.trim().split("\n")
      .map((line) => line.match(/^\s*([\d.]+) us\s+(.*)$/).slice(1)));
  }
  rounds[0].forEach(([, title], row) => bench.spread(title, rounds.map((round) => Number(round[row][0])), "us"));
}

// Reloads under load: what shoppers notice of new code. The baseline is the same load without reloads, in turns.
import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { median, quantile } from "./lib/compare.mjs";
import { BUILD } from "./lib/ground.mjs";
import { Client } from "./lib/shop.mjs";

const run = promisify(execFile);
const CLIENTS = 4;

async function requests(shop, end, out) {
  const client = new Client(shop);
  while (performance.now() < end) {
    const begin = performance.now();
    try {
      await client.ask("GET", "/store/v1/products?limit=24");
      out.times.push(performance.now() - begin);
    } catch (error) {
      out.failed++;
      out.why = error.message;
    }
  }
  client.close();
}

async function reloads(shop, end, out) {
  while (performance.now() < end) {
    await run(path.join(BUILD, "moontill"), ["reload", "--var", shop.dir]);
    out.reloads++;
  }
}

async function measure(shop, seconds, withReloads) {
  const out = { times: [], failed: 0, reloads: 0 };
  const end = performance.now() + seconds * 1000;
  await Promise.all([...Array.from({ length: CLIENTS }, () => requests(shop, end, out)),
    ...(withReloads ? [reloads(shop, end, out)] : [])]);
  if (out.why) console.log(`    ${out.failed} FAILED: ${out.why}`);
  return { p99: quantile(out.times, 0.99), failed: out.failed, reloads: out.reloads };
}

export default async function (bench) {
  const shop = await bench.shop(), rounds = [];
  await measure(shop, bench.seconds, true);
  for (let round = 0; round < bench.rounds; round++) {
    const steady = await measure(shop, bench.seconds, false);
    rounds.push({ steady, reloaded: await measure(shop, bench.seconds, true) });
  }
  const total = (what) => rounds.reduce((sum, { steady, reloaded }) => sum + steady[what] + reloaded[what], 0);
  bench.figure("reloads", total("reloads"), "");
  bench.figure("requests that failed", total("failed"), "", { most: 0 });
  bench.figure("p99 without, median", median(rounds.map((one) => one.steady.p99)), "ms");
  bench.spread("p99 while reloading all the time, to p99 without", rounds.map((one) => one.reloaded.p99 / one.steady.p99), "");
}

// Reloads under load: what shoppers notice of new code.
//
//   node tests/bench/reload.mjs DIR [seconds] [clients]      DIR is the --var of a running `moontill dev`
//
// The baseline is the same load without reloads, right before.
import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { fileURLToPath } from "node:url";
import { Client, quantile, readShop, table } from "./support.mjs";

const run = promisify(execFile);
const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const BINARY = process.env.MOONTILL ?? path.join(ROOT, "build/release/moontill");
const [dir, seconds = "4", clients = "4"] = process.argv.slice(2);
const shop = readShop(dir);

async function requests(end, out) {
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

async function reloads(end, out) {
  while (performance.now() < end) {
    await run(BINARY, ["reload", "--var", dir]);
    out.reloads++;
  }
}

async function measure(withReloads) {
  const out = { times: [], failed: 0, reloads: 0 };
  const end = performance.now() + Number(seconds) * 1000;
  await Promise.all([...Array.from({ length: Number(clients) }, () => requests(end, out)),
    ...(withReloads ? [reloads(end, out)] : [])]);
  return out;
}

await measure(false);
const steady = await measure(false);
const reloaded = await measure(true);
const row = (name, out) => [name, String(out.reloads), String(out.times.length), String(out.failed),
  quantile(out.times, 0.5), quantile(out.times, 0.99), quantile(out.times, 0.99) / quantile(steady.times, 0.99)];
table(["list of 24", "reloads", "requests", "failed", "p50 ms", "p99 ms", "p99 to steady"],
  [row("steady", steady), row("reloading all the time", reloaded)]);
if (reloaded.why) console.log(`the last failure: ${reloaded.why}\n`);

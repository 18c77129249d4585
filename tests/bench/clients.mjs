// 10,000 clients that keep their connection and ask for something now and then.
//
// Each opens an HTTP/2 connection, asks at once, and again after PAUSE and after twice PAUSE. What counts is what those
// see that ask while all of them are there.
import fs from "node:fs";
import { quantile } from "./lib/compare.mjs";
import { run } from "./lib/load.mjs";
import { memoryOf } from "./lib/processes.mjs";
import { Client, webWorkers } from "./lib/shop.mjs";

const CLIENTS = 10_000, ARRIVALS = 400, PAUSE = 26_000;

/** Requests out of h2load's log, a line each: microseconds since the epoch, status, microseconds that it took. */
function readLog(file) {
  return fs.readFileSync(file, "utf8").trim().split("\n").map((line) => line.split("\t").map(Number))
    .map(([at, status, took]) => ({ at: at / 1000, status, took: took / 1000 }));
}

/** The largest sum that the workers held meanwhile. */
async function watch(shop, act) {
  const most = { pss: 0, rss: 0 };
  const look = () => {
    const each = webWorkers(shop).map(memoryOf);
    for (const name of ["pss", "rss"]) most[name] = Math.max(most[name], each.reduce((sum, one) => sum + one[name], 0));
  };
  const timer = setInterval(look, 2000);
  try {
    await act();
    return most;
  } finally {
    clearInterval(timer);
  }
}

export default async function (bench) {
  const shop = await bench.shop(), client = new Client(shop);
  const { data: [product] } = await client.ask("GET", "/store/v1/products?limit=1");
  client.close();
  const script = `${bench.dir}/timing.txt`, log = `${bench.dir}/clients.log`;
  const url = `${shop.url}/store/v1/products/${product.id}`;
  fs.writeFileSync(script, [0, PAUSE, 2 * PAUSE].map((at) => `${at}\t${url}\n`).join(""));
  fs.rmSync(log, { force: true });
  const begin = Date.now();
  const most = await watch(shop, () => run("h2load", ["-c", String(CLIENTS), "-r", String(ARRIVALS),
    `--timing-script-file=${script}`, `--log-file=${log}`, "-H", `authorization: Bearer ${shop.store_key}`],
  { maxBuffer: 1 << 26 }));
  const all = readLog(log), there = begin + CLIENTS / ARRIVALS * 1000 + 1000;
  const steady = all.filter((one) => one.at > there).map((one) => one.took);
  bench.figure("requests answered, of 30,000", all.filter((one) => one.status === 200).length, "", { least: 3 * CLIENTS });
  bench.figure(`p50 while ${CLIENTS} are connected`, quantile(steady, 0.5), "ms");
  bench.figure(`p95 while ${CLIENTS} are connected`, quantile(steady, 0.95), "ms", { most: 200 });
  bench.figure(`p99 while ${CLIENTS} are connected`, quantile(steady, 0.99), "ms");
  bench.figure("all web workers then, resident", most.rss, "MB", { most: 400 });
  bench.figure("all web workers then, their share (PSS)", most.pss, "MB");
}

// What a completion through payment-stripe costs beside the provider: its time as the client sees it less the time of the requests
// to Stripe's double, as the server's own histogram has them. One after the other, so that what the histogram grew by between two
// scrapes is of this completion alone; no jobs worker runs, so nothing else is asked of Stripe.
//
// What stands in that time and is not ours is told beside it: a request that is answered from memory is the client's own part and
// the network's. Between two completions the counters are looked at, which leaves the caches to others; a second lot is bought
// without, and of these the mean is told, for the histogram tells only the sum of what the provider took.
//
// Most of it is the order, and would be the same without a provider. So as many carts are paid by payment-test, which is nobody
// outside, in turns with the others: what both differ by is what an outside provider adds, besides the time that he takes himself.
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { quantile } from "./lib/compare.mjs";
import { ROOT } from "./lib/ground.mjs";
import { cpuOf, difference } from "./lib/processes.mjs";
import { Client, readyCart, statusOf, STRIPE } from "./lib/shop.mjs";

const CARTS = 100; // a round, of each
const TEST = { provider: "test", data: { token: "tok_ok" } };
const KEY = "sk_test_double";

/** In a process of its own: what it is at must not keep the client waiting. */
async function startDouble() {
  const child = spawn(process.execPath, [path.join(ROOT, "tests/doubles/stripe/main.mjs"), "0"], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(child.stdout, "data");
  return { url: /http:\/\/\S+/.exec(String(line))[0], stop: () => child.kill() };
}

/** Milliseconds of a small write that is forced to disk, where the shop has its tables. */
function syncTimes(dir) {
  const file = path.join(dir, "sync"), fd = fs.openSync(file, "w"), took = [];
  for (let i = 0; i < 20; i++) {
    const begun = performance.now();
    fs.writeSync(fd, Buffer.alloc(512), 0, 512, i * 512);
    fs.fdatasyncSync(fd);
    took.push(performance.now() - begun);
  }
  fs.closeSync(fd);
  return took;
}

async function stockUp({ dev, ca }, sku) {
  const staff = new Client({ ...dev, ca, store_key: dev.admin_key });
  await staff.ask("POST", `/admin/v1/inventory/${encodeURIComponent(sku)}/adjustments`, { set_to: 1_000_000, reason: "bench" },
    { "idempotency-key": `bench-stock-${process.pid}` });
  staff.close();
}

/** Milliseconds that requests to providers have taken so far, and how many there were. */
async function atProvider(shop) {
  const text = await (await fetch(`${shop.ops_url}/metrics`)).text(), name = "till_outbound_request_duration_seconds";
  const all = (end) => [...text.matchAll(new RegExp(`^${name}_${end}(?:\\{[^}]*\\})? (\\S+)$`, "gm"))].reduce((sum, [, one]) => sum + Number(one), 0);
  return { ms: 1000 * all("sum"), count: all("count") };
}

const mean = (list) => list.reduce((sum, one) => sum + one, 0) / list.length;

/** Milliseconds. */
async function order(client, at) {
  const begun = performance.now();
  const answer = await client.ask("POST", `${at}/complete`, {}, { "idempotency-key": `bench-${at.split("/").at(-1)}` });
  const took = performance.now() - begun;
  if (answer.type !== "order") throw new Error(JSON.stringify(answer));
  return took;
}

async function complete(client, shop, at) {
  const asked = await statusOf(shop), before = await atProvider(shop), cpu = cpuOf([shop.pid]);
  const took = await order(client, at), used = difference(cpuOf([shop.pid]), cpu);
  const after = await atProvider(shop), now = await statusOf(shop);
  return { used, own: took - (after.ms - before.ms), provider: after.ms - before.ms, requests: after.count - before.count,
    statements: now.Com_stmt_execute - asked.Com_stmt_execute, syncs: now.Innodb_log_writes - asked.Innodb_log_writes };
}

/** Mean milliseconds without the provider, one right after the other. */
async function inARow(client, shop, carts) {
  const before = await atProvider(shop);
  let took = 0;
  for (const at of carts) took += await order(client, at);
  return (took - ((await atProvider(shop)).ms - before.ms)) / carts.length;
}

async function trivial(client) {
  const took = [];
  for (let i = 0; i < CARTS; i++) {
    const begun = performance.now();
    await client.ask("GET", "/store/v1/products?limit=1");
    took.push(performance.now() - begun);
  }
  return quantile(took, 0.5);
}

export default async function (bench) {
  const double = await startDouble();
  const options = { secret_key: KEY, base_url: double.url, return_url: "https://shop.example/{cart}" };
  const running = await bench.startShop(["--no-demo", "--set", "server.workers=1", "--set", "server.jobs_workers=0",
    ...Object.entries(options).flatMap(([name, one]) => ["--set", `plugins.payment-stripe.${name}=${one}`])]);
  const client = new Client({ ...running.dev, ca: running.ca });
  try {
    const { data: [product] } = await client.ask("GET", "/store/v1/products?limit=1");
    const [variant] = (await client.ask("GET", `/store/v1/products/${product.id}`)).product.variants;
    await stockUp(running, variant.sku);
    const shop = { ...running.dev, pid: running.process.pid }, row = [], least = [], cpu = { rest: [], mariadb: [] }, cpuOfTest = { rest: [], mariadb: [] };
    const without = { 0.5: [], 0.95: [] };
    const p50 = [], p95 = [], theirs = [], asked = [], counts = { statements: [], syncs: [] }, sync = [];
    for (let round = -1; round < bench.rounds; round++) {
      const got = [], plain = [];
      for (let i = 0; i < CARTS; i++) {
        got.push(await complete(client, shop, await readyCart(client, variant.id, STRIPE)));
        plain.push(await complete(client, shop, await readyCart(client, variant.id, TEST)));
      }
      const carts = [];
      for (let i = 0; i < CARTS; i++) carts.push(await readyCart(client, variant.id, STRIPE));
      const inRow = await inARow(client, shop, carts);
      if (round < 0) continue; // to warm up
      row.push(inRow);
      for (const q of [0.5, 0.95]) without[q].push(quantile(plain.map((one) => one.own), q));
      least.push(await trivial(client));
      for (const part of ["rest", "mariadb"]) {
        cpu[part].push(mean(got.map((one) => one.used[part])) / 1000);
        cpuOfTest[part].push(mean(plain.map((one) => one.used[part])) / 1000);
      }
      sync.push(...syncTimes(bench.dir));
      p50.push(quantile(got.map((one) => one.own), 0.5));
      p95.push(quantile(got.map((one) => one.own), 0.95));
      for (const one of ["statements", "syncs"]) counts[one].push(quantile(got.map((each) => each[one]), 0.5));
      theirs.push(quantile(got.map((one) => one.provider), 0.5));
      asked.push(mean(got.map((one) => one.requests)));
    }
    bench.spread("a completion without the provider, p50", p50, "ms");
    bench.spread("a completion without the provider, p95", p95, "ms", { most: 2 });
    bench.spread("    one right after the other, mean", row, "ms");
    bench.spread("  the same by payment-test, p50", without[0.5], "ms");
    bench.spread("  the same by payment-test, p95", without[0.95], "ms");
    bench.spread("  what an outside provider adds without itself, p50", p50.map((one, i) => one - without[0.5][i]), "ms");
    bench.spread("  what an outside provider adds without itself, p95", p95.map((one, i) => one - without[0.95][i]), "ms");
    bench.spread("  a request answered from memory, p50", least, "ms");
    bench.spread("  CPU of the web worker", cpu.rest, "ms");
    bench.spread("  CPU of the database", cpu.mariadb, "ms");
    bench.spread("    both by payment-test: web worker", cpuOfTest.rest, "ms");
    bench.spread("    both by payment-test: database", cpuOfTest.mariadb, "ms");
    bench.spread("  the provider's part, p50", theirs, "ms");
    bench.spread("  requests to it", asked, "");
    bench.spread("  statements to the database, p50", counts.statements, "");
    bench.spread("  log of the database forced to disk, p50", counts.syncs, "times");
    bench.spread("  one write forced to this disk", sync, "ms");
    const rest = p95.map((each, i) => each - counts.syncs[i] * quantile(sync, 0.5));
    bench.spread("  a completion without provider and disk, p95", rest, "ms");
  } finally {
    client.close();
    await running.stop();
    double.stop();
  }
}

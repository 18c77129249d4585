// The shopper's journey, list to order, by many shoppers at once:
//
//   node tests/bench/journey.mjs DIR [shoppers] [seconds]      DIR is the --var of a running `moontill dev`
//
// Prints orders/s, the CPU of an order by process, and of each step its statements and its CPU. What shoppers do side by side is
// journey.lua's, for wrk takes a quarter of the CPU that this program would; one step at a time it is done here.
//
// As a benchmark it gives the CPU of an order, MariaDB and Redis included; nothing to compare it with stands beside it.
import fs from "node:fs";
import path from "node:path";
import { quantile } from "./lib/compare.mjs";
import { ROOT } from "./lib/ground.mjs";
import { run } from "./lib/load.mjs";
import { cpuOf, difference } from "./lib/processes.mjs";
import { ADDRESS, Client, readShop, statusOf } from "./lib/shop.mjs";
import { table } from "./lib/table.mjs";

const SCRIPT = path.join(ROOT, "tests/bench/journey.lua");
const WORDS = ["hanging heart", "lunch bag", "cake stand", "mug", "candle", "vintage", "red bag", "clock", "box set", "tea"];

let counter = 0;
const uniqueKey = () => `bench-p${process.pid}-t${Date.now().toString(36)}-n${++counter}`;
const any = (list) => list[Math.floor(Math.random() * list.length)];

/** Steps in their order; each gets the client and what the steps before it have found. */
export const STEPS = {
  list: async (client, at) => {
    const page = await client.ask("GET", `/store/v1/products?limit=24${at.after ?? ""}`);
    at.product = any(page.data);
  },
  search: (client) => client.ask("GET", `/store/v1/search?q=${encodeURIComponent(any(WORDS))}`),
  product: async (client, at) => {
    const { product } = await client.ask("GET", `/store/v1/products/${at.product.id}`);
    at.variant = product.variants[0];
  },
  cart: async (client, at) => {
    const { cart } = await client.ask("POST", "/store/v1/carts", { currency: "GBP", country: "GB" });
    at.cart = `/store/v1/carts/${cart.id}`;
  },
  line: (client, at) => client.ask("POST", `${at.cart}/lines`, { variant_id: at.variant.id, quantity: 1 }),
  address: (client, at) => client.ask("PATCH", at.cart,
    { email: "ada@example.com", shipping_address: ADDRESS, billing_address: ADDRESS }),
  options: async (client, at) => (at.option = (await client.ask("GET", `${at.cart}/shipping-options`)).data[0]),
  shipping: (client, at) => client.ask("PATCH", at.cart, { shipping_option_id: at.option.id }),
  payment: (client, at) => client.ask("POST", `${at.cart}/payment-sessions`, { provider: "manual" }),
  complete: async (client, at) => {
    const done = await client.ask("POST", `${at.cart}/complete`, {}, { "idempotency-key": uniqueKey() });
    if (done.type !== "order") throw new Error(`no order: ${JSON.stringify(done).slice(0, 300)}`);
    at.order = done.order;
  },
  order: (client, at) => client.ask("GET", `/store/v1/orders/${at.order.id}`),
};

/** Cursors of pages spread over the catalogue, so that orders spread over SKUs. */
export async function pages(client, count) {
  const found = [""];
  while (found.length < count) {
    const page = await client.ask("GET", `/store/v1/products?limit=24${found.at(-1)}`);
    if (!page.next_cursor) break;
    found.push(`&after=${encodeURIComponent(page.next_cursor)}`);
  }
  return found;
}

/** Journeys side by side for a while: { orders, failed, why, seconds, cpu, status, p50, p95, p99 }, times in milliseconds. */
export async function journeys(shopInfo, shoppers, seconds) {
  const file = path.join(shopInfo.dir, "bench-cursors.txt");
  if (!fs.existsSync(file)) {
    const client = new Client(shopInfo);
    fs.writeFileSync(file, `${(await pages(client, 40)).join("\n")}\n`);
    client.close();
  }
  const before = { cpu: cpuOf([shopInfo.pid]), status: await statusOf(shopInfo) };
  const { stdout, stderr } = await run("wrk", [`-t${shoppers}`, `-c${shoppers}`, `-d${Math.ceil(seconds)}`, "-s", SCRIPT,
    shopInfo.url, "--", shopInfo.store_key, file]);
  const cpu = difference(cpuOf([shopInfo.pid]), before.cpu);
  return { ...JSON.parse(stdout.trim().split("\n").at(-1)), why: stderr.trim(), cpu, status: difference(await statusOf(shopInfo), before.status) };
}

/** Statements of each step: the least of some rounds, for the jobs worker asks in between. */
export async function statements(shopInfo, rounds = 5) {
  const client = new Client(shopInfo);
  const least = {};
  for (let round = 0; round < rounds; round++) {
    const at = {};
    let before = await statusOf(shopInfo);
    for (const [name, step] of Object.entries(STEPS)) {
      await step(client, at);
      const now = await statusOf(shopInfo), used = difference(now, before);
      before = now;
      const count = { statements: used.Com_stmt_execute, transactions: used.Com_begin };
      if (!least[name] || count.statements < least[name].statements) least[name] = count;
    }
  }
  client.close();
  return least;
}

/** CPU and time of each step in ms: all carts go through one together, so that nothing else runs meanwhile. */
export async function costs(shopInfo, shoppers, count = 320) {
  const clients = Array.from({ length: shoppers }, () => new Client(shopInfo));
  const cursors = await pages(clients[0], 40);
  const carts = Array.from({ length: count }, () => ({ after: any(cursors) }));
  const out = {};
  for (const [name, step] of Object.entries(STEPS)) {
    const before = cpuOf([shopInfo.pid]), times = [];
    await Promise.all(clients.map(async (client, i) => { // one connection a cart, as in a journey
      for (let at = i; at < count; at += shoppers) {
        const begin = performance.now();
        await step(client, carts[at]);
        times.push(performance.now() - begin);
      }
    }));
    const { rest, mariadb } = difference(cpuOf([shopInfo.pid]), before);
    out[name] = { server: rest / count / 1000, mariadb: mariadb / count / 1000, p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
  }
  clients.forEach((client) => client.close());
  return out;
}

export function report(result, counts, cost) {
  const per = (figure) => figure / result.orders, ms = (us) => per(us) / 1000;
  const { rest, mariadb, redis, all } = result.cpu;
  console.log(`journey: ${result.orders} orders, ${result.failed} failed${result.why ? ` (${result.why})` : ""}, ` +
    `${(result.orders / result.seconds).toFixed(0)} orders/s, a request p50 ${result.p50.toFixed(0)} ms, p95 ${result.p95.toFixed(0)} ms`);
  table(["CPU ms an order", "server", "MariaDB", "Redis", "in all", "of 2.3 ms"],
    [["", ms(rest), ms(mariadb), ms(redis), ms(all), ms(all) / 2.3]]);
  table(["step", "p50 ms", "p99 ms", "statements", "transactions", "server CPU ms", "MariaDB"],
    Object.keys(STEPS).map((name) => [name, cost[name].p50, cost[name].p99, String(counts[name].statements),
      String(counts[name].transactions), cost[name].server, cost[name].mariadb]));
  const { Com_stmt_execute, Com_stmt_prepare, Com_commit } = result.status;
  console.log(`an order takes ${per(Com_stmt_execute).toFixed(1)} statements, ${per(Com_commit).toFixed(1)} commits, ` +
    `${per(Com_stmt_prepare).toFixed(2)} prepares, all processes together\n`);
}

export default async function (bench) {
  const shop = await bench.shop();
  const rounds = [];
  for (let round = -1; round < bench.rounds; round++) {
    const got = await journeys(shop, 16, bench.seconds * 2);
    if (got.failed) console.log(`    ${got.failed} FAILED: ${got.why}`);
    if (round >= 0) rounds.push(got);
  }
  const each = (what) => rounds.map(what);
  bench.spread("CPU of an order, all processes", each((one) => one.cpu.all / one.orders / 1000), "ms", { most: 2.3 });
  bench.spread("  of it MariaDB", each((one) => one.cpu.mariadb / one.orders / 1000), "ms");
  bench.spread("  of it Redis", each((one) => one.cpu.redis / one.orders / 1000), "ms");
  bench.spread("orders a second, the client on the same cores", each((one) => one.orders / one.seconds), "", { least: 300 });
  bench.spread("a request, p95", each((one) => one.p95), "ms", { most: 200 });
  bench.spread("statements of an order", each((one) => one.status.Com_stmt_execute / one.orders), "");
  bench.spread("commits of an order", each((one) => one.status.Com_commit / one.orders), "");
}

if (process.argv[1].endsWith("journey.mjs")) {
  const [dir, shoppers = "16", seconds = "5"] = process.argv.slice(2);
  const info = readShop(dir);
  await journeys(info, Number(shoppers), 1);
  report(await journeys(info, Number(shoppers), Number(seconds)), await statements(info), await costs(info, Number(shoppers)));
}

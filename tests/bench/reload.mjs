// New code under load: how long until it is live everywhere, and what shoppers notice of it. The baseline of their
// waits is the same load without reloads, in turns.
import fs from "node:fs";
import path from "node:path";
import { control } from "../flow/support/process.mjs";
import { quantile } from "./lib/compare.mjs";
import { ADDRESS, Client } from "./lib/shop.mjs";

const CLIENTS = 4;
const PLUGINS = 60, LINES = 120;
const RELOADS = 100, REST_MS = 300;

const pause = (ms) => new Promise((go) => setTimeout(go, ms));

/** Plugins of a common size; `edit` makes another generation of them, a broken one on request. */
class Plugins {
  constructor(dir) {
    Object.assign(this, { dir, edits: 0 });
    for (let i = 0; i < PLUGINS; i++) this.#write(i);
  }

  name = (i) => `promo-bench${String(i).padStart(2, "0")}`;

  #write(i, end = `return handler -- ${++this.edits}\n`) {
    const folder = path.join(this.dir, this.name(i));
    fs.mkdirSync(folder, { recursive: true });
    const steps = Array.from({ length: LINES / 6 - 2 }, (_, n) => `
local function step_${n}(cart, amount)
  local off = amount * ${n + 1} % 7
  for _, line in ipairs(cart.lines) do off = off + line.quantity end
  return off
end`);
    fs.writeFileSync(path.join(folder, "plugin.lua"),
      `return { name = "${this.name(i)}", version = "1.0.0", api = 1, hooks = { "promo.evaluate" }, waits = false }\n`);
    fs.writeFileSync(path.join(folder, "handler.lua"), ["local handler = {}\n", ...steps,
      `\n\nhandler["promo.evaluate"] = function(_, cart)\n  if step_0(cart, 0) < 0 then return {} end\nend\n\n\n`, end].join("\n"));
  }

  edit() {
    this.#write(this.edits % PLUGINS);
  }

  /** One that does not compile; `mend` takes it back. */
  spoil() {
    this.#write(0, "return handler.\n");
  }

  mend() {
    this.#write(0);
  }
}

const MIX = [
  (client) => client.ask("GET", "/store/v1/products?limit=24"),
  (client) => client.ask("GET", "/store/v1/search?q=red+bag"),
  (client, at) => client.ask("GET", `/store/v1/products/${at.product.id}`),
  async (client, at) => (at.cart = (await client.ask("POST", "/store/v1/carts", { currency: "GBP", country: "GB" })).cart),
  (client, at) => client.ask("POST", `/store/v1/carts/${at.cart.id}/lines`, { variant_id: at.product.variants[0].id, quantity: 1 }),
  (client, at) => client.ask("PATCH", `/store/v1/carts/${at.cart.id}`, { email: "ada@example.com", shipping_address: ADDRESS }),
  (client, at) => client.ask("GET", `/store/v1/carts/${at.cart.id}/shipping-options`),
];

async function visit(shop, is, out) {
  const client = new Client(shop);
  const at = { product: (await client.ask("GET", "/store/v1/products?limit=1")).data[0] };
  for (let n = 0; !is.over; n++) {
    const begin = performance.now();
    try {
      await MIX[n % MIX.length](client, at);
      out.times.push(performance.now() - begin);
    } catch (error) {
      out.failed++;
      out.why = error.message;
    }
  }
  client.close();
}

/** All visitors for as long as `act` takes: { p99, failed, value }. */
async function beside(shop, act) {
  const is = { over: false }, out = { times: [], failed: 0 };
  const visitors = Array.from({ length: CLIENTS }, () => visit(shop, is, out));
  const value = await act();
  is.over = true;
  await Promise.all(visitors);
  if (out.why) console.log(`    ${out.failed} FAILED: ${out.why}`);
  return { p99: quantile(out.times, 0.99), count: out.times.length, failed: out.failed, value };
}

/** Every other one is bad. Gives the milliseconds of the good ones. */
async function reloads(shop, plugins, count, restMs = 0) {
  const took = [];
  for (let i = 0; i < count; i++) {
    if (i % 2) plugins.spoil();
    else plugins.edit();
    const answer = await control(shop, "reload");
    if (i % 2) plugins.mend();
    if (answer.ok === Boolean(i % 2)) throw new Error(`reload ${i}: ${JSON.stringify(answer)}`);
    if (answer.ok) took.push(answer.ms);
    await pause(restMs);
  }
  return took;
}

/** The longest turn of a loop within the last second, in ms: so long did a request wait. */
async function longestTurn(shop) {
  const text = await (await fetch(`${shop.ops_url}/metrics`)).text();
  return Number(/^till_loop_delay_seconds (\S+)/m.exec(text)[1]) * 1000;
}

const STEP = "till_generation_swap_duration_seconds";

/** Steps of swaps that ran in a thread that serves, by the upper bounds of what they took, in seconds. */
async function steps(shop) {
  const text = await (await fetch(`${shop.ops_url}/metrics`)).text();
  return [...text.matchAll(new RegExp(`^${STEP}_bucket\\{le="(\\S+)"\\} (\\d+)`, "gm"))].map(([, le, n]) => [Number(le.replace("+Inf", "Infinity")), Number(n)]);
}

/** So many of the steps since `before` took longer than `seconds`. */
function longer(before, after, seconds) {
  const at = after.findIndex(([bound]) => bound >= seconds);
  return after.at(-1)[1] - before.at(-1)[1] - (after[at][1] - before[at][1]);
}

async function atRest(bench, shop, plugins) {
  const took = [], turns = [];
  await pause(1200); // turns of what was before
  for (let i = 0; i < 10; i++) {
    took.push(...await reloads(shop, plugins, 1));
    turns.push(await longestTurn(shop));
  }
  bench.spread(`${PLUGINS} plugins of ${LINES} lines live in all workers`, took, "ms", { most: 150 });
  bench.spread("the longest turn of a loop meanwhile", turns, "ms", { most: 5 });
}

/** In turns: without reloads, with pauses of REST_MS between them, and with one after the other. */
async function underLoad(bench, shop, plugins) {
  const count = Math.ceil(RELOADS / bench.rounds);
  const rested = [], ceaseless = [], steadily = [], busy = [];
  const before = await steps(shop);
  let failed = 0, done = 0;
  for (let round = 0; round < bench.rounds; round++) {
    const steady = await beside(shop, () => pause(bench.seconds * 1000));
    const changed = await beside(shop, () => reloads(shop, plugins, count, REST_MS));
    const worst = await beside(shop, () => reloads(shop, plugins, count));
    rested.push(changed.p99 / steady.p99);
    ceaseless.push(worst.p99 / steady.p99);
    steadily.push(steady.p99);
    busy.push(...changed.value);
    for (const one of [steady, changed, worst]) {
      failed += one.failed;
      done += one.count;
    }
  }
  bench.spread("the same under full load", busy, "ms");
  const after = await steps(shop);
  bench.figure("steps of swaps under full load, all processes", after.at(-1)[1] - before.at(-1)[1], "");
  for (const ms of [1, 2.5])
    bench.figure(`of them longer than ${ms} ms`, longer(before, after, ms / 1000), "");
  bench.figure("of them longer than 5 ms: so long a request may have waited", longer(before, after, 0.005), "", { most: 0 });
  bench.figure("requests", done, "");
  bench.figure(`requests that failed, ${2 * RELOADS} reloads, half of them bad`, failed, "", { most: 0 });
  bench.spread("p99 without reloads", steadily, "ms");
  bench.spread(`p99 with pauses of ${REST_MS} ms between reloads, to p99 without`, rested, "", { most: 1.5 });
  bench.spread("p99 with one reload after the other, to p99 without", ceaseless, "", { most: 1.5 });
}

export default async function (bench) {
  const plugins = new Plugins(path.join(bench.dir, "plugins"));
  const running = await bench.startShop(["--no-demo", "--plugins", plugins.dir]);
  const shop = { ...running.dev, dir: running.dir, ca: running.ca };
  try {
    await beside(shop, () => reloads(shop, plugins, 4));
    await atRest(bench, shop, plugins);
    await underLoad(bench, shop, plugins);
  } finally {
    await running.stop();
  }
}

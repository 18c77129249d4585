// What idle streams of changes cost, by protocol: memory of the worker, its CPU while nothing happens, and how long one
// change takes to all who watch its cart.
import fs from "node:fs";
import http2 from "node:http2";
import { makeCart, makeProduct, until } from "../flow/support/shop.mjs";
import { sse1, sse2, ws } from "../flow/support/live.mjs";
import { workers } from "../flow/support/process.mjs";
import { memoryOf } from "./lib/processes.mjs";

const N = 10_000, AT_ONCE = 100, CARTS = 500, IDLE_MS = 10_000, TICK_MS = 10; // of the kernel's clock

const cpuMs = (pid) => fs.readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ").slice(11, 13)
  .reduce((sum, ticks) => sum + Number(ticks), 0) * TICK_MS;

async function all(n, open) {
  const out = [];
  while (out.length < n)
    out.push(...(await Promise.all(Array.from({ length: Math.min(AT_ONCE, n - out.length) }, (_, i) => open(out.length + i)))));
  return out;
}

async function measure(bench, name, open) {
  const shop = await bench.startShop(["--no-demo", "--set", "server.workers=1", "--set", `server.max_connections=${N + 100}`,
    "--set", `live.max_streams=${N}`, "--set", `live.max_per_client=${N}`, "--set", "server.queue_target_ms=0"]);
  try {
    const { variant } = await makeProduct(shop, { stock: 100_000 });
    const carts = await all(CARTS, () => makeCart(shop, variant.id));
    const { pid } = (await workers(shop)).find((w) => w.name.startsWith("web"));
    const before = memoryOf(pid).rss;
    const streams = await all(N, (i) => open(shop, `/store/v1/carts/${carts[i % CARTS].id}/events`, i));
    await until("all have begun", () => streams.every((s) => s.events.length > 0), 60_000);
    const rss = memoryOf(pid).rss, cpu = cpuMs(pid);
    await new Promise((go) => setTimeout(go, IDLE_MS));
    const idle = (cpuMs(pid) - cpu) / IDLE_MS * 100, begun = process.hrtime.bigint();
    await shop.store("POST", `/carts/${carts[0].id}/lines`, { body: { variant_id: variant.id, quantity: 1 } });
    await until("those of one cart are told", () => streams.every((s, i) => i % CARTS || s.events.length > 1));
    bench.figure(`${name}: a stream`, (rss - before) * 1024 / N, "kB", { most: 40 });
    bench.figure(`${name}: the worker with ${N} of them`, rss, "MB", { most: 400 });
    bench.figure(`${name}: the worker while nothing happens`, idle, "% of a core");
    bench.figure(`${name}: a change told to ${N / CARTS}`, Number(process.hrtime.bigint() - begun) / 1e6, "ms");
  } finally {
    await shop.stop();
  }
}

export default async function (bench) {
  const sessions = new Map();
  await measure(bench, "WebSocket", (shop, path) => ws(shop, path));
  await measure(bench, "SSE over HTTP/1.1", (shop, path) => sse1(shop, path));
  await measure(bench, "SSE over HTTP/2, 100 a connection", (shop, path, i) => {
    const at = Math.floor(i / 100);
    if (!sessions.has(at)) sessions.set(at, http2.connect(shop.dev.url, { ca: shop.ca }).on("error", () => {}));
    return sse2(shop, path, { session: sessions.get(at) });
  });
  sessions.forEach((session) => session.destroy());
}

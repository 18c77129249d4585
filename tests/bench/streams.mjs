// What an idle stream costs: opens N of them (10,000 where nothing is said) on a shop of one worker, over WebSocket and
// server-sent events on HTTP/1.1, and as streams of HTTP/2; then the worker's memory and CPU while nothing happens, and how
// long one change takes to all who watch its cart. `node tests/bench/streams.mjs [N]`, with the release binary.
import fs from "node:fs";
import http2 from "node:http2";
import { Shop, makeCart, makeProduct, until } from "../flow/support/shop.mjs";
import { sse1, sse2, ws } from "../flow/support/live.mjs";
import { workers } from "../flow/support/process.mjs";

const N = Number(process.argv[2] ?? 10000), AT_ONCE = 100, CARTS = 500;

const kB = (pid) => Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"))[1]);
const cpuMs = (pid) => fs.readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ").slice(11, 13).reduce((a, b) => a + Number(b), 0) * 10;

async function all(n, open) {
  const out = [];
  while (out.length < n) out.push(...(await Promise.all(Array.from({ length: Math.min(AT_ONCE, n - out.length) }, (_, i) => open(out.length + i)))));
  return out;
}

async function measure(name, open) {
  const shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=1", "--set", `server.max_connections=${N + 100}`,
    "--set", `live.max_streams=${N}`, "--set", `live.max_per_client=${N}`, "--set", "server.queue_target_ms=0"] });
  try {
    const { variant } = await makeProduct(shop, { stock: 100000 });
    const carts = await all(CARTS, () => makeCart(shop, variant.id));
    const [{ pid }] = (await workers(shop)).filter((w) => w.name.startsWith("web"));
    const before = kB(pid);
    const streams = await all(N, (i) => open(shop, `/store/v1/carts/${carts[i % CARTS].id}/events`, i));
    await until("all have begun", () => streams.every((s) => s.events.length > 0), 60_000);
    const after = kB(pid), cpu = cpuMs(pid);
    await new Promise((go) => setTimeout(go, 10_000));
    const idle = (cpuMs(pid) - cpu) / 100;
    const begun = process.hrtime.bigint();
    await shop.store("POST", `/carts/${carts[0].id}/lines`, { body: { variant_id: variant.id, quantity: 1 } });
    await until("those of one cart are told", () => streams.filter((_, i) => i % CARTS === 0).every((s) => s.events.length > 1));
    console.log(`${name}: ${N} streams of ${CARTS} carts: ${((after - before) / N).toFixed(1)} kB each, `
      + `${(after / 1024).toFixed(0)} MB in all; idle ${idle.toFixed(1)} % of a core; a change told to ${N / CARTS} in `
      + `${(Number(process.hrtime.bigint() - begun) / 1e6).toFixed(0)} ms`);
  } finally {
    await shop.stop();
  }
}

await measure("WebSocket", (shop, path) => ws(shop, path));
await measure("SSE, HTTP/1.1", (shop, path) => sse1(shop, path));
const sessions = new Map();
await measure("SSE, HTTP/2 (100 a connection)", (shop, path, i) => {
  const at = Math.floor(i / 100);
  if (!sessions.has(at)) sessions.set(at, http2.connect(shop.dev.url, { ca: shop.ca }).on("error", () => {}));
  return sse2(shop, path, { session: sessions.get(at) });
});
sessions.forEach((s) => s.destroy());

// An hour of churn in a short time: clients that come and go, in the middle of requests or without any, bad input, reloads,
// connections to MariaDB that break. Afterwards the same processes stand there with the memory, descriptors and
// connections that they had after a short while; with ASan, each ends without a leak.
//
//   CHURN_SECONDS=300 MOONTILL=build/release/moontill node --test tests/fault/churn.test.mjs
import assert from "node:assert/strict";
import fs from "node:fs";
import http2 from "node:http2";
import path from "node:path";
import tls from "node:tls";
import { after, before, it } from "node:test";
import { IS_SANITIZED, Shop, buy, makeCart, makeProduct, tempDir, until } from "../flow/support/shop.mjs";
import { assertInvariants, count, query } from "../flow/support/db.mjs";
import { control, workers } from "../flow/support/process.mjs";

const SECONDS = Number(process.env.CHURN_SECONDS ?? 12);

const MANIFEST = 'return { name = "shipping-churn", version = "1.0.0", api = 1, hooks = { "shipping.quote" } }\n';
const plugins = tempDir("plugins");
let writes = 0;

/** Another generation each time. */
function writePlugin() {
  const folder = path.join(plugins, "shipping-churn");
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, "plugin.lua"), MANIFEST);
  fs.writeFileSync(path.join(folder, "handler.lua"), `return { ["shipping.quote"] = function() return {} end } -- ${++writes}\n`);
}

let shop, variant;
before(async () => {
  writePlugin();
  shop = await Shop.start({ args: ["--no-demo", "--plugins", plugins, "--set", "server.workers=2", "--set", "vm.retire_timeout_ms=500",
    "--set", "jobs.lease_ms=2000", "--set", "cache.max_entries=200", "--set", "mysql.connections=3"] }); // caches and pools are full soon
  ({ variant } = await makeProduct(shop, { stock: 10_000_000 }));
});
after(() => shop?.stop());

const port = () => Number(new URL(shop.dev.url).port);
const raw = () => new Promise((resolve, reject) => {
  const socket = tls.connect({ port: port(), host: "127.0.0.1", ca: shop.ca, servername: "localhost", ALPNProtocols: ["http/1.1"] }, () => resolve(socket));
  socket.on("error", reject);
});

const CHURN = {
  order: async () => buy(shop, await makeCart(shop, variant.id)),
  visit: () => shop.h1("GET", "/store/v1/products?limit=24", { agent: false }),
  silence: async () => (await raw()).destroy(),
  "half a head": async () => (await raw()).end("GET / HTTP/1.1\r\nHost: x\r\nX-"),
  "nonsense": async () => (await raw()).end("\0\x16\x03\r\n\r\n"),
  "gone while it waits": async () => {
    const socket = await raw();
    socket.write(`GET /store/v1/search?q=white&x=${Math.random()} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${shop.dev.store_key}\r\n\r\n`);
    socket.destroy();
  },
  "streams that are reset": async () => {
    const session = http2.connect(shop.dev.url, { ca: shop.ca });
    session.on("error", () => {});
    for (let i = 0; i < 5; ++i) {
      const stream = session.request({ ":path": "/store/v1/products?limit=10", authorization: `Bearer ${shop.dev.store_key}` });
      stream.on("error", () => {});
      stream.close(http2.constants.NGHTTP2_CANCEL);
    }
    await new Promise((resolve) => session.close(resolve));
  },
  "bad input": () => shop.store("POST", "/carts", { body: "{" }),
  "a body that nobody wants": () => shop.store("POST", "/carts", { body: { email: "x".repeat(300_000) } }),
};

async function breakConnections() {
  const ids = await query(shop, "SELECT id FROM information_schema.processlist WHERE user = 'moontill' AND id <> CONNECTION_ID()");
  await query(shop, ids.map(([id]) => `KILL CONNECTION ${id};`).join("\n"), { force: true });
}

async function churn(seconds) {
  const end = Date.now() + seconds * 1000;
  const names = Object.keys(CHURN);
  let done = 0, reloads = 0;
  await Promise.all(Array.from({ length: 4 }, async (_, i) => {
    for (let n = i; Date.now() < end; ++n, ++done) await CHURN[names[n % names.length]]().catch(() => {});
  }).concat((async () => {
    for (let n = 0; Date.now() < end; ++n) {
      if (n % 4 === 3) await breakConnections();
      else {
        writePlugin();
        await shop.cli("reload");
        ++reloads;
      }
    }
  })()));
  return { done, reloads };
}

/** Once nothing is under way: {name: {pid, rss, fds}}, in bytes. */
async function standing() {
  let now;
  await until("nothing is under way", async () => {
    const text = (await shop.ops("/metrics")).text;
    const number = (name) => Number(new RegExp(`^${name} ([0-9.e+]+)$`, "m").exec(text)?.[1] ?? 0);
    now = [number("till_http_in_flight"), number("till_sql_waiting"), number("till_vm_generations"), await count(shop, "outbox", "state = 'pending'")];
    return now.join() === "0,0,3,0";
  }, 60_000).catch((error) => {
    throw new Error(`${error.message}: in flight, waiting, generations, events: ${now}`);
  });
  shop.line.close();
  return Object.fromEntries((await workers(shop)).map(({ name, pid }) => [name, {
    pid,
    rss: Number(/^VmRSS:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"))[1]) * 1024,
    fds: fs.readdirSync(`/proc/${pid}/fd`).length,
  }]));
}

it("leaves the server as it was", { timeout: (SECONDS * 3 + 120) * 1000 }, async (t) => {
  await churn(Math.max(4, SECONDS / 3)); // caches and pools fill
  const begin = await standing();
  const { done, reloads } = await churn(SECONDS);
  const end = await standing();
  for (const name of Object.keys(begin)) {
    const [was, is] = [begin[name], end[name]];
    t.diagnostic(`${name}: ${(was.rss / 2 ** 20).toFixed(1)} -> ${(is.rss / 2 ** 20).toFixed(1)} MB, ${was.fds} -> ${is.fds} descriptors`);
    assert.equal(is.pid, was.pid, `${name} is another process: it died`);
    assert.ok(is.fds <= was.fds + 4, `${name}: ${was.fds} -> ${is.fds} descriptors`);
    // A VM more or less in the heap is 3 MB. ASan keeps what was freed; there its own count at the end tells.
    if (!IS_SANITIZED) assert.ok(is.rss <= was.rss + 2 ** 23, `${name}: ${was.rss} -> ${is.rss} bytes`);
  }
  t.diagnostic(`${done} visits and ${reloads} reloads in ${SECONDS} s`);
  await assertInvariants(shop);
  assert.deepEqual((await control(shop, "status")).workers.map((w) => w.restarts), Object.keys(begin).map(() => 0));
  const exit = await shop.stop({ keep: true });
  assert.equal(exit.code, 0);
  const log = fs.readFileSync(`${shop.dir}/moontill.log`, "utf8") + shop.log;
  fs.rmSync(shop.dir, { recursive: true, force: true });
  shop = undefined;
  assert.doesNotMatch(log, /LeakSanitizer|AddressSanitizer|runtime error/);
});

// More is asked than can be done: the less important are refused, what was begun is finished, and it ends by itself.
import assert from "node:assert/strict";
import fs from "node:fs";
import http2 from "node:http2";
import https from "node:https";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { Shop, buy, makeCart, makeProduct, tempDir, until } from "./support/shop.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";
import { assertInvariants, query } from "./support/db.mjs";
import { workers } from "./support/process.mjs";

const CLIENTS = 200;
const IN_FLIGHT = 400;
const CONNECTIONS = 40;

let shop, plugins, variant, product;
before(async () => {
  plugins = tempDir("plugins");
  writePlugin();
  const options = ["server.queue_target_ms=100", "server.queue_timeout_ms=2000", "server.workers=1", "mysql.connections=2", "server.request_timeout_ms=6000", `server.max_concurrency=${IN_FLIGHT}`,
    `server.max_connections=${CONNECTIONS}`, "mysql.query_timeout_ms=60000"];
  shop = await Shop.start({ args: ["--no-demo", "--plugins", plugins, ...options.flatMap((o) => ["--set", o])] });
  ({ variant, product } = await makeProduct(shop, { stock: 1000 }));
});
after(async () => {
  await shop?.stop();
  if (plugins) fs.rmSync(plugins, { recursive: true, force: true });
});

function writePlugin() {
  const folder = path.join(plugins, "probe-load");
  fs.mkdirSync(folder);
  fs.chmodSync(plugins, 0o755);
  fs.writeFileSync(path.join(folder, "plugin.lua"), `return {
  name = "probe-load", version = "1.0.0", api = 1, hooks = { "http.route" }, capabilities = { "sql" },
}
`);
  fs.writeFileSync(path.join(folder, "handler.lua"), `local sql = require "till.prim.sql"
local time = require "till.prim.time"


local function ask(text)
  return function(ctx)
    local rows, e = sql.query(text)
    if not rows then return nil, e end
    return ctx:json(200, {})
  end
end


local function wait(ctx)
  local good, e = time.sleep(60000)
  if not good then return nil, e end
  return ctx:json(200, {})
end


local function get(name, handler)
  return { method = "GET", path = "/plugins/probe-load/" .. name, auth = "none", summary = name, handler = handler }
end


return { ["http.route"] = function()
  return {
    get("short", ask("SELECT SLEEP(0.1)")),
    get("heavy", ask("SELECT /* heavy */ COUNT(*) FROM ${["a", "b", "c", "d"].map((t) => `information_schema.COLLATIONS ${t}`)}")),
    get("wait", wait),
  }
end }
`);
}

/** The sum of a metric over its series that match. */
async function metric(name, match = "") {
  const { text } = await shop.ops("/metrics");
  return text.split("\n").filter((l) => l.startsWith(name) && !l.startsWith(`${name}_`) && l.includes(match))
    .reduce((sum, l) => sum + Number(l.split(" ").pop()), 0);
}

const running = () => query(shop, "SELECT INFO FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT /* heavy%'");

/** Clients that ask and ask again until they are stopped: {stop(): {status: count}, refusals}. */
function load(target, clients) {
  const counts = {};
  const refusals = [];
  let on = true;
  const one = async () => {
    while (on) {
      const answer = await shop.h2("GET", target, { key: null });
      counts[answer.status] = (counts[answer.status] ?? 0) + 1;
      if (answer.status !== 503) continue;
      refusals.push(answer);
      await new Promise((resolve) => setTimeout(resolve, 100)); // they are less patient than they were asked to be
    }
  };
  const all = Array.from({ length: clients }, one);
  return { counts, refusals, stop: async () => { on = false; await Promise.all(all); return counts; } };
}

describe("reads that the database cannot serve", () => {
  let flood;
  before(() => { flood = load("/plugins/probe-load/short", CLIENTS); });
  after(() => flood.stop());

  it("are refused with a time to come back", async () => {
    await until("a share of the reads is refused", async () => (await metric("till_shed_total", 'class="read",why="sql"')) > 20);
    assertProblem(flood.refusals[0], 503, "overloaded");
    for (const answer of flood.refusals) assert.ok(Number(answer.headers["retry-after"]) >= 1, JSON.stringify(answer.headers));
  });

  it("do not take completions away", async () => {
    for (let i = 0; i < 5; i++) {
      const cart = await until("a cart is made", () => makeCart(shop, variant.id).catch(() => null));
      const bought = await buy(shop, cart);
      assertOk(bought, 200);
      assert.equal(bought.body.type, "order");
    }
    assert.equal(await metric("till_shed_total", 'class="checkout"'), 0);
  });

  it("do not take away what the cache answers, nor the numbers", async () => {
    for (let i = 0; i < 20; i++) assertOk(await shop.store("GET", `/products/${product.id}`), 200);
    await until("it shows", async () => (await metric("till_admission_share", 'queue="sql",class="read"')) > 0);
    assert.ok((await metric("till_sql_wait_seconds_count")) > 0);
    assert.ok((await metric("till_http_in_flight")) <= IN_FLIGHT);
  });

  it("are served again when there are fewer, without hands", async () => {
    const counts = await flood.stop();
    assert.ok(counts[200] > 0);
    assert.deepEqual(Object.keys(counts).sort(), ["200", "503"]);
    await until("nothing is refused any more", async () => (await metric("till_admission_share")) === 0);
    const before = await metric("till_shed_total");
    for (let i = 0; i < 10; i++) assertOk(await shop.h2("GET", "/plugins/probe-load/short", { key: null }), 200);
    assert.equal(await metric("till_shed_total"), before);
    await assertInvariants(shop);
  });
});

describe("a statement that nobody waits for", () => {
  it("is ended in the database at the deadline of its request: 504", async () => {
    const asked = shop.h2("GET", "/plugins/probe-load/heavy", { key: null });
    await until("it runs", async () => (await running()).length === 1);
    assertProblem(await asked, 504, "timeout");
    await until("it is gone", async () => (await running()).length === 0, 5000);
  });

  it("is ended in the database when its client goes away", async () => {
    const session = http2.connect(shop.dev.url, { ca: shop.ca });
    session.on("error", () => {});
    const stream = session.request({ ":path": "/plugins/probe-load/heavy" });
    stream.on("error", () => {});
    await until("it runs", async () => (await running()).length === 1);
    session.destroy();
    await until("it is gone", async () => (await running()).length === 0, 5000);
    assert.ok((await metric("till_sql_kills_total")) >= 2);
  });
});

describe("more requests than may be in flight", () => {
  for (const protocol of ["h2", "h1"]) {
    it(`leave room to the more important over ${protocol}`, async () => {
      const sessions = Array.from({ length: 4 }, () => http2.connect(shop.dev.url, { ca: shop.ca }));
      const reads = IN_FLIGHT - IN_FLIGHT / 4;
      const streams = Array.from({ length: reads }, (_, i) => sessions[i % 4].request({ ":path": "/plugins/probe-load/wait" }));
      for (const stream of streams) stream.on("error", () => {});
      await until("all are in flight", async () => (await metric("till_http_in_flight")) === reads);
      const refused = await shop[protocol]("GET", "/store/v1/products");
      assertProblem(refused, 503, "overloaded");
      assert.ok(Number(refused.headers["retry-after"]) >= 1);
      assertOk(await shop[protocol]("POST", "/store/v1/carts", { body: { currency: "GBP", country: "GB" } }), 201);
      for (const session of sessions) session.destroy();
      await until("they are gone", async () => (await metric("till_http_in_flight")) === 0);
      assertOk(await shop[protocol]("GET", "/store/v1/products"), 200);
    });
  }
});

describe("more connections than may be open", () => {
  it("push out the idle ones, and the shop answers on", async () => {
    const agent = new https.Agent({ keepAlive: true });
    const sessions = [];
    for (let i = 0; i < CONNECTIONS * 2; i++) {
      const session = http2.connect(shop.dev.url, { ca: shop.ca });
      session.on("error", () => {});
      sessions.push(session);
      assertOk(await shop.h2("GET", "/store/v1/products", { session }), 200);
    }
    await until("the idle ones were closed", () => sessions.filter((s) => s.closed || s.destroyed).length >= CONNECTIONS);
    for (let i = 0; i < CONNECTIONS; i++) assertOk(await shop.h1("GET", "/store/v1/products", { agent }), 200);
    assert.ok((await metric("till_http_connections")) <= CONNECTIONS + 2, "besides those of the ops listener");
    for (const session of sessions) session.destroy();
    agent.destroy();
  });
});

describe("after all of it", () => {
  it("the same worker serves", async () => {
    for (const worker of await workers(shop)) assert.equal(worker.restarts, 0, JSON.stringify(worker));
    const cart = await makeCart(shop, variant.id);
    assertOk(await buy(shop, cart), 200);
    await assertInvariants(shop);
  });
});

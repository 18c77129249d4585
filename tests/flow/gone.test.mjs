// Clients that go away while their request waits for something: the wait is cancelled, the coroutine told so, what it
// held given back.
import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import path from "node:path";
import tls from "node:tls";
import { after, before, beforeEach, describe, it } from "node:test";
import { Shop, tempDir, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";
import { count, query, transactions } from "./support/db.mjs";
import { serverOf } from "./support/process.mjs";

const MANIFEST = `return {
  name = "gone-probe", version = "1.0.0", api = 1, hooks = { "http.route" },
  capabilities = { "sql", "redis", "http:127.0.0.1" },
}
`;

// Each wait notes how it ended.
const HANDLER = (url) => `local http = require "till.prim.http"
local lock = require "till.prim.lock"
local redis = require "till.prim.redis"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local ended = {}


local function note(what, got, e)
  ended[#ended + 1] = what .. ":" .. (got and "done" or e.code)
  if got then return { what = what } end
  return nil, e
end


local function write_and_sleep(tx)
  local got, e = tx:exec("INSERT INTO gone_probe (id) VALUES (?)", time.now_ms())
  if not got then return nil, e end
  note("written", true)
  return time.sleep(20000)
end


local function hold()
  return lock.with("gone-probe", { lease_ms = 60000 }, function()
    note("locked", true)
    return time.sleep(20000)
  end)
end


local waits = {
  sql = function() return sql.query("SELECT SLEEP(20)") end,
  point = function() return sql.one("SELECT 1 AS n") end,
  transaction = function() return sql.transaction(write_and_sleep) end,
  statement = function()
    return sql.transaction(function(tx)
      local got, e = tx:exec("INSERT INTO gone_probe (id) VALUES (?)", time.now_ms())
      if not got then return nil, e end
      note("written", true)
      return tx:query("SELECT SLEEP(20)")
    end)
  end,
  redis = function() return redis.call("GET", "gone-probe") end,
  http = function() return http.request { url = "${url}", timeout_ms = 20000 } end,
  hold = hold,
  lock = function() return lock.with("gone-probe", { wait_ms = 20000 }, function() return true end) end,
  sleep = function() return time.sleep(20000) end,
}


local function wait(ctx)
  local what = ctx.params.what
  local got, e = note(what, waits[what]())
  if not got then return nil, e end
  return ctx:json(200, got)
end


return { ["http.route"] = function()
  return {
    { method = "GET", path = "/plugins/gone-probe/ended", auth = "none", summary = "How the waits ended",
      handler = function(ctx)
        local seen = ended
        ended = {}
        return ctx:json(200, { ended = table.concat(seen, " ") })
      end },
    { method = "GET", path = "/plugins/gone-probe/wait/{what}", auth = "none", summary = "Waits", handler = wait },
  }
end }
`;

let shop, plugins, gate, background; // calls that are no request's
before(async () => {
  gate = await startGate();
  plugins = tempDir("plugins");
  const folder = path.join(plugins, "gone-probe");
  fs.mkdirSync(folder);
  fs.writeFileSync(path.join(folder, "plugin.lua"), MANIFEST);
  fs.writeFileSync(path.join(folder, "handler.lua"), HANDLER(gate.url));
  shop = await Shop.start({ args: ["--no-demo", "--plugins", plugins, "--set", "server.workers=1", "--set", "server.jobs_workers=0",
    "--set", "mysql.connections=2", "--set", "server.request_timeout_ms=30000", "--set", "server.queue_target_ms=0",
    "--set", "server.queue_timeout_ms=0"] });
  let last = 0;
  background = await until("the background calls run, and no more come", async () => {
    const before = last;
    last = (await gauges())("till_vm_calls");
    await new Promise((go) => setTimeout(go, 1100)); // it is told each second
    return last >= 2 && last === before && last;
  });
  await query(shop, "CREATE TABLE gone_probe (id BIGINT UNSIGNED NOT NULL)");
});
after(async () => {
  gate?.close();
  await shop?.stop();
  if (plugins) fs.rmSync(plugins, { recursive: true, force: true });
});
beforeEach(async () => {
  await query(shop, "DELETE FROM gone_probe");
  await takeEnded();
});

/** A provider that never answers. */
async function startGate() {
  const open = new Set();
  const server = http.createServer(() => {});
  server.on("connection", (socket) => open.add(socket) && socket.on("close", () => open.delete(socket)));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, open, close: () => (server.closeAllConnections(), server.close()) };
}

/** Asks and waits for nothing: a function that goes away. */
const LEAVE = {
  async "HTTP/1.1 by closing"(target) {
    const socket = tls.connect({ host: "127.0.0.1", port: shop.port, ca: shop.ca, servername: "localhost", ALPNProtocols: ["http/1.1"] });
    socket.on("error", () => {});
    await new Promise((resolve) => socket.on("secureConnect", resolve));
    socket.write(`GET ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    return () => socket.destroy();
  },
  async "HTTP/2 by closing"(target) {
    const session = http2.connect(shop.dev.url, { ca: shop.ca });
    session.on("error", () => {});
    session.request({ ":path": target }).on("error", () => {});
    return () => session.destroy();
  },
  async "HTTP/2 by a reset"(target) {
    const session = http2.connect(shop.dev.url, { ca: shop.ca });
    session.on("error", () => {});
    const stream = session.request({ ":path": target });
    stream.on("error", () => {});
    return () => {
      stream.close(http2.constants.NGHTTP2_CANCEL);
      stream.on("close", () => session.close());
    };
  },
};

async function gauges() {
  const { text } = await shop.ops("/metrics");
  return (name) => [...text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? ([0-9.e+]+)$`, "gm"))].reduce((sum, m) => sum + Number(m[1]), 0);
}

async function takeEnded() {
  return assertOk(await shop.h1("GET", "/plugins/gone-probe/ended", { key: null }), 200).ended;
}

const inFlight = (n) => until(`${n} requests are in flight`, async () => (await gauges())("till_http_in_flight") === n);

/** Nothing is held by anybody any more. */
async function assertWhole() {
  await until("everything was given back", async () => {
    const gauge = await gauges();
    return gauge("till_http_in_flight") === 0 && gauge("till_vm_calls") === background && gauge("till_sql_waiting") === 0 &&
      gauge("till_sql_connections_open") === gauge("till_sql_connections_idle") && gauge("till_redis_in_flight") === 0 &&
      gauge("till_outbound_in_flight") === 0;
  });
  await transactions(shop, 0);
}

const started = (mark) => until(`${mark} is reached`, async () => {
  const ended = await takeEnded();
  return ended.split(" ").includes(mark);
});
const running = (n = 1) => until("the statement runs", async () =>
  (await count(shop, "information_schema.processlist", "info LIKE 'SELECT SLEEP%'")) === n);

for (const [how, ask] of Object.entries(LEAVE)) {
  describe(`a client that leaves ${how}`, () => {
    const wait = (what) => ask(`/plugins/gone-probe/wait/${what}`);

    it("cancels its statement", async () => {
      const leave = await wait("sql");
      await running();
      leave();
      await inFlight(0);
      assert.equal(await takeEnded(), "sql:cancelled");
      await assertWhole();
    });

    it("gives up its place in the queue for a connection, and leaves those of others alone", async () => {
      const first = shop.h1("GET", "/plugins/gone-probe/wait/sql", { key: null, agent: false });
      const second = shop.h1("GET", "/plugins/gone-probe/wait/sql", { key: null, agent: false });
      await running(2);
      const leave = await wait("point");
      await inFlight(3);
      const stays = shop.h1("GET", "/plugins/gone-probe/wait/point", { key: null, agent: false });
      await inFlight(4); // it waits behind
      leave();
      await inFlight(3);
      assert.equal(await takeEnded(), "point:cancelled");
      await query(shop, "SELECT CONCAT('KILL QUERY ', id) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%'")
        .then((rows) => query(shop, rows.map(([kill]) => kill).join(";")));
      assert.equal((await stays).status, 200);
      for (const answer of await Promise.all([first, second])) assert.equal(answer.status, 504, answer.text); // their statement was killed
      await assertWhole();
    });

    it("rolls its transaction back while it sleeps", async () => {
      const leave = await wait("transaction");
      await started("written:done");
      await transactions(shop, 1);
      leave();
      await inFlight(0);
      assert.equal(await takeEnded(), "transaction:cancelled");
      await assertWhole();
      assert.equal(await count(shop, "gone_probe"), 0);
    });

    it("rolls its transaction back in the middle of a statement", async () => {
      const leave = await wait("statement");
      await started("written:done");
      await running();
      leave();
      await inFlight(0);
      assert.equal(await takeEnded(), "statement:cancelled");
      await assertWhole();
      assert.equal(await count(shop, "gone_probe"), 0);
    });

    it("cancels its word to Redis, whose answer nobody else gets", async () => {
      const redis = serverOf(shop, "redis-server");
      process.kill(redis, "SIGSTOP");
      try {
        const leave = await wait("redis");
        await inFlight(1);
        leave();
        await inFlight(0);
      } finally {
        process.kill(redis, "SIGCONT");
      }
      assert.equal(await takeEnded(), "redis:cancelled");
      await assertWhole();
    });

    it("cancels its request to a provider, and hangs up there", async () => {
      const leave = await wait("http");
      await until("the provider was asked", () => gate.open.size === 1);
      leave();
      await until("the provider is left", () => gate.open.size === 0);
      await inFlight(0);
      assert.equal(await takeEnded(), "http:cancelled");
      await assertWhole();
    });

    it("releases its lock, and stops waiting for one", async () => {
      const release = await wait("hold");
      await started("locked:done");
      const leave = await wait("lock");
      await inFlight(2);
      leave();
      await inFlight(1);
      assert.equal(await takeEnded(), "lock:cancelled");
      const next = shop.h1("GET", "/plugins/gone-probe/wait/lock", { key: null, agent: false });
      await inFlight(2);
      release();
      assert.equal((await next).status, 200);
      assert.equal(await takeEnded(), "hold:cancelled lock:done");
      await assertWhole();
    });

    it("wakes its sleep", async () => {
      const leave = await wait("sleep");
      await inFlight(1);
      leave();
      await inFlight(0);
      assert.equal(await takeEnded(), "sleep:cancelled");
      await assertWhole();
    });
  });
}

describe("afterwards", () => {
  it("the gone are counted, and nobody was hung up on", async () => {
    const gauge = await gauges();
    assert.equal(gauge("till_http_client_gone_total"), 9 * Object.keys(LEAVE).length);
    assert.equal(gauge("till_http_hostile_total"), 0);
  });
});

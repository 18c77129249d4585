// The terms on which a plugin runs: its budget ends what it waits for and takes back what it holds, also when whoever
// asked has gone; and its capabilities are all that it can reach.
import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { Shop, tempDir, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";
import { query, transactions } from "./support/db.mjs";

const MANIFEST = (port) => `return {
  name = "probe-terms", version = "1.0.0", api = 1, hooks = { "webhook.receive", "http.route" },
  capabilities = { "http:127.0.0.1:${port}", "http:config.urls", "sql:terms_probe", "redis", "secrets:TERMS_SECRET" },
  config = {
    urls = { type = "array", of = "string", default = {} },
    key = { type = "secret" },
  },
}
`;

const HANDLER = `local co = require "till.prim.co"
local conf = require "till.prim.conf"
local http = require "till.prim.http"
local json = require "till.prim.json"
local lock = require "till.prim.lock"
local redis = require "till.prim.redis"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local ended = {}


local function note(what, got, e)
  ended[#ended + 1] = what .. ":" .. (got and "done" or e.code)
  if not got then return nil, e end
  return { status = 200 }
end


local acts = {}


function acts.transaction()
  return note("transaction", sql.transaction(function(tx)
    local done, e = tx:exec("INSERT INTO terms_probe (id) VALUES (?)", time.now_ms())
    if not done then return nil, e end
    note("written", true)
    return time.sleep(60000)
  end))
end


function acts.lock()
  return note("lock", lock.with("mine", { lease_ms = 60000 }, function()
    note("locked", true)
    return time.sleep(60000)
  end))
end


function acts.lock_again()
  return note("lock_again", lock.with("mine", { lease_ms = 1000, wait_ms = 1000 }, function() return true end))
end


-- It takes no no for an answer.
function acts.stubborn()
  local tries = 0
  while true do
    local slept = time.sleep(50)
    if not slept then
      tries = tries + 1
      if tries == 1 then note("stubborn", true) end
    end
  end
end


function acts.spawned()
  co.spawn(function() note("spawned", time.sleep(20)) end)
  return { status = 200 }
end


function acts.http(event)
  local got, e = http.request { url = event.url, timeout_ms = 2000 }
  if not got then return note("http", nil, e) end
  note("http " .. got.status, true)
  return { status = 200 }
end


function acts.sql(event) return note("sql", sql.query(event.text)) end


function acts.redis(event)
  local set, e = redis.call("SET", "key", event.value, "PX", 5000)
  if not set then return note("redis", nil, e) end
  return note("redis " .. tostring(redis.call("GET", "key")), true)
end


function acts.secret(event, config)
  local text, e = conf.secret(event.name == "own" and config.key or { ["$env"] = event.name })
  if not text then return note("secret", nil, e) end
  return note("secret " .. #text, true)
end


return {
  ["webhook.receive"] = function(config, hook)
    local event = json.decode(hook.body)
    return acts[event.act](event, config)
  end,
  ["http.route"] = function()
    return { { method = "GET", path = "/plugins/probe-terms/ended", auth = "none", summary = "How it went",
      handler = function(ctx)
        local seen = ended
        ended = {}
        return ctx:json(200, { ended = table.concat(seen, " ") })
      end } }
  end,
}
`;

let shop, plugins, provider, other, asked;
before(async () => {
  asked = [];
  provider = await serve((request, answer) => {
    asked.push(request.url);
    if (request.url === "/elsewhere") answer.writeHead(302, { location: `http://127.0.0.1:${other.address().port}/there` });
    answer.end("{}");
  });
  other = await serve((request, answer) => {
    asked.push(`other ${request.url}`);
    answer.end("{}");
  });
  plugins = tempDir("terms");
  fs.chmodSync(plugins, 0o755);
  fs.mkdirSync(path.join(plugins, "probe-terms"));
  fs.writeFileSync(path.join(plugins, "probe-terms/plugin.lua"), MANIFEST(provider.address().port));
  fs.writeFileSync(path.join(plugins, "probe-terms/handler.lua"), HANDLER);
  const conf = path.join(plugins, "moontill.lua");
  fs.writeFileSync(conf, `return { server = { workers = 1, jobs_workers = 0 }, mysql = { connections = 2 }, plugins = { ["probe-terms"] = {
    urls = { "http://localhost:${other.address().port}/x" }, key = env("TERMS_OWN") } } }\n`);
  shop = await Shop.start({ args: ["--no-demo", "--conf", conf, "--plugins", plugins],
    env: { TERMS_OWN: "four", TERMS_SECRET: "secret", TERMS_OTHER: "x" } });
  await query(shop, "CREATE TABLE terms_probe (id BIGINT UNSIGNED NOT NULL)");
});
after(async () => {
  await shop?.stop();
  for (const server of [provider, other]) server?.close();
  if (plugins) fs.rmSync(plugins, { recursive: true, force: true });
});

async function serve(handler) {
  const server = http.createServer(handler);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

const tell = (event, options) => shop.h2("POST", "/hooks/v1/probe-terms", { key: null, body: event, ...options });
const ended = async () => assertOk(await shop.h2("GET", "/plugins/probe-terms/ended", { key: null }), 200).ended;
beforeEach(async () => {
  await ended();
  asked.length = 0;
});

/** Until it says all of `expected`. */
async function endsWith(expected) {
  let seen = "";
  await until(`it ends with ${expected}`, async () => (seen += ` ${await ended()}`).includes(expected));
  return seen.trim();
}

async function metric(name) {
  const { text } = await shop.ops("/metrics");
  return [...text.matchAll(new RegExp(`^${name}\\{[^}]*probe-terms[^}]*\\} ([0-9.e+]+)$`, "gm"))].reduce((sum, m) => sum + Number(m[1]), 0);
}

describe("the budget of a hook", () => {
  for (const what of ["transaction", "lock"]) {
    it(`ends a ${what} that waits for longer, and takes back what it held`, async () => {
      const before = await metric("till_hook_overruns_total");
      const answer = await tell({ act: what });
      assert.equal(answer.status, 504, answer.text);
      await endsWith(`${what}:timeout`);
      await transactions(shop, 0);
      assert.deepEqual(await query(shop, "SELECT id FROM terms_probe"), []);
      assert.equal(await metric("till_hook_overruns_total"), before + 1);
      assert.equal((await tell({ act: "lock_again" })).status, 200);
    });
  }

  it("ends one that takes no no for an answer", async () => {
    const calls = async () => Number(/^till_vm_calls(?:\{[^}]*\})? (\d+)/m.exec((await shop.ops("/metrics")).text)[1]);
    const idle = await calls();
    assert.equal((await tell({ act: "stubborn" })).status, 500);
    await endsWith("stubborn:done");
    await until("its call is gone", async () => (await calls()) <= idle);
  });

  it("does not end what nobody waits for before its own time", async () => {
    assert.equal((await tell({ act: "spawned" })).status, 200);
    await endsWith("spawned:done");
  });
});

describe("a client that goes", () => {
  it("takes the transaction of the plugin with it", async () => {
    const request = http2Request({ act: "transaction" });
    await endsWith("written:done");
    request.close();
    await endsWith("transaction:cancelled");
    await transactions(shop, 0);
  });

  function http2Request(event) {
    const body = JSON.stringify(event);
    const stream = shop.line.session.request({ ":method": "POST", ":path": "/hooks/v1/probe-terms",
      "content-type": "application/json", "content-length": Buffer.byteLength(body) });
    stream.on("error", () => {});
    stream.end(body);
    return stream;
  }
});

describe("the capabilities of a plugin", () => {
  it("let it ask the hosts that it declared, and that its options name", async () => {
    await tell({ act: "http", url: `http://127.0.0.1:${provider.address().port}/a` });
    await tell({ act: "http", url: `http://localhost:${other.address().port}/b` });
    assert.equal(await ended(), "http 200:done http 200:done");
    assert.deepEqual(asked, ["/a", "other /b"]);
  });

  for (const [name, url] of [["another port", () => `http://127.0.0.1:${other.address().port}/`],
    ["another host", () => "http://127.0.0.2/"], ["the host behind a user", () => `http://127.0.0.1:${provider.address().port}@127.0.0.1:${other.address().port}/`],
    ["a file", () => "file:///etc/passwd"]]) {
    it(`keep it from ${name}`, async () => {
      assert.equal((await tell({ act: "http", url: url() })).status, 403);
      assert.equal(await ended(), "http:forbidden");
      assert.deepEqual(asked, []);
    });
  }

  it("keep it from where a redirect leads", async () => {
    await tell({ act: "http", url: `http://127.0.0.1:${provider.address().port}/elsewhere` });
    assert.equal(await ended(), "http 302:done");
    assert.deepEqual(asked, ["/elsewhere"]);
  });

  it("keep it to its own tables", async () => {
    assert.equal((await tell({ act: "sql", text: "SELECT id FROM terms_probe" })).status, 200);
    assert.equal((await tell({ act: "sql", text: "SELECT id FROM staff" })).status, 403);
    assert.equal(await ended(), "sql:done sql:forbidden");
  });

  it("keep it to its own keys", async () => {
    assert.equal((await tell({ act: "redis", value: "v" })).status, 200);
    assert.equal(await ended(), "redis v:done");
  });

  it("keep it to the secrets that are its own or named", async () => {
    for (const name of ["own", "TERMS_SECRET", "TERMS_OTHER"]) await tell({ act: "secret", name });
    assert.equal(await ended(), "secret 4:done secret 6:done secret:forbidden");
  });

  it("are told of once in the log", async () => {
    await until("it is there", () => fs.readFileSync(path.join(shop.dir, "moontill.log"), "utf8").includes("plugin.forbidden"));
    const lines = fs.readFileSync(path.join(shop.dir, "moontill.log"), "utf8").split("\n").filter((l) => l.includes("plugin.forbidden") && l.includes("127.0.0.2"));
    assert.equal(lines.length, 1);
    assert.match(lines[0], /put \\"http:127\.0\.0\.2\\" into `capabilities` of plugins\/probe-terms\/plugin\.lua/);
  });
});

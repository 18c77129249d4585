// An answer never carries what belongs to another request: many clients ask for different things, and connections are
// cut at random: theirs, the database's, Redis's. Every body that arrives is compared with what it must be.
import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import net from "node:net";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { Shop, makeProduct, tempDir, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";
import { queryAsOwner, transactions, value } from "./support/db.mjs";

const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);
const RUN_MS = 8000;
const CLIENTS = 12; // of each protocol

let state = SEED;
/** 0 to n - 1; the same for the same seed. */
function random(n) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * n);
}

const MANIFEST = `return {
  name = "mix-probe", version = "1.0.0", api = 1, hooks = { "http.route" },
  capabilities = { "sql", "redis", "http:127.0.0.1" },
}
`;

// Each brings the word back by another way, and waits on it.
const HANDLER = (url) => `local http = require "till.prim.http"
local redis = require "till.prim.redis"
local sql = require "till.prim.sql"
local time = require "till.prim.time"


local function from_tx(word)
  return sql.transaction(function(tx)
    local done, e = tx:exec("INSERT INTO mix_probe (word) VALUES (?)", word)
    if not done then return nil, e end
    local row
    row, e = tx:one("SELECT word, SLEEP(0.005) AS n FROM mix_probe WHERE id = ?", done.insert_id)
    return row and row.word, e
  end)
end


local ways = {
  sql = function(word)
    local row, e = sql.one("SELECT ? AS word, SLEEP(0.01) AS n", word)
    return row and row.word, e
  end,
  text = function(word)
    local rows, e = sql.query("SELECT '" .. word .. "' AS word UNION SELECT SLEEP(0.005)")
    return rows and rows[1].word, e
  end,
  tx = from_tx,
  redis = function(word) return redis.call("ECHO", word) end,
  kept = function(word)
    local done, e = redis.call("SET", "mix:" .. word, word, "EX", 60)
    if not done then return nil, e end
    return redis.call("GET", "mix:" .. word)
  end,
  http = function(word)
    local got, e = http.request { url = "${url}/" .. word, timeout_ms = 4000 }
    return got and got.body, e
  end,
  sleep = function(word)
    local done, e = time.sleep(5)
    return done and word, e
  end,
}


local function bring(ctx)
  local word, e = ways[ctx.params.way](ctx.params.word)
  if not word then return nil, e end
  return ctx:json(200, { word = word })
end


return { ["http.route"] = function()
  return { { method = "GET", path = "/plugins/mix-probe/{way}/{word}", auth = "none", summary = "Brings a word", handler = bring } }
end }
`;
const WAYS = ["sql", "text", "tx", "redis", "kept", "http", "sleep"];

let shop, plugins, provider, background; // calls that are no request's
const products = [];
before(async () => {
  provider = http.createServer((request, answer) => setTimeout(() => answer.end(request.url.slice(1)), random(10)));
  await new Promise((resolve) => provider.listen(0, "127.0.0.1", resolve));
  plugins = tempDir("plugins");
  const folder = path.join(plugins, "mix-probe");
  fs.mkdirSync(folder);
  fs.writeFileSync(path.join(folder, "plugin.lua"), MANIFEST);
  fs.writeFileSync(path.join(folder, "handler.lua"), HANDLER(`http://127.0.0.1:${provider.address().port}`));
  shop = await Shop.start({ args: ["--no-demo", "--plugins", plugins, "--set", "server.workers=2", "--set", "server.jobs_workers=0",
    "--set", "mysql.connections=3", "--set", "cache.ttl_ms=20"] });
  await queryAsOwner(shop, "CREATE TABLE mix_probe (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, word VARCHAR(64) NOT NULL)");
  for (let i = 0; i < 8; i++) products.push((await makeProduct(shop)).product);
  background = await until("each worker runs the calls that are its own", async () => {
    const before = background;
    background = (await gauges())("till_vm_calls");
    await new Promise((go) => setTimeout(go, 1100)); // it is told each second
    return background >= 4 && background === before && background;
  });
});
after(async () => {
  provider?.closeAllConnections();
  provider?.close();
  await shop?.stop();
  if (plugins) fs.rmSync(plugins, { recursive: true, force: true });
});

async function gauges() {
  const { text } = await shop.ops("/metrics");
  return (name) => [...text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? ([0-9.e+]+)$`, "gm"))].reduce((sum, m) => sum + Number(m[1]), 0);
}

let words = 0;
/** A question, and a look at the answer: does it belong to it? */
function question(cart) {
  const kind = random(10);
  if (kind === 0) {
    const product = products[random(products.length)];
    return { target: `/store/v1/products/${product.id}`, fits: (body) => body.product.id === product.id && body.product.title === product.title };
  }
  if (kind === 1) return { target: `/store/v1/carts/${cart.id}`, fits: (body) => body.cart.id === cart.id };
  const word = `w${++words}x${random(1e9)}`;
  return { target: `/plugins/mix-probe/${WAYS[random(WAYS.length)]}/${word}`, fits: (body) => body.word === word };
}

const seen = { good: 0, refused: 0, cut: 0, codes: {} };

function compare({ target, fits }, status, text) {
  const body = JSON.parse(text);
  if (status === 200) {
    assert.ok(fits(body), `seed ${SEED}: ${target} was answered ${text}`);
    seen.good++;
  } else {
    assert.equal(body.instance, target, `seed ${SEED}: ${text}`);
    assert.equal(status, body.status);
    assert.ok([503, 504].includes(status), `seed ${SEED}: ${target}: ${text}`); // what was cut in the house
    seen.refused++;
    seen.codes[body.code] = (seen.codes[body.code] ?? 0) + 1;
  }
}

/** One client: asks until the end, several at once over HTTP/2, and is cut now and then. */
class Client {
  constructor(isH2, cart) {
    this.isH2 = isH2;
    this.cart = cart;
    this.headers = { authorization: `Bearer ${shop.dev.store_key}` };
  }

  cut() {
    this.session?.destroy();
    this.agent?.destroy(); // its sockets, with what is on them
    for (const request of this.requests ?? []) request.destroy();
  }

  ask(target) {
    return this.isH2 ? this.#askH2(target) : this.#askH1(target);
  }

  #askH2(target) {
    if (!this.session || this.session.destroyed || this.session.closed) {
      this.session = http2.connect(shop.dev.url, { ca: shop.ca });
      this.session.on("error", () => {});
    }
    return new Promise((resolve) => {
      const stream = this.session.request({ ":path": target, ...this.headers });
      let status, text = "", ended = false;
      stream.setEncoding("utf8");
      stream.on("response", (got) => (status = got[":status"]));
      stream.on("data", (piece) => (text += piece));
      stream.on("end", () => (ended = true));
      stream.on("error", () => {});
      stream.on("close", () => resolve(ended && stream.rstCode === 0 && status ? { status, text } : undefined));
    });
  }

  #askH1(target) {
    this.requests ??= new Set();
    this.agent ??= new https.Agent({ keepAlive: true, maxSockets: 1 });
    return new Promise((resolve) => {
      const request = https.request(shop.dev.url + target, { ca: shop.ca, agent: this.agent, headers: this.headers, ALPNProtocols: ["http/1.1"] });
      this.requests.add(request);
      request.on("response", (answer) => {
        let text = "";
        answer.setEncoding("utf8");
        answer.on("data", (piece) => (text += piece));
        answer.on("close", () => resolve(answer.complete ? { status: answer.statusCode, text } : undefined));
        answer.on("error", () => {});
      });
      request.on("error", () => resolve(undefined));
      request.on("close", () => this.requests.delete(request) && resolve(undefined));
      request.end();
    });
  }

  async run(until) {
    const line = async () => {
      while (Date.now() < until) {
        const asked = question(this.cart);
        const answer = await this.ask(asked.target);
        if (answer) compare(asked, answer.status, answer.text);
        else seen.cut++;
      }
    };
    await Promise.all(Array.from({ length: this.isH2 ? 4 : 1 }, line));
    this.cut();
  }
}

async function killInDatabase() {
  const rows = await queryAsOwner(shop, "SELECT id FROM information_schema.processlist WHERE user = 'moontill'");
  if (rows.length === 0) return 0;
  await queryAsOwner(shop, `KILL ${rows[random(rows.length)][0]}`).catch(() => {}); // it may have gone by itself
  return 1;
}

function killInRedis() {
  return new Promise((resolve) => {
    const socket = net.connect(shop.dev.redis_socket, () => socket.write("CLIENT KILL TYPE normal SKIPME yes\r\n"));
    socket.on("data", (text) => {
      socket.destroy();
      resolve(Number(String(text).slice(1)));
    });
    socket.on("error", () => resolve(0));
  });
}

async function cutAtRandom(clients, until) {
  const kills = { database: 0, redis: 0, clients: 0 };
  while (Date.now() < until) {
    await new Promise((go) => setTimeout(go, 20 + random(60)));
    const what = random(4);
    if (what === 0) kills.database += await killInDatabase();
    else if (what === 1) kills.redis += await killInRedis();
    else {
      clients[random(clients.length)].cut();
      kills.clients++;
    }
  }
  return kills;
}

describe(`connections cut at random (SEED=${SEED})`, () => {
  it("never lead to an answer of another request's", async () => {
    const clients = [];
    for (let i = 0; i < 2 * CLIENTS; i++) {
      const { cart } = assertOk(await shop.store("POST", "/carts", { body: { currency: "GBP", country: "GB" } }), 201);
      clients.push(new Client(i % 2 === 0, cart));
    }
    const end = Date.now() + RUN_MS;
    const [kills] = await Promise.all([cutAtRandom(clients, end), ...clients.map((client) => client.run(end))]);
    console.log(`# seed ${SEED}: ${JSON.stringify(seen)}, cut ${JSON.stringify(kills)}`);
    assert.ok(seen.good > 500, "most were answered");
    for (const [what, n] of Object.entries(kills)) assert.ok(n > 3, `${what} were cut`);
  });

  it("and afterwards nothing is held by anybody", async () => {
    const idle = { till_http_in_flight: 0, till_sql_waiting: 0, till_redis_in_flight: 0, till_outbound_in_flight: 0, till_vm_calls: background };
    let now;
    await until("the pools are whole", async () => {
      const gauge = await gauges();
      now = Object.fromEntries(Object.keys(idle).map((name) => [name, gauge(name)]));
      now.leased = gauge("till_sql_connections_open") - gauge("till_sql_connections_idle");
      return Object.entries(idle).every(([name, n]) => now[name] === n) && now.leased === 0;
    }).catch((error) => assert.fail(`${error.message}: ${JSON.stringify(now)}, not ${JSON.stringify(idle)}`));
    await transactions(shop, 0);
    assert.equal(await value(shop, "SELECT COUNT(*) - COUNT(DISTINCT word) FROM mix_probe"), "0", "what was written was written once");
    for (const way of WAYS) {
      const answer = await shop.h2("GET", `/plugins/mix-probe/${way}/after-${way}`, { key: null });
      assert.deepEqual(assertOk(answer, 200), { word: `after-${way}` });
    }
  });
});

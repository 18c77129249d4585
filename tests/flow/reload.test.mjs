// New code goes live in a running shop, and what does not load does not.
import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { Shop, buy, makeCart, makeProduct, tempDir, until } from "./support/shop.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";
import { assertInvariants } from "./support/db.mjs";
import { control, workers } from "./support/process.mjs";

let shop, plugins, gate;
before(async () => {
  gate = await startGate();
  plugins = tempDir("plugins");
  write("one");
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=2", "--plugins", plugins] });
});
after(async () => {
  gate?.close();
  await shop?.stop();
  if (plugins) fs.rmSync(plugins, { recursive: true, force: true });
});

/** Answers nobody until it is told to: a request that waits for it has begun. */
async function startGate() {
  const waiting = [];
  const server = http.createServer((_request, answer) => waiting.push(() => answer.end("{}")));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    waiting,
    open: () => waiting.splice(0).forEach((go) => go()),
    close: () => server.closeAllConnections?.() ?? server.close(),
  };
}

const MANIFEST = `return {
  name = "probe-routes", version = "1.0.0", api = 1, hooks = { "http.route" },
  capabilities = { "http:127.0.0.1" },
}
`;

const handler = (word) => `local http = require "till.prim.http"

local WORD = "${word}"


local function slow(ctx)
  local before = WORD
  local got, e = http.request { url = "${gate.url}", timeout_ms = 9000 }
  if not got then return nil, e end
  return ctx:json(200, { before = before, after = WORD })
end


return { ["http.route"] = function()
  return {
    { method = "GET", path = "/plugins/probe-routes/word", auth = "none", summary = "The word",
      handler = function(ctx) return ctx:json(200, { word = WORD }) end },
    { method = "GET", path = "/plugins/probe-routes/slow", auth = "none", summary = "It takes a while",
      handler = slow },
  }
end }
`;

function write(word, { manifest = MANIFEST, source = handler(word) } = {}) {
  const folder = path.join(plugins, "probe-routes");
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, "plugin.lua"), manifest);
  fs.writeFileSync(path.join(folder, "handler.lua"), source);
}

const reload = () => shop.cli("reload");
const ask = (target, options = {}) => shop.h1("GET", `/plugins/probe-routes/${target}`, { key: null, agent: false, ...options });

/** What the word is, over connections that reach every worker. */
async function words() {
  const answers = await Promise.all(Array.from({ length: 16 }, () => ask("word")));
  return [...new Set(answers.map((a) => assertOk(a, 200).word))];
}

describe("a reload", () => {
  it("makes new code live in every worker", async () => {
    assert.deepEqual(await words(), ["one"]);
    write("two");
    assert.deepEqual(await words(), ["one"], "nothing changes before it is told to");
    const done = await reload();
    assert.equal(done.code, 0, done.stderr);
    assert.deepEqual(await words(), ["two"], "and everything when it says that it is done");
  });

  it("of what is there already changes nothing", async () => {
    const seen = (await control(shop, "generations")).live.name;
    const done = await reload();
    assert.equal(done.code, 0, done.stderr);
    assert.equal((await control(shop, "generations")).live.name, seen);
  });

  it("lets a request end on the code on which it began", async () => {
    write("old");
    assert.equal((await reload()).code, 0);
    const slow = [ask("slow"), shop.h2("GET", "/plugins/probe-routes/slow", { key: null })];
    await until("they have begun", () => gate.waiting.length === 2);
    write("new");
    assert.equal((await reload()).code, 0);
    assert.deepEqual(await words(), ["new"]);
    gate.open();
    for (const answer of await Promise.all(slow)) assert.deepEqual(assertOk(answer, 200), { before: "old", after: "old" });
  });

  it("is shown in /openapi.json, and can be taken back", async () => {
    write("three", { source: handler("three").replaceAll("probe-routes/word", "probe-routes/verb") });
    assert.equal((await reload()).code, 0);
    assert.ok((await shop.h2("GET", "/openapi.json", { key: null })).body.paths["/plugins/probe-routes/verb"]);
    assertProblem(await ask("word"), 404, "not_found");
    const back = await shop.cli("rollback");
    assert.equal(back.code, 0, back.stderr);
    assert.deepEqual(await words(), ["new"]);
    const shown = await shop.cli("generations");
    assert.equal(shown.code, 0, shown.stderr);
    assert.match(shown.stdout, new RegExp((await control(shop, "generations")).live.name.slice(0, 8)));
  });
});

describe("what does not load", () => {
  const broken = {
    "a syntax error": () => [{ source: handler("x").replace("local WORD =", "local WORD == ") }, /plugins\/probe-routes\/handler\.lua:3\b/],
    "an error while it loads": () => [{ source: `error("no thanks")\n${handler("x")}` }, /plugins\/probe-routes\/handler\.lua:1: no thanks/],
    "a hook that is not there": () => [{ manifest: MANIFEST.replace('"http.route"', '"http.route", "job.run"') },
      /plugins\/probe-routes\/handler\.lua.*job\.run/],
    "a hook that was not declared": () => [{ source: `${handler("x").replace(/return \{ \["http/, 'return { ["job.run"] = type, ["http')}` },
      /plugins\/probe-routes\/handler\.lua.*job\.run/],
    "a hook that nobody knows": () => [{ manifest: MANIFEST.replace("http.route", "http.routs") }, /plugins\/probe-routes\/plugin\.lua:2.*http\.route/],
    "a manifest that is no table": () => [{ manifest: "return {" }, /plugins\/probe-routes\/plugin\.lua:\d+/],
    "a manifest that would be run": () => [{ manifest: MANIFEST.replace('"1.0.0"', 'os.getenv("HOME")') }, /plugins\/probe-routes\/plugin\.lua:2/],
    "another name": () => [{ manifest: MANIFEST.replace("probe-routes", "probe-other") }, /plugins\/probe-routes\/plugin\.lua:2.*probe-other/],
    "a route outside of its place": () => [{ source: handler("x").replace("/plugins/probe-routes/word", "/store/v1/products") },
      /plugins\/probe-routes\/handler\.lua: route 1/],
    "a global that is not there": () => [{ source: `local f = io.open\n${handler("x")}` }, /plugins\/probe-routes\/handler\.lua:1:.*io/],
    "a global of its own": () => [{ source: `counter = 0\n${handler("x")}` }, /plugins\/probe-routes\/handler\.lua:1:/],
    "a loop that never ends": () => [{ source: `while true do end\n${handler("x")}` }, /plugins\/probe-routes\/handler\.lua:1/],
    "a module that is not for plugins": () => [{ source: `local sql = require "till.prim.sql"\n${handler("x")}` }, /plugins\/probe-routes\/handler\.lua:1/],
    "broken UTF-8": () => [{ source: Buffer.concat([Buffer.from(handler("x")), Buffer.from([0x2d, 0x2d, 0xff, 0x0a])]) }, /probe-routes\/handler\.lua.*UTF-8/],
  };
  for (const [name, make] of Object.entries(broken)) {
    it(`(${name}) is refused with file, line and reason, and the shop goes on`, async () => {
      write("good");
      assert.equal((await reload()).code, 0);
      const seen = (await control(shop, "generations")).live.name;
      const [files, expected] = make();
      write("bad", files);
      const refused = await reload();
      assert.equal(refused.code, 1, refused.stdout + refused.stderr);
      assert.match(refused.stdout + refused.stderr, expected);
      assert.equal((await control(shop, "generations")).live.name, seen);
      assert.deepEqual(await words(), ["good"]);
    });
  }

  it("does not keep the next good one from loading", async () => {
    write("fine again");
    assert.equal((await reload()).code, 0);
    assert.deepEqual(await words(), ["fine again"]);
  });
});

describe("twenty reloads under load", () => {
  it("fail no request on either protocol, and no order", async () => {
    const { variant } = await makeProduct(shop, { stock: 10000 });
    const pids = (await workers(shop)).map((w) => w.pid);
    const failures = [];
    let done = false, asked = 0, orders = 0;
    const work = async (fn) => {
      while (!done) {
        try {
          const answer = await fn();
          if (answer.status >= 400) failures.push(`${answer.status} ${answer.text}`);
        } catch (error) {
          failures.push(String(error));
        }
        ++asked;
      }
    };
    const session = http2.connect(shop.dev.url, { ca: shop.ca });
    const load = [
      work(() => shop.h2("GET", "/store/v1/products?limit=5", { session })),
      work(() => shop.h2("GET", "/plugins/probe-routes/word", { key: null, session })),
      work(() => ask("word")),
      work(() => shop.h1("GET", `/store/v1/products?limit=5`, { agent: false })),
      work(async () => {
        const answer = await buy(shop, await makeCart(shop, variant.id));
        if (answer.body.type === "order") ++orders;
        return answer.body.type === "order" ? answer : { ...answer, status: 400 };
      }),
    ];
    for (let i = 0; i < 20; ++i) {
      write(`round ${i}`);
      const answer = await reload();
      assert.equal(answer.code, 0, answer.stderr);
      assert.deepEqual(await words(), [`round ${i}`]);
    }
    done = true;
    await Promise.all(load);
    session.close();
    assert.deepEqual(failures, []);
    assert.ok(asked > 100 && orders > 0, `${asked} requests, ${orders} orders`);
    assert.deepEqual((await workers(shop)).map((w) => w.pid), pids, "the processes are the same");
    await assertInvariants(shop);
  });
});

describe("a price that is changed while new code comes in", () => {
  it("is what the new code shows: what it was warmed with is told of changes", async () => {
    const { product, variant } = await makeProduct(shop, { price: 1000 });
    const shown = async () => {
      const answers = await Promise.all(Array.from({ length: 16 }, () => shop.h1("GET", `/store/v1/products/${product.id}`, { agent: false })));
      return [...new Set(answers.map((a) => assertOk(a, 200).product.price.amount))];
    };
    const setPrice = async (amount) => assertOk(await shop.admin("PUT", `/variants/${variant.id}/prices`,
      { body: { prices: [{ currency: "GBP", amount }] } }), 200);
    let over = false;
    const visitors = (async () => {
      while (!over) await shown(); // the page is the one that is asked for most
    })();
    for (let i = 1; i <= 10; ++i) {
      write(`price ${i}`);
      const reloaded = reload();
      for (let cents = 0; cents < 5; ++cents) await setPrice(1000 + 10 * i + cents);
      assert.equal((await reloaded).code, 0);
      assert.deepEqual(await words(), [`price ${i}`]);
      await until("everybody shows it", async () => (await shown()).join() === String(1000 + 10 * i + 4), 1000);
    }
    over = true;
    await visitors;
  });
});

// What was begun ends on the generation that it began on; nothing of an old one is left when it has ended, or its time is up.
import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { Shop, buy, makeCart, makeProduct, tempDir, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";
import { control } from "./support/process.mjs";

let shop, plugins, gate;
before(async () => {
  gate = await startGate();
  plugins = tempDir("plugins");
  fs.mkdirSync(path.join(plugins, "probe-slow"));
  fs.writeFileSync(path.join(plugins, "probe-slow", "plugin.lua"), `return { name = "probe-slow", version = "1.0.0", api = 1,
  hooks = { "http.route", "order.placed" }, capabilities = { "http:127.0.0.1" } }\n`);
  write("zero");
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=1", "--set", "vm.retire_timeout_ms=4000", "--plugins", plugins] });
});
after(async () => {
  gate?.close();
  await shop?.stop();
  if (plugins) fs.rmSync(plugins, { recursive: true, force: true });
});

/** Keeps who asks for /wait/… until it is opened; remembers what was asked for. */
async function startGate() {
  const asked = [], waiting = [];
  const server = http.createServer((request, answer) => {
    asked.push(request.url);
    if (request.url.startsWith("/wait/")) waiting.push(() => answer.end("{}"));
    else answer.end("{}");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { asked, url: `http://127.0.0.1:${server.address().port}`, open: () => waiting.splice(0).forEach((go) => go()),
    close: () => server.closeAllConnections?.() ?? server.close() };
}

function write(word) {
  fs.writeFileSync(path.join(plugins, "probe-slow", "handler.lua"), `local http = require "till.prim.http"
local co = require "till.prim.co"
local time = require "till.prim.time"

local function ask(target)
  return http.request { url = "${gate.url}/" .. target .. "/${word}", timeout_ms = 9000 }
end

local function tick()
  while true do
    pcall(ask, "tick")
    pcall(time.sleep, 100)
  end
end

return {
  ["order.placed"] = function()
    ask("wait")
    local got, e = ask("ended")
    return got and true or nil, e
  end,
  ["http.route"] = function()
    return {
      { method = "GET", path = "/plugins/probe-slow/word", auth = "none", summary = "The word",
        handler = function(ctx) return ctx:json(200, { word = "${word}" }) end },
      { method = "GET", path = "/plugins/probe-slow/tick", auth = "none", summary = "Goes on and on",
        handler = function(ctx) co.spawn(tick) return ctx:json(200, {}) end },
    }
  end,
}
`);
}

const ask = (target) => shop.h1("GET", `/plugins/probe-slow/${target}`, { key: null, agent: false });
const state = () => control(shop, "generations");

async function live(word) {
  write(word);
  const done = await shop.cli("reload");
  assert.equal(done.code, 0, done.stderr);
  assert.equal(assertOk(await ask("word"), 200).word, word);
  return (await state()).live.name;
}

const nothingCools = () => until("nothing is left of the old ones", async () => (await state()).cooling.length === 0);
const vms = async () => Number((await shop.ops("/metrics")).text.match(/^till_vm_generations (\d+)$/m)[1]);

describe("an old generation", () => {
  it("keeps its job, and is closed when that has ended", async () => {
    const old = await live("old");
    const { variant } = await makeProduct(shop);
    await buy(shop, await makeCart(shop, variant.id));
    await until("the job has begun", () => gate.asked.includes("/wait/old"));
    await live("new");
    assert.ok((await state()).cooling.includes(old), "it cools");
    const { data } = JSON.parse((await shop.cli("generations", "--json")).stdout);
    assert.equal(data.find((g) => g.hash === old).state, "cooling");
    gate.open();
    await until("the job has ended", () => gate.asked.some((url) => url.startsWith("/ended/")));
    assert.ok(gate.asked.includes("/ended/old") && !gate.asked.includes("/ended/new"), gate.asked.join());
    await nothingCools();
    await until("each worker has one VM", async () => (await vms()) === 2);
  });

  it("that has work without end is closed when its time is up, and does no more of it", async () => {
    await live("ticks");
    assertOk(await ask("tick"), 200);
    await until("it ticks", () => gate.asked.filter((url) => url === "/tick/ticks").length > 2);
    await live("quiet");
    assert.equal((await state()).cooling.length > 0, true);
    await nothingCools();
    const seen = gate.asked.filter((url) => url === "/tick/ticks").length;
    await until("each worker has one VM", async () => (await vms()) === 2);
    for (let i = 0; i < 20; ++i) assertOk(await ask("word"), 200);
    assert.equal(gate.asked.filter((url) => url === "/tick/ticks").length, seen);
    assert.match(fs.readFileSync(path.join(shop.dir, "moontill.log"), "utf8"), /"event":"generation\.cut"/);
  });

  it("counts its requests", async () => {
    const hash = await live("counted");
    for (let i = 0; i < 30; ++i) assertOk(await ask("word"), 200);
    await live("next");
    await until("they are told of", async () => {
      const { data } = JSON.parse((await shop.cli("generations", "--json")).stdout);
      return data.find((g) => g.hash === hash).requests === 31;
    });
  });
});

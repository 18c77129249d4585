// What a reload must not take: each bad change is refused with its file, its line and the reason, no worker dies of it,
// and the code that was live answers on.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { execFileSync } from "node:child_process";
import { after, before, describe, it } from "node:test";
import { Shop, moontill, tempDir, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";
import { control, workers } from "./support/process.mjs";

const CONF = `return {
  server = { workers = 2 },
  vm = { memory_cap_mb = 64 },
  plugins = {
    ["probe-one"] = {
      percent = "10",
    },
  },
}
`;

const MANIFEST = `return {
  name = "probe-one", version = "1.0.0", api = 1, hooks = { "http.route", "promo.evaluate" },
  config = { percent = { type = "decimal", max = 100, default = "5" } },
}
`;

const HANDLER = `local handler = {}

handler["http.route"] = function()
  return { { method = "GET", path = "/plugins/probe-one/word", auth = "none", summary = "The word",
    handler = function(ctx) return ctx:json(200, { word = "good" }) end } }
end

handler["promo.evaluate"] = function() return nil end

return handler
`;

const SPEC = `local t = require "till.test"

t.plugin("probe-one", {}, function(plugin)
  t.it("has nothing to say", function() t.equal(plugin:call("promo.evaluate", t.cart {}), nil) end)
end)
`;

let shop, dir, other, pids;
const file = (name = "handler.lua", plugin = "probe-one") => path.join(dir, plugin, name);
const conf = () => path.join(dir, "moontill.lua");

function writeGood() {
  for (const name of fs.readdirSync(dir)) fs.rmSync(path.join(dir, name), { recursive: true, force: true });
  for (const name of fs.readdirSync(other)) fs.rmSync(path.join(other, name), { recursive: true, force: true });
  fs.mkdirSync(path.join(dir, "probe-one"));
  fs.writeFileSync(file("plugin.lua"), MANIFEST);
  fs.writeFileSync(file(), HANDLER);
  fs.writeFileSync(file("probe_one_spec.lua"), SPEC);
  fs.writeFileSync(conf(), CONF);
}

before(async () => {
  dir = tempDir("refused");
  other = tempDir("refused-other");
  for (const each of [dir, other]) fs.chmodSync(each, 0o755); // workers that are nobody read specs there
  writeGood();
  shop = await Shop.start({ args: ["--no-demo", "--conf", conf(), "--plugins", dir, "--plugins", other] });
  pids = (await workers(shop)).map((w) => w.pid);
});
after(async () => {
  await shop?.stop();
  for (const each of [dir, other]) if (each) fs.rmSync(each, { recursive: true, force: true });
});

const word = async () =>
  assertOk(await shop.h1("GET", "/plugins/probe-one/word", { key: null, agent: false }), 200).word;

/** What a reload says that is refused. */
async function refused() {
  const before = (await control(shop, "generations")).live.name;
  const answer = await shop.cli("reload");
  assert.equal(answer.code, 1, answer.stdout + answer.stderr);
  assert.equal((await control(shop, "generations")).live.name, before);
  for (let i = 0; i < 4; ++i) assert.equal(await word(), "good");
  assert.deepEqual((await workers(shop)).map((w) => w.pid), pids, "no worker has died of it");
  return answer.stderr;
}

const replace = (name, from, to) => {
  const before = fs.readFileSync(file(name), "utf8");
  assert.ok(before.includes(from), `${name} has no ${from}`);
  fs.writeFileSync(file(name), before.replace(from, to));
};
const prepend = (text) => fs.writeFileSync(file(), `${text}\n${HANDLER}`);
const second = (name, files) => {
  fs.mkdirSync(path.join(other, name));
  for (const [each, text] of Object.entries(files)) fs.writeFileSync(path.join(other, name, each), text);
};
const named = (name) => ({ "plugin.lua": MANIFEST.replaceAll("probe-one", name), "handler.lua": HANDLER.replaceAll("probe-one", name) });

const CASES = {
  "a syntax error": [() => replace("handler.lua", "return handler", "return return"),
    /plugins\/probe-one\/handler\.lua:10: unexpected symbol near 'return'/],
  "a missing hook function": [() => replace("handler.lua", 'handler["promo.evaluate"]', "local unused"),
    /plugins\/probe-one\/handler\.lua: hook promo\.evaluate is declared but not there: return a function/],
  "a hook that was not declared": [() => replace("plugin.lua", ', "promo.evaluate"', ""),
    /plugins\/probe-one\/handler\.lua: hook promo\.evaluate is there but not declared in plugin\.lua: put it into/],
  "an unknown hook": [() => replace("plugin.lua", "promo.evaluate", "promo.evaluat"),
    /plugins\/probe-one\/plugin\.lua:2: there is no hook promo\.evaluat; was promo\.evaluate meant\?/],
  "an unknown option": [() => fs.writeFileSync(conf(), CONF.replace("percent", "procent")),
    /moontill\.lua:6: plugins\.probe-one: config\.procent: there is no such option; was percent meant\?/],
  "an option against its schema": [() => fs.writeFileSync(conf(), CONF.replace('"10"', '"101"')),
    /moontill\.lua:6: plugins\.probe-one: config\.percent: at most 100/],
  "options of a plugin that is not there": [() => fs.writeFileSync(conf(), CONF.replace("probe-one", "probe-onne")),
    /moontill\.lua:5: plugins\.probe-onne: there is no such plugin; was probe-one meant\?/],
  "a failing spec": [() => replace("handler.lua", "return nil end", "return { {} } end"),
    /plugins\/probe-one\/probe_one_spec\.lua:4: its spec failed: probe-one > has nothing to say: got /],
  "a spec that does not parse": [() => {
    prepend("-- changed");
    fs.writeFileSync(file("probe_one_spec.lua"), "local = 1");
  }, /plugins\/probe-one\/probe_one_spec\.lua: its spec failed: .*probe_one_spec\.lua:1: .* near '='/],
  "a spec that computes for ever": [() => {
    prepend("-- changed");
    fs.writeFileSync(file("probe_one_spec.lua"), SPEC.replace("t.equal", "while true do end t.equal"));
  }, /plugins\/probe-one: specs: it computes without end/],
  "a spec that asks for a database": [() => { // there is none where it is tried
    prepend("-- changed");
    fs.writeFileSync(file("probe_one_spec.lua"), SPEC.replace("t.plugin(",
      'local sql = require "till.prim.sql"\nlocal redis = require "till.prim.redis"\n' +
      't.it("asks", function()\n  redis.call("PING")\n  assert(sql.query("SELECT 1"))\nend)\nt.plugin('));
  }, /plugins\/probe-one\/probe_one_spec\.lua:6: its spec failed: asks: .*there is no Redis in this process[^]*begin the test with t\.empty_shop\(\)/],
  "an endless loop at load": [() => prepend("while true do end"),
    /plugins\/probe-one\/handler\.lua:1: it computes without end while it loads/],
  "an endless loop that catches what ends it": [() => prepend(
    "local function spin() while true do end end\nwhile true do pcall(spin) end"),
    /plugins\/probe-one\/handler\.lua:[12]: it computes without end while it loads/],
  "an endless loop in a hook that is asked at load": [() => replace("handler.lua", "  return { { method",
    "  local n = 0\n  while true do n = n + 1 end\n  return { { method"),
    /plugins\/probe-one\/handler\.lua:5: it computes without end while it loads/],
  "a pattern that computes for years": [() => prepend(
    'local s = ("a"):rep(3000)\n\nlocal found = s:find(("a*"):rep(30) .. "b")'),
    /plugins\/probe-one\/handler\.lua:3: it computes without end, and not in Lua/],
  "a memory bomb at load": [() => prepend('local t, s = {}, ("x"):rep(1000)\nfor i = 1, 1e9 do\n  t[i] = s .. i\nend'),
    /plugins\/probe-one\/handler\.lua:3: it takes more than 64 MB of memory while it loads/],
  "a memory bomb of one text": [() => prepend('local s = ("x"):rep(1000)\n\ns = s:rep(1e6)'),
    /plugins\/probe-one\/handler\.lua:3: it takes more than 64 MB of memory while it loads/],
  "deep recursion": [() => prepend("local function deep() return 1 + deep() end\ndeep()"),
    /plugins\/probe-one\/handler\.lua:1: stack overflow/],
  "recursion through C": [() => prepend('local function deep(s) return (s:gsub(".", deep)) end\ndeep("x")'),
    /plugins\/probe-one\/handler\.lua/],
  "a text that crashes LuaJIT's parser": [() => prepend("local _ for _ in (nil):foo() do end"),
    /plugins\/probe-one\/handler\.lua: LuaJIT crashed on it/],
  "nesting beyond what parses": [() => prepend(`local x = ${"(".repeat(5000)}1${")".repeat(5000)}`),
    /plugins\/probe-one\/handler\.lua:1: chunk has too many syntax levels/],
  "a route handler that throws when it is asked": [() => replace("handler.lua", "  return { { method",
    '  error("not today")\n  return { { method'), /plugins\/probe-one\/handler\.lua:4: not today/],
  "a check that says no": [() => {
    replace("plugin.lua", '"promo.evaluate"', '"promo.evaluate", "plugin.check"');
    replace("handler.lua", "return handler\n", 'handler["plugin.check"] = function(config)\n' +
      '  return "percent and the rest do not go together: " .. config.percent\nend\n\nreturn handler\n');
  }, /moontill\.lua:5: plugins\.probe-one: percent and the rest do not go together: 10/],
  "a check that throws": [() => {
    replace("plugin.lua", '"promo.evaluate"', '"promo.evaluate", "plugin.check"');
    replace("handler.lua", "return handler\n", 'handler["plugin.check"] = function(config)\n' +
      "  return config.nothing.there\nend\n\nreturn handler\n");
  }, /plugins\/probe-one\/handler\.lua:11: attempt to index field 'nothing'/],
  "an api that is too new": [() => replace("plugin.lua", "api = 1", "api = 2"),
    /plugins\/probe-one\/plugin\.lua:2: it was written for api 2, this server has 1: take a newer server/],
  "an api that is too old": [() => replace("plugin.lua", "api = 1", "api = 0"),
    /plugins\/probe-one\/plugin\.lua:2: it was written for api 0, this server has 1: take a newer plugin/],
  "two plugins with one name": [() => second("probe-one", named("probe-one")),
    /probe-one: there is a plugin of this name in another folder already/],
  "two plugins with one route": [() => {
    second("probe-two", named("probe-two"));
    fs.writeFileSync(path.join(other, "probe-two", "handler.lua"), HANDLER);
  }, /plugins\/probe-two\/handler\.lua: route 1: the path must begin with \/plugins\/probe-two\//],
  "one route twice": [() => replace("handler.lua", "return { {", 'return { { method = "GET", path = ' +
    '"/plugins/probe-one/word", auth = "none", summary = "x", handler = function() end }, {'),
    /plugins\/probe-one\/handler\.lua.*GET \/plugins\/probe-one\/word/],
  "a manifest that runs code": [() => replace("plugin.lua", '"1.0.0"', 'os.execute("true")'),
    /plugins\/probe-one\/plugin\.lua:2: /],
  "a manifest with a function": [() => replace("plugin.lua", '"1.0.0"', "function() end"),
    /plugins\/probe-one\/plugin\.lua:2: /],
  "bytecode": [() => execFileSync("luajit", ["-b", file(), file()]),
    /probe-one\/handler\.lua: is bytecode; only source is loaded/],
  "a file that is not UTF-8": [() => fs.appendFileSync(file(), Buffer.from([0x2d, 0x2d, 0xff, 0x0a])),
    /probe-one\/handler\.lua: is not UTF-8/],
  "a NUL": [() => fs.appendFileSync(file(), "--\0\n"), /probe-one\/handler\.lua: holds a NUL byte/],
  "a symlink out of the folder": [() => {
    fs.rmSync(file());
    fs.symlinkSync("/etc/hostname", file());
  }, /probe-one\/handler\.lua: leads out of its folder or to nothing/],
  "a symlink to nothing": [() => {
    fs.rmSync(file());
    fs.symlinkSync("nothing.lua", file());
  }, /probe-one\/handler\.lua: No such file or directory/],
  "a pipe instead of a file": [() => {
    fs.rmSync(file());
    execFileSync("mkfifo", [file()]);
  }, /probe-one\/handler\.lua: is larger than 1 MB or no file/],
  "no handler at all": [() => fs.rmSync(file()), /plugins\/probe-one\/handler\.lua: it is not there/],
  "a file that was half written": [() => fs.writeFileSync(file(), HANDLER.slice(0, 150)),
    /plugins\/probe-one\/handler\.lua:4: unfinished string/],
  "an empty file": [() => fs.writeFileSync(file(), ""),
    /plugins\/probe-one\/handler\.lua: it must return a table of functions by hook/],
  "a module that was not promised": [() => prepend('local orders = require "till.store.orders"'),
    /plugins\/probe-one\/handler\.lua:1: till\.store\.orders: not for plugins/],
  "a capability that is not there": [() => prepend('local http = require "till.prim.http"'),
    /plugins\/probe-one\/handler\.lua:1: till\.prim\.http: put "http:HOST" into `capabilities` of plugins\/probe-one\/plugin\.lua/],
  "a capability that says nothing": [() => replace("plugin.lua", "api = 1", 'api = 1, capabilities = { "http" }'),
    /plugins\/probe-one\/plugin\.lua:2: say which host/],
};

describe("a reload of", () => {
  for (const [name, [change, expected]] of Object.entries(CASES)) {
    it(`${name} is refused, and the old code answers`, async () => {
      writeGood();
      change();
      assert.match(await refused(), expected);
    });
  }

  it("text that crashes LuaJIT is refused, and a rollback to it as well", async () => {
    writeGood();
    prepend("local _ for _ in (nil):foo() do end");
    assert.match(await refused(), /LuaJIT crashed on it/);
    const newest = async () => JSON.parse((await shop.cli("generations", "--limit", "1", "--json")).stdout).data[0];
    await until("it is noted", async () => (await newest()).state === "refused");
    const answer = await shop.cli("rollback", (await newest()).hash);
    assert.equal(answer.code, 1);
    assert.match(answer.stderr, /was refused when it came and has never been live/);
    assert.deepEqual((await workers(shop)).map((w) => w.pid), pids, "no worker has died of it");
  });

  it("what is good again is taken", async () => {
    writeGood();
    prepend("-- as good as before");
    const answer = await shop.cli("reload");
    assert.equal(answer.code, 0, answer.stderr);
    assert.equal(await word(), "good");
  });

  it("a plugin whose spec says more than there is room for is taken", async () => {
    writeGood();
    prepend("-- changed for a spec that talks");
    fs.writeFileSync(file("probe_one_spec.lua"), SPEC.replace("t.equal",
      'local term = require "till.prim.term"\n    for _ = 1, 100000 do term.write("blah ") end\n    t.equal'));
    const answer = await shop.cli("reload");
    assert.equal(answer.code, 0, answer.stderr);
  });

  it("several faults tells of all of them", async () => {
    writeGood();
    replace("handler.lua", "return handler", "return return");
    fs.writeFileSync(conf(), CONF.replace('"10"', '"101"'));
    second("probe-two", { ...named("probe-two"), "plugin.lua": "return {" });
    const said = await refused();
    assert.match(said, /plugins\/probe-one\/handler\.lua:10: /);
    assert.match(said, /moontill\.lua:6: plugins\.probe-one/);
    assert.match(said, /plugins\/probe-two\/plugin\.lua:1: /);
  });
});

describe("a file that is being saved", () => {
  it("is read again when it changed while it was read", async () => {
    writeGood();
    const torn = await Shop.start({ args: ["--no-demo", "--conf", conf(), "--plugins", dir, "--plugins", other],
      env: { TILL_FAULTS: "bundle.torn=0" } });
    try {
      prepend("-- whole");
      await control(torn, "fault bundle.torn=3");
      const answer = await torn.cli("reload");
      assert.equal(answer.code, 0, answer.stderr);
      assert.equal((await control(torn, "fault bundle.torn=0")).ok, true);
      prepend("-- never at rest");
      await control(torn, "fault bundle.torn=-1");
      const never = await torn.cli("reload");
      assert.equal(never.code, 1);
      assert.match(never.stderr, /changes again and again while it is read; try again when it has been saved/);
    } finally {
      await torn.stop();
    }
  });
});

describe("moontill plugin check, without a server,", () => {
  const check = (...args) => moontill(["plugin", "check", ...args, "--conf", conf(), "--plugins", dir, "--plugins", other]);

  for (const [name, [change, expected]] of Object.entries(CASES)) {
    if (name.includes("spec")) continue; // `plugin test` runs them
    it(`finds ${name}`, async () => {
      writeGood();
      change();
      const answer = await check();
      assert.equal(answer.code, 1, answer.stdout + answer.stderr);
      assert.match(answer.stdout, expected);
    });
  }

  it("finds nothing in what is good, and says so for machines", async () => {
    writeGood();
    const answer = await check("probe-one", "--json");
    assert.equal(answer.code, 0, answer.stdout + answer.stderr);
    assert.deepEqual(JSON.parse(answer.stdout), { ok: true, plugins: ["probe-one"], findings: [] });
  });

  it("finds a require that only a call would meet", async () => {
    writeGood();
    replace("handler.lua", "return nil end", 'return require "till.flow.cart" end');
    const answer = await check("probe-one", "--json");
    assert.equal(answer.code, 1);
    assert.deepEqual(JSON.parse(answer.stdout).findings.map((f) => [f.at, f.message.slice(0, 15)]),
      [["plugins/probe-one/handler.lua:8", "till.flow.cart:"]]);
  });

  it("cannot read what nobody may read", async () => {
    writeGood();
    fs.chmodSync(file(), 0);
    const as = process.getuid() === 0 ? { uid: 65534, gid: 65534 } : {};
    const answer = await moontill(["plugin", "check", "--conf", conf(), "--plugins", dir], as);
    assert.equal(answer.code, 1, answer.stdout + answer.stderr);
    assert.match(answer.stdout, /probe-one\/handler\.lua: Permission denied/);
  });
});

// Generations in the database: their list and history, going back, the same through the admin API.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { Shop, idem, newKey, tempDir, until } from "./support/shop.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";
import { query, queryAsOwner, value } from "./support/db.mjs";
import { control, workers } from "./support/process.mjs";

let shop, plugins;
before(async () => {
  plugins = tempDir("plugins");
  write("one");
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=2", "--plugins", plugins] });
});
after(async () => {
  await shop?.stop();
  if (plugins) fs.rmSync(plugins, { recursive: true, force: true });
});

function write(word, more = "") {
  const folder = path.join(plugins, "probe-word");
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, "plugin.lua"),
    `return { name = "probe-word", version = "1.0.0", api = 1, hooks = { "http.route" } }\n`);
  fs.writeFileSync(path.join(folder, "handler.lua"), `local WORD = "${word}"
${more}
return { ["http.route"] = function()
  return { { method = "GET", path = "/plugins/probe-word/word", auth = "none", summary = "The word",
    handler = function(ctx) return ctx:json(200, { word = WORD }) end } }
end }
`);
}

const json = (text) => text.trim().split("\n").map((line) => JSON.parse(line));
const reload = (...more) => shop.cli("reload", "--json", ...more);
const cli = async (...args) => {
  const done = await shop.cli("generations", ...args, "--json");
  assert.equal(done.code, 0, done.stderr);
  return JSON.parse(done.stdout);
};
const list = async () => (await cli("list")).data;
const history = async () => (await cli("history")).data;
const liveHash = async () => (await list()).find((g) => g.state === "live").hash;
const inTable = () => value(shop, "SELECT LOWER(HEX(generation)) FROM generation_live");

/** What the word is, over connections that reach every worker. */
async function words() {
  const ask = () => shop.h1("GET", "/plugins/probe-word/word", { key: null, agent: false });
  const answers = await Promise.all(Array.from({ length: 16 }, ask));
  return [...new Set(answers.map((a) => assertOk(a, 200).word))];
}

/** Makes `word` live -> its hash. */
async function live(word) {
  write(word);
  const done = await reload("--reason", `the word is ${word}`);
  assert.equal(done.code, 0, done.stderr);
  assert.deepEqual(await words(), [word]);
  return liveHash();
}

describe("a reload", () => {
  it("tells each step of each worker, with times", async () => {
    write("steps");
    const lines = json((await reload()).stdout);
    const steps = (name) => lines.filter((l) => l.step === name).map((l) => l.worker).sort();
    assert.deepEqual(steps("prepared"), ["jobs-0", "web-0", "web-1"]);
    assert.deepEqual(steps("live"), ["jobs-0", "web-0", "web-1"]);
    assert.equal(steps("recorded").length, 1);
    assert.ok(lines.slice(0, -1).every((l) => Number.isInteger(l.ms)));
    assert.equal(lines.at(-1).ok, true);
    assert.equal(lines.at(-1).generation, await inTable());
  });

  it("is kept with who, why, what and what it changed", async () => {
    const before = await liveHash();
    const hash = await live("kept");
    const [row] = await list();
    assert.equal(row.hash, hash);
    assert.equal(row.parent, before);
    assert.equal(row.changed, "plugins: ~1");
    assert.equal(row.reason, "the word is kept");
    const [change] = await history();
    assert.deepEqual([change.kind, change.from, change.to, change.outcome], ["reload", before, hash, "live"]);
    assert.equal(change.author, row.author);
  });

  it("of what was live once is the same generation again", async () => {
    const first = await live("again");
    await live("between");
    assert.equal(await live("again"), first);
    assert.equal((await list()).filter((g) => g.hash === first).length, 1);
  });

  it("that is refused is in the history with file and line, and moves nothing", async () => {
    const before = await liveHash();
    write("bad", "local x = ");
    const refused = await reload("--reason", "a try");
    assert.equal(refused.code, 1);
    await until("it is noted", async () => (await history())[0].outcome === "refused");
    const [change] = await history();
    assert.match(change.refusal, /plugins\/probe-word\/handler\.lua:\d+: /);
    assert.equal(change.reason, "a try");
    assert.equal((await list()).find((g) => g.hash === change.to).state, "refused");
    assert.equal(await inTable(), before);
  });
});

describe("a database that is only read", () => {
  it("refuses a change, and what is asked for afterwards is made", async () => {
    const first = await live("writable"), before = await liveHash();
    write("read only");
    await queryAsOwner(shop, "SET GLOBAL read_only = 1");
    try {
      const refused = await reload();
      assert.equal(refused.code, 1);
      assert.match(json(refused.stdout).at(-1).error, /the database is read-only/);
    } finally {
      await queryAsOwner(shop, "SET GLOBAL read_only = 0");
    }
    assert.equal(await inTable(), before);
    assert.deepEqual(await words(), ["writable"]);
    await live("writable again");
    assert.equal((await shop.cli("rollback")).code, 0);
    assert.equal(await inTable(), first);
  });
});

describe("the requests that a generation served", () => {
  it("are counted to the last, also of a worker that is stopped", async () => {
    const hash = await live("counted"); // 16 of them
    await words();
    for (const worker of (await workers(shop)).filter((w) => w.name.startsWith("web"))) process.kill(worker.pid, "SIGTERM");
    await until("all are counted", async () => (await list()).find((g) => g.hash === hash).requests === 32);
  });
});

describe("a rollback", () => {
  it("goes to the one before, and to any by the beginning of its hash", async () => {
    const first = await live("first");
    const second = await live("second");
    await live("third");
    assert.equal((await shop.cli("rollback")).code, 0);
    assert.deepEqual(await words(), ["second"]);
    assert.equal(await inTable(), second);
    assert.equal((await shop.cli("rollback", first.slice(0, 12), "--reason", "far back")).code, 0);
    assert.deepEqual(await words(), ["first"]);
    const [change] = await history();
    assert.deepEqual([change.kind, change.reason, change.to], ["rollback", "far back", first]);
  });

  it("says what is wrong with a hash", async () => {
    const unknown = await shop.cli("rollback", "ffffffffffffffff");
    assert.equal(unknown.code, 1);
    assert.match(unknown.stderr, /no generation begins with ffffffffffffffff/);
    const odd = await shop.cli("rollback", "xyz");
    assert.equal(odd.code, 1);
    assert.match(odd.stderr, /xyz: a hash has up to 64 hex digits/);
    const hash = await liveHash(), twin = `${hash.slice(0, 40)}${"0".repeat(24)}`;
    await query(shop, `INSERT INTO generations (hash, library, plugins, configuration, rules, program, author, files, size)
      SELECT UNHEX('${twin}'), library, plugins, configuration, rules, program, author, files, size FROM generations
      WHERE hash = UNHEX('${hash}')`);
    const ambiguous = await shop.cli("rollback", hash.slice(0, 20));
    assert.equal(ambiguous.code, 1);
    assert.match(ambiguous.stderr, new RegExp(`2 generations begin with ${hash.slice(0, 20)}: .*; give more digits`));
    await query(shop, `DELETE FROM generations WHERE hash = UNHEX('${twin}')`);
  });
});

describe("a diff", () => {
  it("is what patch reads", async () => {
    const a = await live("left");
    const b = await live("right");
    const shown = await shop.cli("generations", "diff", a.slice(0, 16), b.slice(0, 16));
    assert.equal(shown.code, 0, shown.stderr);
    assert.match(shown.stdout, /^--- a\/plugins\/probe-word\/handler\.lua\n\+\+\+ b\/plugins\/probe-word\/handler\.lua\n@@ -1,4 \+1,4 @@\n-local WORD = "left"\n\+local WORD = "right"\n/);
    const { data } = await cli("diff", a, b);
    assert.deepEqual(data.map((d) => [d.path, d.change]), [["plugins/probe-word/handler.lua", "changed"]]);
  });
});

describe("the admin API", () => {
  const admin = (method, target, options) => shop.admin(method, target, options);

  it("shows generations, one of them, and a diff", async () => {
    const a = await live("api one");
    const b = await live("api two");
    const page = assertOk(await admin("GET", "/generations?limit=1"), 200);
    assert.equal(page.data[0].hash, b);
    assert.equal(page.has_more, true);
    const next = assertOk(await admin("GET", `/generations?limit=1&after=${page.next_cursor}`), 200);
    assert.equal(next.data[0].hash, a);
    const shown = assertOk(await admin("GET", `/generations/${a.slice(0, 20)}`), 200).generation;
    assert.deepEqual([shown.hash, shown.state], [a, "closed"]);
    const { data } = assertOk(await admin("GET", `/generations/${b}/diff?against=${a}`), 200);
    assert.match(data[0].text, /-local WORD = "api one"\n\+local WORD = "api two"/);
    assertProblem(await admin("GET", `/generations/${"0".repeat(64)}`), 404, "not_found");
  });

  it("makes one live from a request that runs on the one before", async () => {
    const a = await live("from");
    await live("to");
    const done = assertOk(await admin("POST", `/generations/${a}/activate`, { headers: idem(newKey()), body: { reason: "by hand" } }), 200);
    assert.deepEqual([done.generation.hash, done.generation.state], [a, "live"]);
    assert.deepEqual(await words(), ["from"]);
    const changes = assertOk(await admin("GET", "/generation-changes?limit=1"), 200).data;
    assert.deepEqual([changes[0].kind, changes[0].to, changes[0].reason], ["activate", a, "by hand"]);
    const entries = assertOk(await admin("GET", `/audit?subject=${a}`), 200).data;
    assert.equal(entries[0].action, "generations.activate");
    assert.equal(entries[0].actor, changes[0].author);
  });

  it("keeps a reason of 500 characters whole, whatever they are, and refuses a longer one", async () => {
    const a = await live("a long reason"), reason = "\u{1F9FE}".repeat(500);
    await live("b long reason");
    const ask = (text) => admin("POST", `/generations/${a}/activate`, { body: { reason: text } });
    assertOk(await ask(reason), 200);
    assert.equal(assertOk(await admin("GET", "/generation-changes?limit=1"), 200).data[0].reason, reason);
    assertProblem(await ask(`${reason}.`), 422, "invalid_request");
    const refused = await reload("--reason", "r".repeat(501));
    assert.equal(refused.code, 1);
    assert.match(refused.stdout, /reason: give a text of up to 500 characters/);
  });

  it("does it once under one key", async () => {
    const a = await live("once a");
    await live("once b");
    const key = newKey();
    const ask = () => admin("POST", `/generations/${a}/activate`, { headers: idem(key), body: {} });
    assertOk(await ask(), 200);
    const { sequence } = (await control(shop, "generations")).truth;
    await live("once c");
    const again = await ask();
    assert.equal(again.headers["idempotent-replayed"], "true");
    assert.deepEqual(await words(), ["once c"]);
    assert.equal((await control(shop, "generations")).truth.sequence, sequence + 1);
  });

  it("reloads the folders, and says where they are wrong", async () => {
    write("by api");
    const done = assertOk(await admin("POST", "/generations/reload", { body: { reason: "api" } }), 200);
    assert.equal(done.generation.state, "live");
    assert.deepEqual(await words(), ["by api"]);
    write("bad", "local x = ");
    const refused = await admin("POST", "/generations/reload", { body: {} });
    assertProblem(refused, 422, "rejected");
    assert.equal(refused.body.errors[0].file, "plugins/probe-word/handler.lua");
    assert.equal(typeof refused.body.errors[0].line, "number");
    assert.deepEqual(await words(), ["by api"]);
  });

  it("lets only those change it who may", async () => {
    const made = await shop.cli("key", "create", "--name", "a viewer", "--kind", "secret", "--role", "viewer");
    assert.equal(made.code, 0, made.stderr);
    const key = made.stdout.trim().split(/\s+/)[1];
    assertOk(await shop.h2("GET", "/admin/v1/generations", { key }), 200);
    assertProblem(await shop.h2("POST", "/admin/v1/generations/reload", { key, body: {} }), 403, "forbidden");
  });
});

// A change of the generation that somebody does not live to see the end of: one is live afterwards, whoever died when.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { Shop, tempDir, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";
import { value } from "./support/db.mjs";
import { control, serverOf, workers } from "./support/process.mjs";

const MINUTE = 60_000;

let shop, plugins;
before(async () => {
  plugins = tempDir("plugins");
  fs.mkdirSync(path.join(plugins, "probe-word"));
  fs.writeFileSync(path.join(plugins, "probe-word", "plugin.lua"),
    `return { name = "probe-word", version = "1.0.0", api = 1, hooks = { "http.route" } }\n`);
  write("zero");
  shop = await Shop.start({ env: { TILL_FAULTS: "" }, args: ["--no-demo", "--set", "server.workers=2", "--plugins", plugins] });
});
after(async () => {
  await shop?.stop();
  if (plugins) fs.rmSync(plugins, { recursive: true, force: true });
});

function write(word) {
  fs.writeFileSync(path.join(plugins, "probe-word", "handler.lua"), `return { ["http.route"] = function()
  return { { method = "GET", path = "/plugins/probe-word/word", auth = "none", summary = "The word",
    handler = function(ctx) return ctx:json(200, { word = "${word}" }) end } }
end }
`);
}

const inTable = () => value(shop, "SELECT LOWER(HEX(generation)) FROM generation_live");
const sequence = async () => Number(await value(shop, "SELECT sequence FROM generation_live"));
const arm = async (name) => assert.equal((await control(shop, `fault ${name}=1`)).ok, true);
const left = async (name) => (await control(shop, `fault ${name}=0`)).left;

/** What the word is, over connections that reach every worker. */
async function words() {
  const ask = () => shop.h1("GET", "/plugins/probe-word/word", { key: null, agent: false });
  const answers = await Promise.all(Array.from({ length: 16 }, ask));
  return [...new Set(answers.map((a) => assertOk(a, 200).word))];
}

/** All workers are there, and all run what the database says is live. */
async function one() {
  await until("every worker runs what is live in the database", async () => {
    const truth = await inTable(), all = await workers(shop).catch(() => []);
    return all.length === 3 && all.every((w) => w.state === "ready" && w.generation === truth);
  }, MINUTE);
  const truth = await inTable(), state = await control(shop, "generations");
  assert.equal(state.live.name, truth);
  assert.equal(state.truth.name, truth);
  return truth;
}

/** dev starts a server again, but not one that dies within two seconds. */
const grown = () => until("it is no newborn",
  () => Date.now() - fs.statSync(path.join(shop.dir, "moontill.pid")).mtimeMs > 3000);

let count = 0;
async function begin(fault) {
  await one();
  const word = `word ${++count}`;
  write(word);
  const before = { word: (await words())[0], live: await inTable(), sequence: await sequence() };
  await arm(fault);
  return { word, before, done: await shop.cli("reload") };
}

describe("a worker that is killed", () => {
  it("while it loads refuses the change, and nothing has moved", async () => {
    const { before, done } = await begin("generation.prepared");
    assert.equal(done.code, 1);
    assert.match(done.stderr, /died while it loaded the new generation/);
    assert.equal(await one(), before.live);
    assert.deepEqual(await words(), [before.word]);
  });

  for (const fault of ["generation.before_record", "generation.after_record", "generation.commit"]) {
    it(`(${fault}) is followed by another: the change is made once`, async () => {
      const { word, before, done } = await begin(fault);
      assert.equal(done.code, 0, done.stderr);
      assert.equal(await left(fault), 0, "it has happened");
      await one();
      assert.deepEqual(await words(), [word]);
      assert.equal(await sequence(), before.sequence + 1);
    });
  }
});

describe("the master that is killed", () => {
  const cases = { "generation.master_before_record": false, "generation.master_after_record": true, "generation.master_while_commit": true };
  for (const [fault, isMade] of Object.entries(cases)) {
    it(`(${fault}) leaves ${isMade ? "the new" : "the old"} one, in every worker of the next`, async () => {
      await grown();
      const master = (await control(shop, "status")).pid;
      const { word, before, done } = await begin(fault);
      assert.equal(done.code, 1);
      await until("another master serves", async () => (await control(shop, "status").catch(() => ({ pid: master }))).pid !== master, MINUTE);
      const live = await one();
      assert.equal(live !== before.live, isMade);
      assert.deepEqual(await words(), [isMade ? word : before.word]);
      assert.equal(await sequence(), before.sequence + (isMade ? 1 : 0));
    });
  }
});

describe("the database", () => {
  it("whose answer is lost is asked what became of it", async () => {
    const { word, before, done } = await begin("generation.lost");
    assert.equal(done.code, 0, done.stderr);
    assert.equal(await left("generation.lost"), 0, "it has happened");
    await one();
    assert.deepEqual(await words(), [word]);
    assert.equal(await sequence(), before.sequence + 1);
  });

  it("that stands still is waited for, while the old one serves", async () => {
    await one();
    const [before] = await words(), mariadb = serverOf(shop, "mariadbd");
    write("patience");
    const log = path.join(shop.dir, "moontill.log"), seen = fs.statSync(log).size;
    process.kill(mariadb, "SIGSTOP");
    let done;
    try {
      done = shop.cli("reload");
      await until("nobody knows what became of it", () => fs.readFileSync(log).subarray(seen).includes("generation.unknown"), MINUTE);
      assert.deepEqual(await words(), [before]);
    } finally {
      process.kill(mariadb, "SIGCONT");
    }
    assert.equal((await done).code, 0, (await done).stderr);
    await one();
    assert.deepEqual(await words(), ["patience"]);
  });
});

// Several servers on one database: they come to the same generation, with Redis and without, or say that they cannot.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { BINARY, Shop, freePort, moontill, tempDir, until } from "./support/shop.mjs";
import { value } from "./support/db.mjs";
import { control, serverOf } from "./support/process.mjs";

const MINUTE = 60_000;

let shop, plugins, second;
before(async () => {
  plugins = folder("one");
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=2", "--plugins", plugins] });
  second = await Server.start({ args: ["--set", "shop.name=The second"] });
});
after(async () => {
  await second?.stop();
  await shop?.stop();
  if (plugins) fs.rmSync(plugins, { recursive: true, force: true });
});

function folder(word) {
  const dir = tempDir("plugins");
  fs.mkdirSync(path.join(dir, "probe-word"));
  fs.writeFileSync(path.join(dir, "probe-word", "plugin.lua"),
    `return { name = "probe-word", version = "1.0.0", api = 1, hooks = { "http.route" } }\n`);
  write(dir, word);
  return dir;
}

function write(dir, word, head = "") {
  fs.writeFileSync(path.join(dir, "probe-word", "handler.lua"), `${head}
return { ["http.route"] = function()
  return { { method = "GET", path = "/plugins/probe-word/word", auth = "none", summary = "The word",
    handler = function(ctx) return ctx:json(200, { word = "${word}" }) end } }
end }
`);
}

/** Another machine: `moontill serve` with folders of its own, on the shop's database. */
class Server {
  static async start({ word = "one", dir = tempDir("second"), args = [], binary = BINARY, plugins: given } = {}) {
    const server = new Server();
    server.dir = dir;
    server.plugins = given ?? folder(word);
    server.port = await freePort();
    server.args = ["--var", server.dir, "--set", `mysql.socket=${shop.dev.mysql_socket}`, "--set", `redis.socket=${shop.dev.redis_socket}`,
      "--set", `mysql.database=${shop.dev.database}`, "--set", "server.workers=1", "--set", "plugins.payment-test.enabled=true",
      "--set", `log.file=${path.join(dir, "moontill.log")}`, "--plugins", server.plugins, "--listen", `127.0.0.1:${server.port}`, ...args];
    server.process = spawn(binary, ["serve", ...server.args], { stdio: ["ignore", "pipe", "pipe"] });
    server.exited = once(server.process, "exit").then(([code, signal]) => (server.exit = { code, signal }));
    server.output = "";
    for (const stream of [server.process.stdout, server.process.stderr]) stream.on("data", (piece) => (server.output += piece));
    await until("the second server serves", () => server.output.includes("ready ") || server.exit, MINUTE);
    assert.ok(!server.exit, server.output);
    return server;
  }

  async stop({ keep = false } = {}) {
    this.process.kill("SIGTERM");
    await this.exited;
    if (keep) return;
    fs.rmSync(this.dir, { recursive: true, force: true });
    fs.rmSync(this.plugins, { recursive: true, force: true });
  }

  cli = (...args) => moontill([...args, "--var", this.dir]);
  get log() {
    return fs.readFileSync(path.join(this.dir, "moontill.log"), "utf8");
  }

  get(target, port = this.port) {
    return new Promise((resolve, reject) => {
      http.get({ host: "127.0.0.1", port, path: target, agent: false }, (answer) => {
        let text = "";
        answer.on("data", (piece) => (text += piece)).on("end", () => resolve(text));
      }).on("error", reject);
    });
  }

  word = async () => JSON.parse(await this.get("/plugins/probe-word/word")).word;
  async metric(name) {
    return Number((await this.get("/metrics", this.port + 1)).match(new RegExp(`^${name} (\\S+)$`, "m"))?.[1]);
  }
}

const wordOfFirst = async () => (await shop.h1("GET", "/plugins/probe-word/word", { key: null, agent: false })).body.word;
const inTable = () => value(shop, "SELECT LOWER(HEX(generation)) FROM generation_live");
const state = (server) => control(server, "generations");
const isAt = async (server, hash) => (await state(server)).live.name === hash;

/** Changes the first one's code, and waits for the second. @return how long after the record it was there, in ms */
async function change(word) {
  write(plugins, word);
  const reload = shop.cli("reload");
  await until("the second one has it live", async () => (await second.word()) === word, MINUTE);
  const now = Date.now(), done = await reload;
  assert.equal(done.code, 0, done.stderr);
  const hash = await inTable();
  await until("the second one is all there", () => isAt(second, hash), MINUTE);
  return now - Date.parse(`${await value(shop, "SELECT since FROM generation_live")}Z`);
}

describe("a second server", () => {
  it("begins with what is live in the database", async () => {
    assert.equal((await state(second)).live.name, await inTable());
    assert.equal(await second.word(), "one");
  });

  it("goes where the first one goes, and the other way about", async (t) => {
    t.diagnostic(`after ${await change("two")} ms`);
    const previous = await second.cli("rollback");
    assert.equal(previous.code, 0, previous.stderr);
    const hash = await inTable();
    await until("the first one has it live", () => isAt(shop, hash), MINUTE);
    assert.equal(await wordOfFirst(), "one");
  });

  it("does so without Redis", async (t) => {
    const redis = serverOf(shop, "redis-server");
    process.kill(redis, "SIGSTOP");
    try {
      t.diagnostic(`after ${await change("deaf")} ms`);
    } finally {
      process.kill(redis, "SIGCONT");
    }
  });

  it("that changes at the same time does not get between", async () => {
    write(plugins, "from the first");
    write(second.plugins, "from the second");
    const before = Number(await value(shop, "SELECT sequence FROM generation_live"));
    const done = await Promise.all([shop.cli("reload"), second.cli("reload")]);
    const made = done.filter((d) => d.code === 0).length;
    assert.ok(made >= 1, done.map((d) => d.stderr).join("\n"));
    assert.equal(Number(await value(shop, "SELECT sequence FROM generation_live")), before + made);
    const hash = await inTable();
    await until("both are there", async () => (await isAt(shop, hash)) && (await isAt(second, hash)), MINUTE);
    assert.equal(await wordOfFirst(), await second.word());
  });

  it("that cannot load it keeps its own, says so, and tries again", async () => {
    const port = second.port, before = await second.word();
    // it loads on one machine only, as where a file or a setting is missing
    write(plugins, "picky", `local conf = require "till.prim.conf"
if conf.get("shop.name") == "The second" then error("not on this machine") end`);
    const done = await shop.cli("reload");
    assert.equal(done.code, 0, done.stderr);
    await until("it says so", () => second.log.includes("generation.behind"), MINUTE);
    assert.match(second.log, /"event":"generation\.behind".*not on this machine/);
    assert.equal(await second.word(), before);
    assert.equal((await state(second)).truth.behind, true);
    assert.equal(await second.metric("till_generation_behind"), 1);
    await until("it tries again", () => second.log.split("generation.behind").length > 2, MINUTE);
    assert.equal(await wordOfFirst(), "picky");
    const { data } = JSON.parse((await shop.cli("generations", "history", "--json")).stdout);
    assert.ok(data.some((c) => c.kind === "follow" && c.outcome === "refused" && c.machine.endsWith(`:${port}`)));
    await change("for all again");
    assert.equal(await second.metric("till_generation_behind"), 0);
  });

  it("that finds it broken in the database says so, and takes it when it is whole", async () => {
    await change("broken");
    const hash = await inTable(), text = fs.readFileSync(path.join(plugins, "probe-word", "handler.lua"));
    const put = (bytes) => value(shop, `UPDATE generation_files SET content = COMPRESS(UNHEX('${Buffer.from(bytes).toString("hex")}'))
      WHERE hash = UNHEX('${createHash("sha256").update(text).digest("hex")}')`);
    await change("whole");
    fs.rmSync(path.join(second.dir, "generations", hash));
    await put("return 1");
    const back = await shop.cli("rollback", hash);
    assert.equal(back.code, 0, back.stderr);
    await until("it says so", () => /generation\.behind.*do not fit its name/.test(second.log), MINUTE);
    assert.equal(await second.word(), "whole");
    assert.equal(await second.metric("till_generation_behind"), 1);
    await put(text);
    await until("it has it live", async () => (await second.word()) === "broken", MINUTE);
  });
});

describe("a start", () => {
  it("with folders that nobody has seen makes them live for all", async () => {
    const before = await inTable();
    const other = await Server.start({ word: "never seen" });
    try {
      assert.equal(await other.word(), "never seen");
      const hash = await inTable();
      await until("the others follow", async () => (await isAt(shop, hash)) && (await isAt(second, hash)), MINUTE);
      assert.equal(await wordOfFirst(), "never seen");
      assert.equal(await value(shop, `SELECT LOWER(HEX(parent)) FROM generations WHERE hash = UNHEX('${hash}')`), before);
    } finally {
      await other.stop();
    }
  });

  it("with folders that are known takes nothing back", async () => {
    await change("newer");
    const other = await Server.start({ word: "never seen" });
    try {
      assert.equal(await other.word(), "newer");
      assert.match(other.log, /"event":"generation\.first".*moontill reload/);
    } finally {
      await other.stop();
    }
  });

  it("of another version of the program keeps to its own, and the others to theirs", async () => {
    const mine = await inTable();
    await value(shop, `UPDATE generations SET program = '0.0.9' WHERE hash = UNHEX('${mine}')`);
    const other = await Server.start({ word: "newer", args: ["--set", "generations.start=live"] });
    try {
      await until("it says so", () => other.log.includes("generation.foreign"), MINUTE);
      assert.notEqual((await state(other)).live.name, mine);
      assert.equal(await inTable(), mine, "it has taken nothing back");
      assert.equal(await other.metric("till_generation_behind"), 1);
      const refused = await other.cli("rollback", mine.slice(0, 16));
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, /belongs to version 0\.0\.9 of the program/);
    } finally {
      await other.stop();
      await value(shop, `UPDATE generations SET program = (SELECT program FROM (SELECT program FROM generations WHERE program <> '0.0.9' LIMIT 1) p)
        WHERE program = '0.0.9'`);
    }
  });
});

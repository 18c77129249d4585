// Jobs on two machines with two workers each: limits and order hold over all of them, schedules run once, and workers die.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { BINARY, Shop, freePort, tempDir, until } from "./support/shop.mjs";
import { count, query, value } from "./support/db.mjs";
import { isAlive, workers } from "./support/process.mjs";

const MINUTE = 60_000;
const LEASE_MS = 2000;
const OPTIONS = ["--set", "server.workers=1", "--set", "server.jobs_workers=2", "--set", `jobs.lease_ms=${LEASE_MS}`,
  "--set", "jobs.poll_ms=50", "--set", "jobs.batch=4", "--set", "jobs.limits=job.run=2"];

let shop, plugins, second;
before(async () => {
  plugins = tempDir("plugins");
  fs.mkdirSync(path.join(plugins, "probe-jobs"));
  fs.writeFileSync(path.join(plugins, "probe-jobs", "plugin.lua"), `return { name = "probe-jobs", version = "1.0.0", api = 1,
  hooks = { "job.run" }, capabilities = { "sql:probe_runs" }, schedules = { beat = "every 6 hours" } }\n`);
  fs.writeFileSync(path.join(plugins, "probe-jobs", "handler.lua"), `
local co = require "till.prim.co"
local sql = require "till.prim.sql"
local time = require "till.prim.time"
return { ["job.run"] = function(_, event)
  local p = event.payload or {}
  local done, e = sql.exec("INSERT INTO probe_runs (job, strand, n, attempts, began) VALUES (?, ?, ?, ?, NOW(3))",
    event.job, p.strand or "", p.n or 0, event.attempts)
  if not done then return nil, e end
  time.sleep(p.ms or 100)
  done, e = sql.exec("UPDATE probe_runs SET ended = NOW(3) WHERE id = ?", done.insert_id)
  if not done then return nil, e end
  return true
end }
`);
  shop = await Shop.start({ args: ["--no-demo", "--plugins", plugins, ...OPTIONS] });
  await query(shop, `CREATE TABLE probe_runs (id INT AUTO_INCREMENT PRIMARY KEY, job VARCHAR(50), strand VARCHAR(20), n INT, attempts INT,
    began DATETIME(3), ended DATETIME(3))`);
  second = await startSecond();
});
after(async () => {
  second?.process.kill("SIGTERM");
  await second?.exited;
  await shop?.stop();
  for (const dir of [plugins, second?.dir]) if (dir) fs.rmSync(dir, { recursive: true, force: true });
});

/** Another machine: `moontill serve` on the shop's database. */
async function startSecond() {
  const server = { dir: tempDir("second"), output: "" };
  server.process = spawn(BINARY, ["serve", "--var", server.dir, "--set", `mysql.socket=${shop.dev.mysql_socket}`,
    "--set", `redis.socket=${shop.dev.redis_socket}`, "--set", `mysql.database=${shop.dev.database}`,
    "--set", "plugins.payment-test.enabled=true", "--plugins", plugins, "--listen", `127.0.0.1:${await freePort()}`, ...OPTIONS],
  { stdio: ["ignore", "pipe", "pipe"] });
  server.exited = once(server.process, "exit").then(() => (server.isGone = true));
  for (const stream of [server.process.stdout, server.process.stderr]) stream.on("data", (piece) => (server.output += piece));
  await until("the second server serves", () => server.output.includes("ready ") || server.isGone, MINUTE);
  assert.ok(!server.isGone, server.output);
  return server;
}

/** A job for each of `strands` in turn, `n` times; those of a strand in order. */
async function enqueue(job, n, strands, ms = 100) {
  const rows = [];
  for (let i = 0; i < n; ++i)
    for (const strand of strands)
      rows.push(`('job:${job}:${strand}', 'job.run', '${JSON.stringify({ plugin: "probe-jobs", job, payload: { strand, n: i, ms } })}')`);
  await query(shop, `INSERT INTO outbox (aggregate, type, payload) VALUES ${rows.join(", ")}`);
}

const settled = () => until("all is delivered", async () => (await count(shop, "outbox", "state = 'pending'")) === 0, 2 * MINUTE);

/** The most runs that were under way at a moment. */
const mostAtOnce = async (job) => Number(await value(shop, `SELECT MAX(n) FROM (SELECT COUNT(*) AS n FROM probe_runs a
  JOIN probe_runs b ON b.job = a.job AND b.began <= a.began AND b.ended > a.began WHERE a.job = '${job}' GROUP BY a.id) AS moments`));

/** First runs of a strand that began before an earlier one of it had begun for the first time. */
const outOfOrder = (job) => query(shop, `SELECT a.strand, a.n, b.n FROM
  (SELECT strand, n, MIN(id) AS id FROM probe_runs WHERE job = '${job}' GROUP BY strand, n) a JOIN
  (SELECT strand, n, MIN(id) AS id FROM probe_runs WHERE job = '${job}' GROUP BY strand, n) b
  ON b.strand = a.strand AND b.n > a.n AND b.id < a.id`);

const names = (n) => Array.from({ length: n }, (_, i) => `s${i}`);
const jobsWorkers = async () => (await workers(shop)).filter((w) => w.name.startsWith("jobs"));

describe("jobs on two machines", { timeout: 8 * MINUTE }, () => {
  it("are done once each, in order within their key, two at a time and not more", async () => {
    await enqueue("plain", 4, names(10));
    await settled();
    assert.equal(await count(shop, "probe_runs", "job = 'plain'"), 40);
    assert.deepEqual(await outOfOrder("plain"), []);
    assert.equal(await mostAtOnce("plain"), 2);
  });

  it("keep their lease while they take longer than it", async () => {
    await enqueue("long", 1, names(2), 3 * LEASE_MS);
    await settled();
    assert.equal(await count(shop, "probe_runs", "job = 'long'"), 2);
  });

  it("that are done are not done again, however long their neighbour takes", async () => {
    const rows = [1, 1, 1, 3 * LEASE_MS].map((ms, n) => `('job:mixed:${n}', 'job.run', '${JSON.stringify({ plugin: "probe-jobs", job: "mixed",
      payload: { strand: `s${n}`, n, ms } })}')`);
    await query(shop, `INSERT INTO outbox (aggregate, type, payload) VALUES ${rows.join(", ")}`); // one worker has them all
    await settled();
    assert.equal(await count(shop, "probe_runs", "job = 'mixed'"), 4);
  });

  it("come again when their worker is killed, in order and within the limit", async () => {
    await enqueue("killed", 3, names(6), 400);
    for (let i = 0; i < 2; ++i) {
      await until("some are under way", async () => (await count(shop, "probe_runs", "job = 'killed' AND ended IS NULL")) > 0, MINUTE);
      const victim = (await jobsWorkers())[i % 2];
      process.kill(victim.pid, "SIGKILL");
      await until("it is dead", () => !isAlive(victim.pid));
      await until("it is replaced", async () => (await jobsWorkers()).every((w) => w.pid !== victim.pid && w.state === "ready"), MINUTE);
    }
    await settled();
    assert.deepEqual(await outOfOrder("killed"), []);
    assert.equal(await value(shop, "SELECT COUNT(DISTINCT strand, n) FROM probe_runs WHERE job = 'killed' AND ended IS NOT NULL"), "18");
    assert.ok(await mostAtOnce("killed") <= 2);
    await until("no slot is held", async () => (await count(shop, "job_slots", "held_until > NOW(3)")) === 0, MINUTE);
  });

  it("of a schedule run once for all machines, and make up once for what was missed", async () => {
    const name = "probe-jobs:beat";
    for (let round = 1; round <= 3; ++round) {
      await query(shop, `UPDATE job_schedules SET next_at = NOW(3) - INTERVAL 1 DAY WHERE name = '${name}'`);
      await until("it has run", async () => (await count(shop, "job_schedules",
        `name = '${name}' AND runs >= ${round} AND state = 'idle' AND next_at > NOW(3)`)) === 1, MINUTE);
    }
    await settled();
    assert.equal(await count(shop, "probe_runs", "job = 'beat'"), 3);
    const seen = (await shop.admin("GET", "/jobs/schedules")).body.data.find((entry) => entry.name === name);
    assert.deepEqual([seen.schedule, seen.state, seen.runs], ["every 6 hours", "idle", 3]);
    const listed = await shop.cli("jobs", "schedules");
    assert.match(listed.stdout, /probe-jobs:beat +every 6 hours +idle/);
  });

  it("that fail for good are replayed and discarded by the command, with audit", async () => {
    await query(shop, `INSERT INTO outbox (aggregate, type, payload, state, last_error) VALUES ('a:1', 'x.told', '{}', 'dead', 'why'),
      ('a:2', 'x.told', '{}', 'dead', 'why'), ('a:3', 'x.told', '{}', 'dead', 'why')`);
    const id = await value(shop, "SELECT MIN(id) FROM outbox WHERE state = 'dead'");
    assert.equal((await shop.cli("jobs", "replay", id)).code, 0);
    assert.equal((await shop.cli("jobs", "replay", id)).code, 1);
    assert.equal((await shop.cli("jobs", "discard", "--type", "x.told")).code, 2);
    const gone = await shop.cli("jobs", "discard", "--type", "x.told", "--reason", "not needed");
    assert.deepEqual([gone.code, gone.stdout], [0, "2 events\n"]);
    await settled();
    assert.deepEqual(await query(shop, "SELECT state, COUNT(*) FROM outbox WHERE type = 'x.told' GROUP BY state ORDER BY state"), [["done", "1"], ["discarded", "2"]]);
    assert.equal(await count(shop, "audit_entries", "actor = 'command' AND action LIKE 'jobs.%'"), 2);
    assert.match((await shop.cli("jobs")).stdout, /^type +pending +running +dead +oldest\n/);
  });
});

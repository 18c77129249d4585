// Fifty shoppers buy what is scarce while everybody who takes part dies, one after the other and again and again: a worker
// at each point that the server names, then web and jobs workers, the master, Redis and MariaDB as by kill -9. Nobody helps
// them up. At the end the books are right, everybody has his order or a clear word, and is told the same again.
//
//   SEED=12345    has shoppers wish for the same things again
//
// The points are those that the server itself lists. One that nobody came by fails the test, unless UNMET says which other one
// kills there: that it does is looked up.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { ROOT, Shop, tempDir, until } from "../flow/support/shop.mjs";
import { assertSettled, query } from "../flow/support/db.mjs";
import { control, isAlive, serverOf, workers } from "../flow/support/process.mjs";
import { Market } from "./support/market.mjs";

const MINUTE = 60_000;
const SHOPPERS = 50;
const PATIENCE_MS = MINUTE; // until somebody comes by a point
/** Points that nobody comes by who pays by payment-test -> the test that kills there; or no death at all. */
const PAID = "tests/fault/paying.test.mjs";
const PARTS = "tests/flow/captures.test.mjs"; // only staff and parcels capture in parts
const UNMET = { "sql.gate": "tests/fault/timing.test.mjs", "webhook.after_claim": PAID, "webhook.before_commit": PAID, "webhook.after_commit": PAID,
  "settlement.in_page": "tests/flow/settlement.test.mjs", "sweep.after_mark": PAID, "order_payment.after_authorize": "tests/flow/several_payments.test.mjs", "void.after_ask": PAID,
  "capture_part.after_decide": PARTS, "capture_part.before_ask": PARTS, "capture_part.after_ask": PARTS };
/** Points that only this act of the merchant leads to; others are met by who buys, or by one of the acts after all. */
const ACT_OF = { generation: "generation", bundle: "generation", rules: "rules", reconcile: "reconcile", "sql.connect_refused": "sql" };

let shop, plugins, market;
before(async () => {
  plugins = tempDir("plugins");
  shop = await Shop.start({ env: { TILL_FAULTS: "" }, args: ["--no-demo", "--plugins", plugins, "--set", "server.workers=3",
    "--set", "cart.completion_claim_ms=1000", "--set", "idem.lease_ms=1000", "--set", "jobs.lease_ms=2000",
    "--set", "stock.check_interval_s=0", "--set", "plugins.payment-test.late_ms=100"] });
});
after(async () => {
  if (market) market.isOver = true;
  await shop?.stop();
  if (plugins) fs.rmSync(plugins, { recursive: true, force: true });
});

const masterOf = async () => (await control(shop, "status").catch(() => ({}))).pid;
/** dev starts a server again, but not one that dies within two seconds. */
const grown = () => until("it is no newborn", () => Date.now() - fs.statSync(path.join(shop.dir, "moontill.pid")).mtimeMs > 3000);

/** Fails at once where a shopper failed meanwhile. */
const meanwhile = (what, condition, limitMs = MINUTE) => Promise.race([
  market.done.then(() => assert.fail("nobody buys any more")), until(what, condition, limitMs)]);

async function isWhole() {
  await meanwhile("all workers are there", async () => {
    const all = await workers(shop).catch(() => []);
    return all.length === 4 && all.every((w) => w.state === "ready");
  });
  const placed = market.placed;
  await meanwhile("orders are placed", () => market.placed >= placed + 5);
}

/** Whether it has happened: nobody else can have taken it, and a master that is gone has taken the list along. */
async function hasHappened(name, master) {
  const now = await control(shop, "faults").catch(() => null);
  if (!now) return (await masterOf()) !== master;
  return now.faults.find((f) => f.name === name).left === 0;
}

/** Arms one point, and does what leads there until somebody has come by. @return whether */
async function meet(name) {
  if (name.includes(".master_")) await grown();
  const master = await masterOf();
  const armed = await control(shop, `fault ${name}=1`);
  assert.ok(armed.ok, armed.error);
  const first = ACT_OF[name] ?? ACT_OF[name.split(".")[0]];
  const acts = Object.keys(Market.ACTS).sort((a, b) => (b === first) - (a === first));
  const end = Date.now() + PATIENCE_MS;
  for (let n = 0; Date.now() < end; ++n) {
    if (first || n > 0) await Market.ACTS[acts[n % acts.length]](market);
    const is = await meanwhile(name, () => hasHappened(name, master), first ? 1500 : 6000).catch((error) => {
      if (!/in vain/.test(error.message)) throw error;
    });
    if (is) return true;
  }
  await control(shop, `fault ${name}=0`);
  return false;
}

const killAll = async (kind) => (await workers(shop)).filter((w) => w.name.startsWith(kind) && w.pid > 0).forEach((w) => process.kill(w.pid, "SIGKILL"));

/** Kills a server of dev's, and waits for another. */
async function kill(program) {
  const pid = serverOf(shop, program);
  process.kill(pid, "SIGKILL");
  await meanwhile(`another ${program} runs`, () => {
    try {
      return serverOf(shop, program) !== pid;
    } catch {
      return false;
    }
  });
}

const DEATHS = {
  "a web worker": async () => (await workers(shop)).filter((w) => w.name.startsWith("web") && w.pid > 0).slice(0, 1).forEach((w) => process.kill(w.pid, "SIGKILL")),
  "all web workers at once": () => killAll("web"),
  "the jobs worker": () => killAll("jobs"),
  Redis: () => kill("redis-server"),
  MariaDB: () => kill("mariadbd"),
  "MariaDB and Redis at once": () => Promise.all([kill("mariadbd"), kill("redis-server")]),
  "the master": async () => {
    await grown();
    const master = await masterOf();
    process.kill(master, "SIGKILL");
    await meanwhile("another master serves", async () => !isAlive(master) && (await masterOf()) && (await masterOf()) !== master);
  },
};

it("points that no shopper of this test comes by are those of another", () => {
  for (const [point, file] of Object.entries(UNMET)) {
    const text = fs.readFileSync(path.join(ROOT, file), "utf8"), [of, last] = point.split(".");
    assert.ok(text.includes(point) || text.includes(`${of}.\${`) && text.includes(`"${last}"`), `${file} does nothing at ${point}`);
  }
});

describe("fifty shoppers", () => {
  it("lose nothing, whoever dies at whatever point", { timeout: 10 * MINUTE }, async (t) => {
    const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
    t.diagnostic(`SEED=${seed}`);
    market = await Market.open(shop, { seed, shoppers: SHOPPERS, dir: plugins });
    await isWhole();
    const points = (await control(shop, "faults")).faults.map((f) => f.name);
    const missed = [];
    for (const name of points) {
      const began = Date.now();
      if (!(name in UNMET) && !(await meet(name))) missed.push(name);
      await isWhole();
      if (process.env.VERBOSE) t.diagnostic(`${name}: ${Date.now() - began} ms, ${market.placed} orders`);
    }
    for (const [what, die] of Object.entries(DEATHS)) {
      const began = Date.now();
      await die();
      await isWhole();
      if (process.env.VERBOSE) t.diagnostic(`${what}: ${Date.now() - began} ms, ${market.placed} orders`);
    }
    await market.close();
    t.diagnostic(`${points.length} points, ${market.carts} carts, ${market.placed} orders, ${market.cancelled} of them cancelled, ` +
      `${market.gone.size} shoppers who went; refused: ${JSON.stringify(market.refused)}`);
    assert.deepEqual(missed, [], "each point was met: lead somebody there, or say in UNMET why nobody can come by");
    await query(shop, "UPDATE reservations SET expires_at = '2020-01-01' WHERE state = 'held'"); // the time of all is over
    await until("no check hangs", async () => {
      await market.hurryChecks();
      return (await query(shop, "SELECT id FROM stock_checks WHERE state <> 'done'")).length === 0;
    }, MINUTE);
    await assertSettled(shop, MINUTE);
    assert.deepEqual(await query(shop, "SELECT id, type, last_error FROM outbox WHERE state = 'dead'"), [], "it recovers without hands");
    assert.deepEqual(await query(shop, "SELECT name, aggregate, error FROM sagas WHERE state = 'parked'"), [], "it recovers without hands");
    await market.assertAsTold();
    await assertSettled(shop);
    const rows = await query(shop, "SELECT 1 FROM orders WHERE cart_id IS NOT NULL");
    assert.ok(rows.length >= market.placed && market.placed > SHOPPERS, "there was something to be lost");
  });
});

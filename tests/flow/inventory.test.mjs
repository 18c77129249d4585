// Stock from the staff's side, while shoppers buy: changes that race with sales, what is believed and is not so any
// more, a jobs worker that is killed amid a reconciliation, Redis that is flushed while pages are read.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, describe, it } from "node:test";
import { Shop, buy, idem, makeCart, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";
import { assertInvariants, bin, count, query, value } from "./support/db.mjs";
import { workers } from "./support/process.mjs";

const MINUTE = 60_000;
const many = (n, fn) => Promise.all(Array.from({ length: n }, (_, i) => fn(i)));
const path = (sku, rest = "") => `/inventory/${encodeURIComponent(sku)}${rest}`;
const stockOf = async (shop, sku) => assertOk(await shop.admin("GET", path(sku)), 200).inventory;

/** Repeats, under one key, what the server asks to be repeated. */
async function settled(ask) {
  let answer;
  await until("an answer that is final", async () => {
    answer = await ask();
    return answer.status !== 202 && answer.status !== 503 && !["completion_in_progress", "idempotency_in_flight", "busy"].includes(answer.body?.code);
  }, MINUTE);
  return answer;
}

function change(shop, sku, kind, body) {
  const headers = idem();
  return settled(() => shop.admin("POST", path(sku, `/${kind}`), { headers, body }));
}

/** Pays and completes with patience; true where an order came of it. */
async function sold(shop, cart) {
  const held = await settled(() => shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "manual" } }));
  if (held.status !== 201) return assertProblem(held, 409, "sold_out") && false;
  const key = newKey();
  const done = await settled(() => shop.store("POST", `/carts/${cart.id}/complete`, { headers: idem(key), body: {} }));
  if (done.status === 409) return assertProblem(done, 409, "sold_out") && false;
  return assertOk(done, 200).type === "order";
}

async function redis(shop, ...args) {
  const child = spawn("redis-cli", ["-s", shop.dev.redis_socket, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  let out = "";
  child.stdout.on("data", (piece) => (out += piece));
  const [code] = await once(child, "close");
  assert.equal(code, 0, out);
  return out.trim();
}

describe("stock that is changed while it is sold", () => {
  let shop;
  before(async () => (shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=2"] })));
  after(() => shop?.stop());

  it("is what adjustments and sales make of it together", async () => {
    const { variant, sku } = await makeProduct(shop, { stock: 40 });
    const carts = await many(20, () => makeCart(shop, variant.id));
    const [orders, changes] = await Promise.all([
      many(20, (i) => sold(shop, carts[i])),
      many(20, (i) => change(shop, sku, "adjustments", { delta: i % 2 ? 3 : -2, reason: "race" })),
    ]);
    assert.equal(orders.filter(Boolean).length, 20);
    for (const answer of changes) assertOk(answer, 201);
    assert.equal((await stockOf(shop, sku)).on_hand, 40 - 20 + 10);
    await assertInvariants(shop);
  });

  it("is changed by many at once, who wait for one another and are not sent away", async () => {
    const { sku } = await makeProduct(shop, { stock: 10 });
    const answers = await many(40, (i) => shop.admin("POST", path(sku, "/adjustments"), { headers: idem(), body: { delta: 1, reason: `race ${i}` } }));
    assert.deepEqual(answers.filter((a) => a.body?.code === "deadlock").map((a) => a.text), []);
    assert.equal((await stockOf(shop, sku)).on_hand, 10 + answers.filter((a) => a.status === 201).length);
  });

  it("is set by one of those who believe the same number", async () => {
    const { sku } = await makeProduct(shop, { stock: 10 });
    const answers = await many(12, (i) => change(shop, sku, "adjustments", { delta: i + 1, expected_quantity: 10, reason: "counted twice" }));
    const done = answers.filter((a) => a.status === 201);
    assert.equal(done.length, 1, answers.map((a) => a.status).join());
    for (const a of answers) if (a.status !== 201) assertProblem(a, 412, "precondition_failed");
    assert.equal((await stockOf(shop, sku)).on_hand, done[0].body.adjustment.on_hand);
    await assertInvariants(shop);
  });

  it("is never below what is held, whatever races with the holds; an override takes carts from their holds", async () => {
    const { variant, sku } = await makeProduct(shop, { stock: 10 });
    const carts = await many(10, () => makeCart(shop, variant.id));
    const [holds, changes] = await Promise.all([
      many(10, (i) => settled(() => shop.store("POST", `/carts/${carts[i].id}/payment-sessions`, { body: { provider: "manual" } }))),
      many(6, () => change(shop, sku, "adjustments", { delta: -2, reason: "broken" })),
    ]);
    for (const a of changes) if (a.status !== 201) assertProblem(a, 409, "conflict");
    const removed = 2 * changes.filter((a) => a.status === 201).length;
    const held = holds.filter((a) => a.status === 201).length;
    const now = await stockOf(shop, sku);
    assert.deepEqual([now.on_hand, now.reserved], [10 - removed, held]);
    assert.ok(now.available >= 0);

    const [orders, forced] = await Promise.all([
      many(10, async (i) => {
        if (holds[i].status !== 201) return false;
        const key = newKey();
        const answer = await settled(() => shop.store("POST", `/carts/${carts[i].id}/complete`, { headers: idem(key), body: {} }));
        return answer.status === 200 && answer.body.type === "order";
      }),
      change(shop, sku, "adjustments", { set_to: 0, reason: "burnt down", override: true }),
    ]);
    assert.ok([201, 409].includes(forced.status), forced.text);
    const end = await stockOf(shop, sku);
    assert.ok(orders.filter(Boolean).length <= held);
    if (forced.status === 201) assert.deepEqual([end.on_hand, end.reserved], [0, 0], forced.text);
    assert.ok(end.available >= 0);
    await assertInvariants(shop);
  });

  it("keeps a count right for which many were sold since", async () => {
    const { variant, sku } = await makeProduct(shop, { stock: 30 });
    const carts = await many(12, () => makeCart(shop, variant.id));
    const [seen] = assertOk(await shop.admin("GET", path(sku, "/events?limit=1")), 200).data;
    const half = many(6, (i) => sold(shop, carts[i]));
    await until("some are sold", async () => (await stockOf(shop, sku)).on_hand < 30, MINUTE);
    const [first, second, counted] = await Promise.all([half, many(6, (i) => sold(shop, carts[6 + i])),
      change(shop, sku, "counts", { quantity: 27, event_id: seen.id, reason: "stocktake" })]);
    assert.equal([...first, ...second].filter(Boolean).length, 12);
    assertOk(counted, 201);
    assert.equal((await stockOf(shop, sku)).on_hand, 27 - 12, "three were missing, whenever it is told");
    assertProblem(await change(shop, sku, "counts", { quantity: 27, event_id: seen.id, reason: "again" }), 409, "conflict");
    await assertInvariants(shop);
  });

  it("is moved between locations all or nothing, from both sides at once", async () => {
    const { sku } = await makeProduct(shop, { stock: 20 });
    assertOk(await shop.admin("POST", "/locations", { body: { code: "attic", name: "Attic", priority: 200 } }), 201);
    assertOk(await change(shop, sku, "transfers", { from: "main", to: "attic", quantity: 10, reason: "fill" }), 201);
    const answers = await many(16, (i) => change(shop, sku, "transfers", i % 2
      ? { from: "main", to: "attic", quantity: 4, reason: "race" } : { from: "attic", to: "main", quantity: 3, reason: "race" }));
    for (const a of answers) if (a.status !== 201) assertProblem(a, 409, "conflict");
    assert.equal((await stockOf(shop, sku)).on_hand, 20);
    assert.equal(await value(shop, `SELECT COUNT(*) FROM (SELECT reference FROM stock_events WHERE type = 'transferred'
      GROUP BY reference HAVING COUNT(*) <> 2 OR SUM(on_hand_delta) <> 0) odd`), "0");
    assertProblem(await shop.admin("DELETE", "/locations/attic"), 409, "conflict");
    await assertInvariants(shop);
  });

  it("tells of refusals once, with their number", async () => {
    const { variant, product, sku } = await makeProduct(shop, { stock: 1 });
    const carts = await many(8, () => makeCart(shop, variant.id, { quantity: 2 }));
    await many(8, (i) => sold(shop, carts[i]));
    const alert = await until("all are counted", async () => {
      const { data } = assertOk(await shop.admin("GET", "/alerts?kind=stock.oversell_attempt&state=open"), 200);
      return data.find((a) => a.subject === variant.id && a.times === 8);
    }, MINUTE);
    assert.equal(alert.detail.sku, sku);
    assert.equal(await count(shop, "outbox", `type = 'stock.oversell_attempt' AND JSON_VALUE(payload, '$.subject') = '${variant.id}'`), 1);
    assert.ok(product.id);
  });

  it("says by the command line where it differs, and puts it right by an event", async () => {
    const { variant, sku } = await makeProduct(shop, { stock: 7 });
    const clean = await shop.cli("stock", "check", sku);
    assert.deepEqual([clean.code, clean.stdout], [0, "1 checked, 0 differ\n"], clean.stderr);
    await until("no pass is under way that could be first", async () => (await count(shop, "stock_checks", "state = 'running'")) === 0, MINUTE);
    await query(shop, `UPDATE stock SET on_hand = 5 WHERE variant_id = ${bin(variant.id)}`);
    const found = await shop.cli("stock", "check", sku, "--json");
    assert.equal(found.code, 1);
    assert.deepEqual(JSON.parse(found.stdout).differences.map((d) => [d.sku, d.on_hand, d.log_on_hand]), [[sku, 5, 7]]);
    const before = await query(shop, `SELECT id, on_hand_delta FROM stock_events WHERE variant_id = ${bin(variant.id)} ORDER BY id`);
    const mended = await shop.cli("stock", "reconcile");
    assert.match(mended.stdout, /1 differ, 1 repaired/);
    assert.equal(mended.code, 0, mended.stdout);
    const now = await query(shop, `SELECT id, on_hand_delta FROM stock_events WHERE variant_id = ${bin(variant.id)} ORDER BY id`);
    assert.deepEqual(now.slice(0, before.length), before, "the log is only added to");
    assert.deepEqual(now.slice(before.length).map((row) => row[1]), ["-2"]);
    assert.match((await shop.cli("stock", "events", sku)).stdout, /adjusted .*the log said 7/);
    assert.match((await shop.cli("stock", "alerts")).stdout, new RegExp(`stock.differs +${variant.id}`));
    assert.equal((await shop.cli("stock", "check")).code, 0);
    assert.equal((await shop.cli("stock", "nonsense")).code, 2);
    assert.equal((await shop.cli("stock", "check", "NOT-THERE")).code, 1);
    await assertInvariants(shop);
  });
});

describe("what Redis shows of stock", () => {
  let shop;
  // Pages are not kept here: each reader asks what all workers share.
  before(async () => (shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=2", "--set", "cache.page_ms=0",
    "--set", "cache.ttl_ms=0"] })));
  after(() => shop?.stop());

  const shown = async (product) => assertOk(await shop.store("GET", `/products/${product.id}`), 200).product.variants[0].available;

  it("may be flushed all the time while pages are read and units are sold", async () => {
    const { product, variant, sku } = await makeProduct(shop, { stock: 12 });
    const carts = await many(12, () => makeCart(shop, variant.id));
    let buying = true, reads = 0;
    const seen = new Set();
    const readers = many(3, async () => {
      while (buying) {
        seen.add(await shown(product));
        reads += 1;
      }
    });
    const flusher = (async () => {
      while (buying) assert.equal(await redis(shop, "FLUSHALL"), "OK");
    })();
    const orders = [];
    for (const cart of carts) orders.push(await sold(shop, cart));
    buying = false;
    await Promise.all([readers, flusher]);
    assert.equal(orders.filter(Boolean).length, 12);
    assert.ok(reads > 0);
    for (const units of seen) assert.ok(Number.isInteger(units) && units >= 0 && units <= 12, `${units}`);
    await until("it is shown that none are left", async () => (await shown(product)) === 0, MINUTE);
    assert.equal((await stockOf(shop, sku)).on_hand, 0);
    await assertInvariants(shop);
  });

  it("comes to what the tables say after every change", async () => {
    const { product, variant, sku } = await makeProduct(shop, { stock: 5 });
    const says = (units) => until(`Redis says ${units}`, async () =>
      (await redis(shop, "GET", `till:stock:${variant.id}`)).includes(`"available":${units}`), MINUTE);
    await says(5);
    const cart = await makeCart(shop, variant.id, { quantity: 2 });
    assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "manual" } }), 201);
    await says(3);
    await query(shop, `UPDATE reservations SET expires_at = UTC_TIMESTAMP(3) - INTERVAL 1 MINUTE WHERE cart_id = ${bin(cart.id)}`);
    await says(5);
    assertOk(await change(shop, sku, "adjustments", { delta: 4, reason: "found" }), 201);
    await says(9);
    const order = assertOk(await buy(shop, await makeCart(shop, variant.id)), 200).order;
    await says(8);
    assert.ok(order.id);
    assert.equal(await shown(product), 8);
  });
});

describe("a jobs worker that is killed amid a reconciliation", () => {
  const DIFFER = 60; // more than one slice

  /** A shop with stock that differs from its log, where the worker dies at `point` three times. */
  async function mended(point) {
    const shop = await Shop.start({ env: { TILL_FAULTS: `reconcile.${point}=3` }, args: ["--no-demo", "--set", "stock.check_interval_s=0"] });
    try {
      const made = assertOk(await shop.admin("POST", "/products", { headers: idem(), body: { title: "Many", handle: "many", status: "active",
        variants: Array.from({ length: DIFFER }, (_, i) => ({ sku: `M-${i}`, options: {}, prices: [{ currency: "GBP", amount: 100 }] })) } }), 201);
      for (const v of made.product.variants) assertOk(await change(shop, v.sku, "adjustments", { set_to: 9, reason: "first" }), 201);
      await query(shop, "UPDATE stock SET on_hand = on_hand - 2");
      const { check } = assertOk(await shop.admin("POST", "/stock-checks", { body: { repairs: true } }), 202);
      const finished = await until("the pass ends", async () => {
        await query(shop, "UPDATE stock_checks SET claimed_until = LEAST(claimed_until, UTC_TIMESTAMP(3) + INTERVAL 1 SECOND)");
        const now = assertOk(await shop.admin("GET", `/stock-checks/${check.id}`), 200).check;
        return now.state === "done" && now;
      }, 2 * MINUTE);
      const jobs = (await workers(shop)).find((w) => w.name === "jobs-0");
      assert.ok(jobs.restarts >= 3, `it was killed: ${JSON.stringify(jobs)}`);
      assert.deepEqual([finished.differences, finished.repaired], [DIFFER, DIFFER]);
      assert.equal(await count(shop, "stock_events", "reference LIKE 'check:%'"), DIFFER, "each is repaired once");
      assert.equal(await count(shop, "outbox", "type = 'stock.differs'"), DIFFER, "and told once");
      assert.equal(Number(await value(shop, "SELECT SUM(on_hand) FROM stock")), 7 * DIFFER);
      await assertInvariants(shop);
    } finally {
      await shop.stop();
    }
  }

  it("within a repair", () => mended("in_repair"));
  it("between a repair and the next slice", () => mended("before_advance"));
});

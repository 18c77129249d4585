// Buyers who wait for the same row go together, in one transaction: each has what he would have had alone, whatever
// happens to the batch that he is in.
import assert from "node:assert/strict";
import http2 from "node:http2";
import { after, before, describe, it } from "node:test";
import { Shop, idem, makeCart, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";
import { assertInvariants, bin, count, ownerSession, transactions, value } from "./support/db.mjs";
import { control } from "./support/process.mjs";

const MINUTE = 60_000;
const AGAIN = ["completion_in_progress", "idempotency_in_flight", "busy", "deadlock"];
const many = (n, fn) => Promise.all(Array.from({ length: n }, (_, i) => fn(i)));

/** `n` results of fn(i), a few at a time. */
async function some(n, fn) {
  const out = [];
  let next = 0;
  await many(8, async () => {
    for (let i = next++; i < n; i = next++) out[i] = await fn(i);
  });
  return out;
}

const start = (more = []) => Shop.start({ env: { TILL_FAULTS: "" }, args: ["--no-demo", "--set", "server.workers=1",
  "--set", "server.jobs_workers=0", "--set", "cart.completion_claim_ms=1000", "--set", "idem.lease_ms=1000",
  "--set", "server.queue_target_ms=0", "--set", "server.queue_timeout_ms=0", ...more] });

/** Asks until the server has answered for good: what clients do when a connection breaks. */
function insist(shop, target, { key = newKey(), body = {} } = {}) {
  return until(`${target} is answered`, async () => {
    const session = http2.connect(shop.dev.url, { ca: shop.ca });
    session.on("error", () => {});
    try {
      const got = await shop.h2("POST", `/store/v1${target}`, { session, headers: idem(key), body });
      return got.status < 500 && got.status !== 202 && !AGAIN.includes(got.body?.code) && got;
    } catch {
      return false;
    } finally {
      session.close();
    }
  }, MINUTE);
}

const hold = (shop, cart) => insist(shop, `/carts/${cart.id}/payment-sessions`, { body: { provider: "manual" } });
const complete = (shop, cart, key) => insist(shop, `/carts/${cart.id}/complete`, { key });

/** Carts of one unit each that are held and can be completed. */
async function heldCarts(shop, n, variantOf) {
  const carts = await some(n, (i) => makeCart(shop, variantOf(i).id));
  await some(n, async (i) => assertOk(await hold(shop, carts[i]), 201));
  return carts;
}

async function metric(shop, name) {
  const { text } = await shop.ops("/metrics");
  return Number(text.match(new RegExp(`^${name} (.*)$`, "m"))?.[1] ?? 0);
}

/** { batches, calls, splits } that came about while `act` ran. */
async function combined(shop, act) {
  const read = () => Promise.all(["batches", "calls", "splits"].map((what) => metric(shop, `till_combined_${what}_total{kind="script"}`)));
  const before = await read();
  await act();
  const after = await read();
  return { batches: after[0] - before[0], calls: after[1] - before[1], splits: after[2] - before[2] };
}

/**
 * Somebody else has the row: the first of them waits for it in the database, and the others behind him in the worker.
 * Then `meanwhile` is done, and the row is let go of. Gives their answers.
 */
async function behind(shop, rows, asks, meanwhile = async () => {}) {
  const owner = ownerSession(shop);
  try {
    await owner.ask("BEGIN");
    assert.ok((await owner.ask(`SELECT 1 FROM ${rows} FOR UPDATE`)).length > 0, rows);
    const answers = Promise.all(asks.map((ask) => ask()));
    await until("all have come", async () => (await metric(shop, "till_http_in_flight")) >= asks.length);
    await transactions(shop, 2);
    await meanwhile();
    await owner.ask("ROLLBACK");
    return await answers;
  } finally {
    owner.close();
  }
}

const stockOf = (variant) => `stock WHERE variant_id = ${bin(variant.id)}`;
const left = async (shop, variant) => (await value(shop, `SELECT CONCAT(on_hand, ' ', reserved) FROM ${stockOf(variant)}`));

async function assertOrders(shop, carts, answers) {
  for (const [i, a] of answers.entries()) {
    const { type, order } = assertOk(a, 200);
    assert.equal(type, "order", a.text);
    assert.equal(await value(shop, `SELECT number FROM orders WHERE id = ${bin(order.id)} AND cart_id = ${bin(carts[i].id)}`),
      String(order.number), "each has his own");
  }
  assert.equal(new Set(answers.map((a) => a.body.order.number)).size, carts.length);
  await assertInvariants(shop);
}

const arm = async (shop, fault) => {
  const answer = await control(shop, `fault ${fault}`);
  assert.ok(answer.ok, answer.error);
  return answer.left;
};

// Three would be enough for the batch alone; what the workers do beside it may meet one or two of them.
const AGAIN_AND_AGAIN = "sql.deadlock=5";

describe("buyers who wait for the same SKU", () => {
  let shop;
  before(async () => (shop = await start()));
  after(() => shop?.stop());

  it("are placed in one transaction, each with his own answer, which is given again under his key", async () => {
    const { variant } = await makeProduct(shop, { stock: 50 });
    const carts = await heldCarts(shop, 12, () => variant), keys = carts.map(() => newKey());
    let answers;
    assert.deepEqual(await combined(shop, async () => {
      answers = await behind(shop, stockOf(variant), carts.map((cart, i) => () => complete(shop, cart, keys[i])));
    }), { batches: 1, calls: 11, splits: 0 });
    await assertOrders(shop, carts, answers);
    assert.equal(await left(shop, variant), "38 0");
    for (const [i, cart] of carts.entries()) assert.deepEqual((await complete(shop, cart, keys[i])).body, answers[i].body);
  });

  it("do without him whose cart is completed twice", async () => {
    const { variant } = await makeProduct(shop, { stock: 50 });
    const carts = await heldCarts(shop, 8, () => variant);
    carts.push(carts[4]);
    let answers;
    const got = await combined(shop, async () => {
      answers = await behind(shop, stockOf(variant), carts.map((cart) => () => complete(shop, cart)));
    });
    assert.ok(got.splits >= 1, JSON.stringify(got));
    assert.equal(answers[8].body.order.id, answers[4].body.order.id);
    await assertOrders(shop, carts.slice(0, 8), answers.slice(0, 8));
    assert.equal(await left(shop, variant), "42 0");
  });

  it("are held together, the first who came where not all can be", async () => {
    const { variant } = await makeProduct(shop, { stock: 6 });
    const carts = await some(10, () => makeCart(shop, variant.id));
    let answers;
    const got = await combined(shop, async () => {
      answers = await behind(shop, stockOf(variant), carts.map((cart) => () => hold(shop, cart)));
    });
    assert.ok(got.batches >= 1 && got.splits >= 1, JSON.stringify(got));
    assert.equal(answers.filter((a) => a.status === 201).length, 6, answers.map((a) => a.text).join("\n"));
    for (const a of answers) if (a.status !== 201) assert.equal(a.body.code, "sold_out", a.text);
    assert.equal(await left(shop, variant), "6 6");
    await assertInvariants(shop);
  });

  for (const [fault, what] of [["sql.deadlock=1", "a deadlock, and is run again"],
    [AGAIN_AND_AGAIN, "deadlocks again and again, and goes on in parts"],
    ["sql.lost_after_send=1", "the loss of the answer to their COMMIT"],
    ["sql.lost_before_send=1", "the loss of its connection"]]) {
    it(`have one order each after ${what}`, async () => {
      const { variant } = await makeProduct(shop, { stock: 50 });
      const carts = await heldCarts(shop, 9, () => variant);
      let answers;
      const got = await combined(shop, async () => {
        answers = await behind(shop, stockOf(variant), carts.map((cart) => () => complete(shop, cart)), () => arm(shop, fault));
      });
      assert.equal(await arm(shop, `${fault.split("=")[0]}=0`), 0, "the fault happened");
      assert.ok(got.batches >= 1, JSON.stringify(got));
      assert.equal(got.splits >= 1, fault === AGAIN_AND_AGAIN, JSON.stringify(got));
      await assertOrders(shop, carts, answers);
      assert.equal(await left(shop, variant), "41 0");
      assert.equal(await count(shop, "sagas", "state IN ('running', 'waiting')"), 0);
    });
  }

  for (const [point, what] of [["before_commit", "before its batch is sent"], ["after_commit", "when its batch is committed"]]) {
    it(`have one order each where the worker is killed ${what}`, async () => {
      const { variant } = await makeProduct(shop, { stock: 50 });
      const carts = await heldCarts(shop, 9, () => variant);
      const answers = await behind(shop, stockOf(variant), carts.map((cart) => () => complete(shop, cart)),
        () => arm(shop, `combine.${point}=1`));
      assert.equal(await arm(shop, `combine.${point}=0`), 0, "it was killed");
      await assertOrders(shop, carts, answers);
      assert.equal(await left(shop, variant), "41 0");
    });
  }

  it("use a coupon as often as it may be used, whatever they buy", async () => {
    const code = newKey();
    const promo = assertOk(await shop.admin("POST", "/promotions", { headers: idem(), body: { code, name: "Last ones", status: "active",
      usage_limit: 3, terms: { level: "order", type: "percent", value: "50" } } }), 201).promotion;
    const products = await some(9, () => makeProduct(shop, { stock: 5 }));
    const carts = await some(9, (i) => makeCart(shop, products[i].variant.id));
    await some(9, async (i) => {
      assertOk(await shop.store("POST", `/carts/${carts[i].id}/promotions`, { body: { code } }));
      assertOk(await hold(shop, carts[i]), 201);
    });
    let answers;
    const got = await combined(shop, async () => {
      answers = await behind(shop, `promotions WHERE id = ${bin(promo.id)}`, carts.map((cart) => () => complete(shop, cart)));
    });
    assert.ok(got.batches >= 1 && got.splits >= 1, JSON.stringify(got));
    assert.equal(answers.filter((a) => a.body.type === "order").length, 3, answers.map((a) => a.text.slice(0, 300)).join("\n"));
    for (const a of answers) {
      if (a.body.type === "order") continue;
      assert.ok(["promotion_refused", "price_changed"].includes((a.body.error ?? a.body).code), a.text);
    }
    assert.equal(await value(shop, `SELECT used FROM promotions WHERE id = ${bin(promo.id)}`), "3");
    assert.equal(await count(shop, "promotion_redemptions", `promotion_id = ${bin(promo.id)}`), 3);
    await assertInvariants(shop);
  });
});

for (const combine of [true, false]) {
  describe(`two hundred buyers of the last twenty, orders.combine = ${combine}`, () => {
    let shop;
    before(async () => (shop = await start(["--set", `orders.combine=${combine}`])));
    after(() => shop?.stop());

    it("make twenty orders; the others are told that it is sold out, and nothing is held for them", async () => {
      const { variant } = await makeProduct(shop, { stock: 20 });
      const carts = await some(200, () => makeCart(shop, variant.id));
      let answers;
      const got = await combined(shop, async () => {
        answers = await many(200, async (i) => {
          const held = await hold(shop, carts[i]);
          return held.status === 201 ? complete(shop, carts[i]) : held;
        });
      });
      assert.equal(got.calls > 0, combine, JSON.stringify(got));
      const orders = answers.filter((a) => a.body.type === "order");
      assert.equal(orders.length, 20);
      for (const a of answers) if (a.body.type !== "order") assert.equal(a.status === 409 && a.body.code, "sold_out", a.text);
      assert.equal(await count(shop, "orders"), 20);
      assert.equal(await left(shop, variant), "0 0");
      await assertInvariants(shop);
    });
  });
}

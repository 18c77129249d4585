// Payments captured in parts: by several at a time, while workers die, and as goods are sent, cancelled and come back.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Shop, buy, idem, makeCart, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";
import { assertInvariants, bin, count, query, value } from "./support/db.mjs";
import { control } from "./support/process.mjs";

const MINUTE = 60_000;
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);
const random = (seed) => () => {
  seed |= 0; seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
};

let shop, tea, pot;
before(async () => {
  shop = await Shop.start({ env: { TILL_FAULTS: "" }, args: ["--no-demo", "--set", "server.workers=2", "--set", "idem.lease_ms=1000",
    "--set", "jobs.lease_ms=2000", "--set", "plugins.payment-test.capture=fulfilment"] });
  tea = await makeProduct(shop, { stock: 100000, price: 997 });
  pot = await makeProduct(shop, { stock: 100000, price: 2501 });
  assertOk(await shop.admin("POST", "/promotions", { headers: idem(), body: { name: "Odd",
    terms: { level: "order", type: "amount", value: 101, currency: "GBP" } } }), 201);
});
after(() => shop?.stop());

const orderOf = async (id) => assertOk(await shop.admin("GET", `/orders/${id}`), 200).order;
const paymentOf = async (id) => assertOk(await shop.admin("GET", `/payments/${id}`), 200).payment;
const ask = (id, what, body = {}) => shop.admin("POST", `/orders/${id}/${what}`, { headers: idem(), body: { reason: "spec", ...body } });
const cash = (payment) => value(shop, `SELECT COALESCE(SUM(amount), 0) FROM ledger_entries WHERE account = 'cash:test' AND payment_id = ${bin(payment.id)}`).then(Number);
const atProvider = async (payment) => Number(await value(shop, `SELECT captured_amount FROM payment_test_attempts WHERE idem_key = '${payment.id}'`));
const settled = () => until("nothing waits", async () =>
  (await count(shop, "outbox", "state = 'pending' AND type <> 'payment.capture_part' OR state = 'pending' AND aggregate NOT LIKE 'capture:%'")) === 0 &&
  (await count(shop, "sagas", "state IN ('running', 'waiting')")) === 0, MINUTE);

async function bought(lines = [[tea, 3]]) {
  const cart = await makeCart(shop, lines[0][0].variant.id, { quantity: lines[0][1] });
  for (const [{ variant }, quantity] of lines.slice(1))
    assertOk(await shop.store("POST", `/carts/${cart.id}/lines`, { body: { variant_id: variant.id, quantity } }));
  const order = assertOk(await buy(shop, cart, { provider: "test", data: { token: "tok_ok" } }), 200).order;
  const [payment] = (await orderOf(order.id)).payments;
  assert.equal(payment.state, "authorized");
  return { order, payment, total: order.total.amount };
}

/** Repeats one capture under its key until it is answered for good, whoever dies meanwhile. */
async function capture(payment, amount, { key = newKey(), ...more } = {}) {
  let broken = 0, last;
  await until("the capture is answered", async () => {
    try {
      last = await shop.h1("POST", `/admin/v1/payments/${payment.id}/capture`, { key: shop.dev.admin_key, agent: false, headers: idem(key),
        body: { amount: { amount, currency: "GBP" }, ...more } });
    } catch {
      broken++;
      return false;
    }
    return last.status < 500 && last.status !== 202 && !["idempotency_in_flight", "busy"].includes(last.body?.code);
  }, MINUTE).catch((error) => {
    throw new Error(`${error.message}; last: ${last?.status} ${last?.text}`);
  });
  return { answer: last, broken };
}

describe("captures in parts", () => {
  it("by five at once come to no more than was authorized", async () => {
    const { order, payment, total } = await bought();
    const part = Math.floor(total / 2) - 1; // two of five fit
    const all = await Promise.all([1, 2, 3, 4, 5].map(() => capture(payment, part)));
    assert.deepEqual(all.map(({ answer }) => answer.status).sort(), [200, 200, 422, 422, 422], all.map(({ answer }) => answer.text).join("\n"));
    assert.deepEqual([await cash(payment), await atProvider(payment)], [2 * part, 2 * part]);
    const now = await paymentOf(payment.id);
    assert.deepEqual([now.left_amount.amount, now.captures.map((one) => one.state)], [total - 2 * part, ["done", "done"]]);
    assert.equal((await orderOf(order.id)).payment_status, "partially_captured");
    await assertInvariants(shop);
  });

  it("under one Idempotency-Key are one, and say the same", async () => {
    const { payment } = await bought();
    const key = newKey();
    const all = await Promise.all([1, 2, 3].map(() => capture(payment, 500, { key })));
    for (const { answer } of all) assertOk(answer, 200);
    const again = assertOk((await capture(payment, 500, { key })).answer, 200);
    assert.equal(again.payment.capture_amount.amount, 500);
    assert.deepEqual([await cash(payment), await atProvider(payment), await count(shop, "captures", `payment_id = ${bin(payment.id)}`)], [500, 500, 1]);
  });

  for (const point of ["after_decide", "before_ask", "after_ask"]) {
    for (const [which, before] of [["first", 0], ["second", 400]]) {
      it(`whose worker is killed at capture_part.${point}, of the ${which} part, are taken and booked once`, async () => {
        const { payment } = await bought();
        if (before) assertOk((await capture(payment, before)).answer, 200);
        await control(shop, `fault capture_part.${point}=1`);
        const { answer, broken } = await capture(payment, 300);
        assert.ok(broken >= 1, "it was killed");
        assertOk(answer, 200);
        assert.deepEqual([await cash(payment), await atProvider(payment)], [before + 300, before + 300]);
        assert.equal((await paymentOf(payment.id)).capture_amount.amount, before + 300);
        await assertInvariants(shop);
      });
    }
  }

  it("that nobody comes back for are gone on with", async () => {
    const { payment } = await bought();
    await control(shop, "fault capture_part.after_ask=1");
    await assert.rejects(shop.h1("POST", `/admin/v1/payments/${payment.id}/capture`, { key: shop.dev.admin_key, agent: false, headers: idem(),
      body: { amount: { amount: 300, currency: "GBP" } } }));
    await query(shop, "UPDATE outbox SET available_at = NOW(3) WHERE type = 'payment.capture_part' AND state = 'pending'");
    await until("it is booked", async () => await cash(payment) === 300, MINUTE);
    assert.equal(await atProvider(payment), 300);
    await assertInvariants(shop);
  });
});

describe("captures as goods are sent", () => {
  it("come to what is owed, whatever is sent, cancelled, returned and captured in which order", async (t) => {
    const next = random(SEED);
    t.diagnostic(`SEED=${SEED}`);
    const pick = (n) => Math.floor(next() * n);
    for (let round = 0; round < 8; ++round) {
      const { order, payment } = await bought([[tea, 1 + pick(5)], [pot, 1 + pick(3)]]);
      const steps = [], parcels = [];
      for (let step = 0; step < 9; ++step) {
        const line = order.lines[pick(2)], lines = [{ line_id: line.id, quantity: 1 + pick(2) }], parcel = parcels[pick(parcels.length)];
        const what = ["cancel", "send", "send", "pack", "ship", "unpack", "return", "capture", "wait"][pick(9)];
        steps.push(`${what} ${line.sku} ${lines[0].quantity}`);
        let answer;
        if (what === "cancel") answer = await ask(order.id, "cancel", { lines });
        else if (what === "return") answer = await ask(order.id, "returns", { lines: [{ ...lines[0], restock: true }] });
        else if (what === "pack" || what === "send") answer = await ask(order.id, "fulfilments", { lines, status: what === "pack" ? "pending" : "shipped", reason: undefined });
        else if (what === "capture") ({ answer } = await capture(payment, 1 + pick(700)));
        else if (what === "wait") await settled();
        else if (parcel) answer = await ask(order.id, `fulfilments/${parcel}/${what === "ship" ? "ship" : "cancel"}`, { reason: undefined });
        if (!answer) continue;
        assert.ok(answer.status < 300 || answer.status === 409 || answer.status === 422, `${round}: ${steps.join(", ")}: ${answer.text}`);
        if (answer.status === 201 && answer.body.fulfilment?.status === "pending") parcels.push(answer.body.fulfilment.id);
      }
      await settled();
      const end = await orderOf(order.id), now = await paymentOf(payment.id);
      const said = `${round}: ${steps.join(", ")}: ${end.payment_status} ${JSON.stringify(now)}`;
      const owed = order.total.amount - [...end.cancellations, ...end.returns].reduce((sum, c) => sum + c.amount.amount, 0);
      const taken = await atProvider(payment), left = now.left_amount.amount;
      if (end.payment_status !== "voided") assert.equal(taken - now.refunded_amount.amount + left, owed, said);
      assert.equal(await cash(payment), taken - now.refunded_amount.amount, said);
      if (end.status === "completed") assert.equal(left, 0, said);
    }
    await assertInvariants(shop);
  });
});

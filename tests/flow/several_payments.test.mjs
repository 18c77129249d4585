// Several payments of one order: a worker killed between them, ten who complete at once, one that is declined, and what goes back.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { StripeDouble } from "../doubles/stripe/double.mjs";
import { Shop, idem, makeCart, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";
import { many } from "./support/crowd.mjs";
import { assertInvariants, bin, count, query, value } from "./support/db.mjs";

const AGAIN = ["completion_in_progress", "idempotency_in_flight", "busy"];
const LIMIT = 60_000, PART = 700;

let shop, stripe, variant;
before(async () => {
  stripe = await StripeDouble.start();
  const options = { secret_key: stripe.key, base_url: stripe.url, webhook_secret: "whsec_of_the_tests", timeout_ms: 5000,
    return_url: "https://shop.example/back?cart={cart}" };
  shop = await Shop.start({ env: { TILL_FAULTS: "checkout.after_authorize=1" }, args: ["--no-demo", "--set", "server.workers=2",
    "--set", "cart.completion_claim_ms=1000", "--set", "idem.lease_ms=1000",
    ...Object.entries(options).flatMap(([name, one]) => ["--set", `plugins.payment-stripe.${name}=${one}`])] });
  ({ variant } = await makeProduct(shop, { stock: 1000 }));
});
after(async () => {
  await shop?.stop();
  await stripe?.stop();
});

const session = (cart, body) => shop.store("POST", `/carts/${cart.id}/payment-sessions`, { headers: idem(), body });
const card = (method) => ({ provider: "stripe", data: { payment_method: method } });
const part = { provider: "test", amount: { amount: PART, currency: "GBP" }, data: { token: "tok_ok" } };
const orderOf = async (id) => assertOk(await shop.admin("GET", `/orders/${id}`), 200).order;
const refund = (order, amount, key = newKey()) => shop.admin("POST", `/orders/${order.id}/refunds`, { headers: idem(key),
  body: { amount: { amount, currency: "GBP" }, reason: "spec" } });

/** Asks until there is an answer for good; a connection that breaks is asked again. */
const outcome = (cart, key = newKey()) => until("the outcome is known", async () => {
  const answer = await shop.h1("POST", `/store/v1/carts/${cart.id}/complete`, { agent: false, headers: idem(key), body: {} }).catch(() => null);
  return answer && answer.status < 500 && answer.status !== 202 && !AGAIN.includes(answer.body?.code) && answer;
}, LIMIT);

async function ready(method = "pm_card_visa") {
  const cart = await makeCart(shop, variant.id, { quantity: 3 });
  assertOk(await session(cart, part), 201);
  assertOk(await session(cart, card(method)), 201);
  return cart;
}

/** One order, each payment asked for once, all of it taken. */
async function assertBoth(cart, order) {
  const paid = await until("both are captured", async () => {
    const now = await orderOf(order.id);
    return now.payment_status === "captured" && now;
  }, LIMIT);
  assert.equal(await count(shop, "orders", `cart_id = ${bin(cart.id)}`), 1);
  assert.deepEqual(paid.payments.map((one) => [one.provider, one.state]), [["stripe", "captured"], ["test", "captured"]]);
  assert.equal(stripe.taken({ cart: cart.id }), order.total.amount - PART);
  const attempts = `SELECT COUNT(*), SUM(captured_amount) FROM payment_test_attempts a JOIN payments p ON p.idem_key = a.idem_key WHERE p.cart_id = ${bin(cart.id)}`;
  assert.deepEqual(await query(shop, attempts), [["1", String(PART)]]);
  assert.equal(await value(shop, `SELECT SUM(amount) FROM ledger_entries WHERE order_id = ${bin(order.id)} AND account = 'receivable'`), "0");
  stripe.check();
  await assertInvariants(shop);
  return paid;
}

describe("several payments of one order", () => {
  it("are each taken once where the worker is killed between them", async () => {
    const cart = await ready();
    const { type, order } = assertOk(await outcome(cart), 200);
    assert.equal(type, "order");
    assert.equal(await value(shop, `SELECT attempts > 1 FROM sagas WHERE aggregate = '${cart.id}'`), "1", "the flow was dropped once");
    await assertBoth(cart, order);
  });

  it("are each taken once by ten who complete at once", async () => {
    const cart = await ready();
    const answers = await many(10, () => outcome(cart));
    for (const answer of answers) assert.equal(assertOk(answer, 200).order?.id, answers[0].body.order.id, answer.text);
    assert.equal(stripe.world.all("payment_intent").filter((one) => one.metadata.cart === cart.id).length, 1);
    await assertBoth(cart, answers[0].body.order);
  });

  it("are begun by ten at once, and never come to more than the total", async () => {
    const cart = await makeCart(shop, variant.id, { quantity: 3 });
    const half = { ...part, amount: { amount: Math.ceil(cart.total.amount / 2), currency: "GBP" } };
    const target = `/store/v1/carts/${cart.id}/payment-sessions`; // each over its own connection: in one worker they take turns
    const answers = await many(10, () => shop.h1("POST", target, { agent: false, headers: idem(), body: half }));
    assert.equal(answers.filter((one) => one.status === 201).length, 1, JSON.stringify(answers.map((one) => one.status)));
    for (const answer of answers) assert.ok(answer.status < 500, answer.text);
    assertProblem(await shop.store("POST", `/carts/${cart.id}/complete`, { headers: idem(), body: {} }), 422, "cart_incomplete");
    assertOk(await session(cart, { provider: "manual" }), 201);
    assert.equal(assertOk(await outcome(cart), 200).order.payment_status, "awaiting");
    await assertInvariants(shop);
  });

  it("pay for the order or are given back, where one is deleted while it is completed", async () => {
    for (let round = 0; round < 4; ++round) {
      const cart = await ready();
      const list = assertOk(await shop.store("GET", `/carts/${cart.id}/payment-sessions`), 200).payment_sessions;
      const [answer, gone] = await Promise.all([outcome(cart), shop.store("DELETE", `/carts/${cart.id}/payment-sessions/${list[round % 2].id}`)]);
      assert.ok(gone.status === 200 || gone.status === 409, gone.text);
      const order = answer.body.order ?? (await outcome(cart)).body.order;
      assert.equal(order === undefined, gone.status === 200, `${answer.text} ${gone.text}`);
      if (order) await assertBoth(cart, order);
      else assertProblem(answer, 422, "cart_incomplete");
    }
    await assertInvariants(shop);
  });

  it("go on with another card where one is declined, and go back of the last one first", async () => {
    const cart = await ready("pm_card_visa_chargeDeclined");
    assert.equal(assertOk(await outcome(cart), 200).error.code, "payment_declined");
    assert.equal(stripe.taken({ cart: cart.id }), 0);
    assertOk(await session(cart, card("pm_card_visa")), 201);
    const order = await assertBoth(cart, assertOk(await outcome(cart), 200).order);
    const ofCard = order.total.amount - PART;
    assertOk(await refund(order, ofCard - 1));
    const answers = await many(4, () => refund(order, 300));
    assert.equal(answers.filter((one) => one.status === 200).length, 2, JSON.stringify(answers.map((one) => one.body)));
    for (const answer of answers) if (answer.status !== 200) assertProblem(answer, 409, "conflict");
    assert.deepEqual((await orderOf(order.id)).payments.map((one) => one.refunded_amount.amount), [ofCard, 599]);
    await assertInvariants(shop);
    const key = newKey();
    const body = { lines: [{ line_id: order.lines[0].id, quantity: 3 }], reason: "spec" };
    for (let i = 0; i < 2; ++i) assertOk(await shop.admin("POST", `/orders/${order.id}/cancel`, { headers: idem(key), body }), 200);
    assert.equal(stripe.taken({ cart: cart.id }), 0);
    const back = `SELECT SUM(r.amount) FROM payment_test_refunds r JOIN payments p ON p.idem_key = r.idem_key WHERE p.cart_id = ${bin(cart.id)}`;
    assert.equal(await value(shop, back), String(PART));
    stripe.check();
    await assertInvariants(shop);
  });
});

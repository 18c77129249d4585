// Payments by Stripe, against its double: whatever becomes of requests and answers, an order was paid once, to the cent,
// and where there is no order nothing was taken.
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, beforeEach, describe, it } from "node:test";
import { StripeDouble } from "../doubles/stripe/double.mjs";
import { Shop, idem, makeCart, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";
import { assertInvariants, bin, value } from "./support/db.mjs";

const CREATE = { method: "POST", path: "/v1/payment_intents" };
const CONFIRM = { method: "POST", path: "/v1/payment_intents/[^/]+/confirm" };
const CAPTURE = { method: "POST", path: "/v1/payment_intents/[^/]+/capture" };
const CANCEL = { method: "POST", path: "/v1/payment_intents/[^/]+/cancel" };
const REFUND = { method: "POST", path: "/v1/refunds" };
const SECRET = "whsec_of_the_tests";

let shop, stripe, variant;
before(async () => {
  stripe = await StripeDouble.start();
  shop = await startShop();
  ({ variant } = await makeProduct(shop, { stock: 1000 }));
});
beforeEach(() => stripe.script.clear());
after(async () => {
  stripe?.webhooks.close();
  await shop?.stop();
  await stripe?.stop();
});

function startShop(more = {}) {
  const options = { secret_key: stripe.key, base_url: stripe.url, webhook_secret: SECRET, return_url: "https://shop.example/back?cart={cart}",
    timeout_ms: 5000, ...more };
  return Shop.start({ args: ["--no-demo", "--set", "cart.completion_claim_ms=5000", "--set", "idem.lease_ms=5000",
    ...Object.entries(options).flatMap(([name, one]) => ["--set", `plugins.payment-stripe.${name}=${one}`])] });
}

const complete = (cart, key, body = {}) => shop.store("POST", `/carts/${cart.id}/complete`, { headers: idem(key), body });
const cartOf = async (cart) => assertOk(await shop.store("GET", `/carts/${cart.id}`), 200).cart;
const orderOf = async (id) => assertOk(await shop.admin("GET", `/orders/${id}`), 200).order;
const taken = (cart) => stripe.taken({ cart: cart.id });
const intentsOf = (cart) => stripe.world.all("payment_intent").filter((one) => one.metadata.cart === cart.id);

async function ready(method = "pm_card_visa", quantity = 1) {
  const cart = await makeCart(shop, variant.id, { quantity });
  assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "stripe", data: { payment_method: method } } }), 201);
  return cart;
}

/** Completes, again and again as clients do, until it is an order or a refusal. */
function outcome(cart, key = newKey(), body = {}) {
  return until("the outcome is known", async () => {
    const answer = await complete(cart, key, body);
    return answer.status !== 202 && answer.body.code !== "completion_in_progress" && answer.body.code !== "idempotency_in_flight" && answer;
  }, 60_000);
}

/** It is an order, captured, and the money of it is there once, and nowhere else. */
async function assertPaidOnce(cart, { order }) {
  const paid = await until("the money is captured", async () => {
    const seen = await orderOf(order.id);
    return seen.payment_status === "captured" && seen;
  }, 60_000);
  assert.equal(taken(cart), paid.total.amount);
  assert.deepEqual(intentsOf(cart).map((one) => [one.status, one.amount_received]), [["succeeded", paid.total.amount]]);
  assert.equal(await value(shop, `SELECT SUM(amount) FROM ledger_entries WHERE order_id = ${bin(order.id)} AND account = 'cash:stripe'`), String(paid.total.amount));
  stripe.check();
  await assertInvariants(shop);
  return paid;
}

/** There is no order, nothing was taken, nothing can be taken any more, and another card pays. */
async function assertNothingTaken(cart, answer) {
  assert.equal(answer.body.error?.code ?? answer.body.code, "payment_declined", answer.text);
  assert.equal((await cartOf(cart)).state, "open");
  assert.equal(taken(cart), 0);
  for (const one of intentsOf(cart)) assert.ok(["canceled", "requires_payment_method"].includes(one.status), one.status);
  stripe.check();
}

async function paysOtherwise(cart) {
  assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "stripe", data: { payment_method: "pm_card_mastercard" } } }), 201);
  const { body } = await outcome(cart);
  assert.equal(body.type, "order", JSON.stringify(body));
  await until("it is captured", async () => (await orderOf(body.order.id)).payment_status === "captured", 60_000);
  assert.equal(taken(cart), body.order.total.amount);
}

describe("a payment by Stripe", () => {
  it("is authorised, captured when the order is there, and names the cart", async () => {
    const cart = await ready("pm_card_visa", 2);
    const answer = assertOk(await outcome(cart), 200);
    await assertPaidOnce(cart, answer);
    const calls = stripe.calls.filter((one) => one.method === "POST");
    assert.deepEqual(calls.map((one) => one.path.replace(/pi_\w+/, "ID")), ["/v1/payment_intents", "/v1/payment_intents/ID/confirm", "/v1/payment_intents/ID/capture"]);
    assert.equal(new Set(calls.map((one) => one.key)).size, 3);
    assert.equal(calls[1].params.return_url, `https://shop.example/back?cart=${cart.id}`);
    assert.equal(calls[0].params.capture_method, "manual");
  });

  for (const [card, why] of [["pm_card_visa_chargeDeclinedInsufficientFunds", /insufficient/], ["pm_card_chargeDeclinedExpiredCard", /expired/],
    ["pm_card_none_such", /No such/], ["card_1", /payment_method/]])
    it(`is declined: ${card}`, async () => {
      const cart = await ready(card);
      const answer = await outcome(cart);
      await assertNothingTaken(cart, answer);
      assert.match(JSON.stringify(answer.body), why);
      await paysOtherwise(cart);
    });

  it("that the shopper must confirm is paid when he did, and not when he did not", async () => {
    for (const approved of [true, false]) {
      const cart = await ready("pm_card_authenticationRequired");
      const asked = assertOk(await outcome(cart), 200);
      assert.equal(asked.error.code, "payment_requires_action");
      assert.equal(taken(cart), 0);
      const back = await fetch(asked.error.action.url, { method: "POST", body: `approved=${approved}`, redirect: "manual" });
      assert.match(back.headers.get("location"), new RegExp(`^https://shop.example/back\\?cart=${cart.id}&payment_intent=pi_`));
      const answer = await outcome(cart, newKey(), { data: { returned: true } });
      if (approved) await assertPaidOnce(cart, answer.body);
      else await assertNothingTaken(cart, answer);
    }
  });
});

// Where a connection that was used before is broken, libcurl asks again by itself, under the same key: then it is paid.
const ENDS = { true: "one order, paid once", false: "no order, nothing taken", undefined: "one of both" };

describe("an answer of Stripe that is lost or wrong", () => {
  for (const [why, rule, isOrder] of [
    ["nothing was made, and nobody answers", { match: CREATE, timeout: "before" }, false],
    ["it was made, and the connection broken", { match: CREATE, reset: "after" }],
    ["too many requests", { match: CREATE, status: 429 }, false],
    ["of another amount before anything is taken", { match: CREATE, answer: { amount: 1 } }, false],
    ["the confirmation never came", { match: CONFIRM, timeout: "before" }, false],
    ["the confirmation was read, not done, and the connection broken", { match: CONFIRM, reset: "before" }],
    ["confirmed, and nobody answers", { match: CONFIRM, timeout: "after" }, true],
    ["confirmed, and the connection broken", { match: CONFIRM, reset: "after" }, true],
    ["confirmed, and 500", { match: CONFIRM, status: 500, effect: true }, true],
    ["500, and not confirmed", { match: CONFIRM, status: 500 }, false],
    ["503, and not confirmed", { match: CONFIRM, status: 503 }, false],
    ["409, and not confirmed", { match: CONFIRM, status: 409 }, false],
    ["confirmed, and another amount is told", { match: CONFIRM, answer: { amount: 1 } }, true],
    ["confirmed, and another currency is told", { match: CONFIRM, answer: { currency: "eur" } }, true],
    ["confirmed, and another payment is told", { match: CONFIRM, answer: { metadata: { payment: "pay_x", cart: "cart_x" } } }, true],
  ])
    it(`ends as ${ENDS[isOrder]}: ${why}`, async () => {
      const cart = await ready();
      stripe.script.on(rule);
      const answer = await outcome(cart);
      assert.deepEqual(stripe.script.requests, [], "it happened");
      if (isOrder ?? answer.body.type === "order") await assertPaidOnce(cart, answer.body);
      else await assertNothingTaken(cart, answer);
    });

  it("of a decline leaves nothing open, also where the cancellation is lost as well", async () => {
    const cart = await ready("pm_card_visa_chargeDeclined");
    stripe.script.on({ match: CONFIRM, timeout: "after" }, { match: CANCEL, reset: "before" });
    await assertNothingTaken(cart, await outcome(cart));
  });

  for (const rule of [{ timeout: "after" }, { reset: "after" }, { reset: "before" }, { status: 500, effect: true }, { status: 429 }, { status: 503 },
    { answer: { amount_received: 1 } }])
    it(`to a capture is looked up: ${JSON.stringify(rule)}`, async () => {
      const cart = await ready();
      stripe.script.on({ match: CAPTURE, ...rule });
      await assertPaidOnce(cart, assertOk(await outcome(cart), 200));
      assert.deepEqual(stripe.script.requests, []);
    });

  for (const rule of [{ timeout: "after" }, { reset: "after" }, { reset: "before" }, { status: 429 }, { answer: { amount: 1 } }])
    it(`to a refund does not give back twice: ${JSON.stringify(rule)}`, async () => {
      const cart = await ready();
      const { order } = assertOk(await outcome(cart), 200);
      await assertPaidOnce(cart, { order });
      stripe.script.on({ match: REFUND, ...rule });
      await shop.admin("POST", `/orders/${order.id}/cancel`, { headers: idem(), body: {} });
      await until("it was refunded", async () => (await orderOf(order.id)).payment_status === "refunded", 60_000);
      assert.equal(taken(cart), 0);
      assert.equal(stripe.world.all("refund").filter((one) => one.payment_intent === intentsOf(cart)[0].id).length, 1);
      stripe.check();
      await assertInvariants(shop);
    });
});

/** The shop's certificate is of its own authority, which nobody else believes: what comes here goes on to it. */
async function relayToShop(statuses) {
  const server = http.createServer(async (request, answer) => {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const got = await shop.h2("POST", "/hooks/v1/payment-stripe", { key: null, body: Buffer.concat(pieces),
      headers: { "content-type": "application/json", "stripe-signature": request.headers["stripe-signature"] } }).catch(() => ({ status: 503 }));
    statuses.push(got.status);
    answer.writeHead(got.status).end();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}/`, stop: () => server.close(server.closeAllConnections()) };
}

describe("webhooks of Stripe", () => {
  it("are taken when they are signed with our secret, and refused otherwise", async () => {
    const statuses = [];
    const relay = await relayToShop(statuses);
    const { id } = stripe.endpoint(relay.url, { secret: SECRET, events: ["payment_intent.created", "payment_intent.succeeded", "charge.succeeded"] });
    try {
      const cart = await ready();
      const made = { match: { type: "payment_intent.created" } };
      stripe.script.onEvent({ ...made, duplicate: 1 }, { match: { type: "payment_intent.succeeded" }, hold: true });
      await assertPaidOnce(cart, assertOk(await outcome(cart), 200));
      await until("they came", () => statuses.length >= 3 && stripe.webhooks.isQuiet);
      assert.deepEqual([...new Set(statuses)], [200], "late, twice: all are taken");
      await stripe.do("release");
      for (const rule of [{ secret: "wrong" }, { skew_s: -600 }, { skew_s: 600 }]) {
        const before = statuses.length;
        stripe.script.onEvent({ ...made, ...rule });
        await outcome(await ready());
        await until("it was refused and sent again", () => statuses.slice(before).includes(400));
      }
    } finally {
      stripe.world.remove(id);
      relay.stop();
    }
  });
});

describe("a shop that takes the money at once", () => {
  before(async () => {
    await shop.stop();
    shop = await startShop({ capture_method: "automatic" });
    ({ variant } = await makeProduct(shop, { stock: 100 }));
  });

  for (const [why, rule] of [["told at once", undefined], ["told by a lookup", { match: CONFIRM, reset: "after" }],
    ["told by a lookup, after 500", { match: CONFIRM, status: 500, effect: true }]])
    it(`has it once: ${why}`, async () => {
      const cart = await ready();
      if (rule) stripe.script.on(rule);
      await assertPaidOnce(cart, assertOk(await outcome(cart), 200));
      assert.ok(!stripe.calls.some((one) => one.path === `/v1/payment_intents/${intentsOf(cart)[0].id}/capture`));
    });
});

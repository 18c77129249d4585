// Payments by Stripe, against its double: whatever becomes of requests and answers, an order was paid once, to the cent,
// and where there is no order nothing was taken.
import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { StripeDouble } from "../doubles/stripe/double.mjs";
import { Shop, idem, makeCart, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";
import { assertInvariants, bin, count, query, value } from "./support/db.mjs";

const CREATE = { method: "POST", path: "/v1/payment_intents" };
const CONFIRM = { method: "POST", path: "/v1/payment_intents/[^/]+/confirm" };
const CAPTURE = { method: "POST", path: "/v1/payment_intents/[^/]+/capture" };
const CANCEL = { method: "POST", path: "/v1/payment_intents/[^/]+/cancel" };
const REFUND = { method: "POST", path: "/v1/refunds" };
const VAULT_KEY = `of_the_tests:${Buffer.alloc(32, 7).toString("base64")}`;
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
  return Shop.start({ args: ["--no-demo", "--set", "payments.breaker_min_calls=100000", "--set", "cart.completion_claim_ms=5000",
    "--set", "idem.lease_ms=5000", "--set", `vault.keys=${VAULT_KEY}`,
    ...Object.entries(options).flatMap(([name, one]) => ["--set", `plugins.payment-stripe.${name}=${one}`])] });
}

const complete = (cart, key, body = {}) => shop.store("POST", `/carts/${cart.id}/complete`, { headers: idem(key), body });
const cartOf = async (cart) => assertOk(await shop.store("GET", `/carts/${cart.id}`), 200).cart;
const orderOf = async (id) => assertOk(await shop.admin("GET", `/orders/${id}`), 200).order;
const logOf = (of) => fs.readFileSync(path.join(of.dir, "moontill.log"), "utf8");
const taken = (cart) => stripe.taken({ cart: cart.id });
const intentsOf = (cart) => stripe.world.all("payment_intent").filter((one) => one.metadata.cart === cart.id);

async function ready(method = "pm_card_visa", quantity = 1) {
  const cart = await makeCart(shop, variant.id, { quantity });
  await choose(cart, { payment_method: method });
  return cart;
}

const choose = async (cart, data) => assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "stripe", data } }), 201).payment_session;

/** As the shop would have asked, at another time or with other options. */
const ask = (path, params, key = newKey()) => fetch(stripe.url + path, { method: "POST", body: new URLSearchParams(params),
  headers: { authorization: `Bearer ${stripe.key}`, "idempotency-key": key, "content-type": "application/x-www-form-urlencoded" } });

/** Completes, again and again as clients do, until it is an order or a refusal. */
function outcome(cart, key = newKey(), body = {}) {
  return until("the outcome is known", async () => {
    const answer = await complete(cart, key, body);
    return answer.status !== 202 && answer.body.code !== "completion_in_progress" && answer.body.code !== "idempotency_in_flight" && answer;
  }, 60_000);
}

/** What the ledger holds of it: cash, and the fee that is no cash any more once a webhook or a poll has told of it. */
const booked = (where) => value(shop, `SELECT SUM(amount) FROM ledger_entries WHERE ${where} AND account IN ('cash:stripe', 'fees:stripe')`);

/** It is an order, captured, and the money of it is there once, and nowhere else. */
async function assertPaidOnce(cart, { order }) {
  const paid = await until("the money is captured", async () => {
    const seen = await orderOf(order.id);
    return seen.payment_status === "captured" && seen;
  }, 60_000);
  assert.equal(taken(cart), paid.total.amount);
  assert.deepEqual(intentsOf(cart).map((one) => [one.status, one.amount_received]), [["succeeded", paid.total.amount]]);
  assert.equal(await booked(`order_id = ${bin(order.id)}`), String(paid.total.amount));
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

  it("ends as one order, paid once: confirmed, the connection broken, and turned away where it is sent again", async () => {
    const cart = await ready();
    stripe.script.on({ match: CONFIRM, reset: "after" }, { match: CONFIRM, status: 429 });
    const answer = await outcome(cart);
    await assertPaidOnce(cart, answer.body);
    assert.deepEqual(stripe.script.requests, [], "it was, over the connection of the first request");
  });

  it("of a decline leaves nothing open, also where the cancellation is lost as well", async () => {
    const cart = await ready("pm_card_visa_chargeDeclined");
    stripe.script.on({ match: CONFIRM, timeout: "after" }, { match: CANCEL, reset: "before" });
    await assertNothingTaken(cart, await outcome(cart));
  });

  it("of a decline leaves nothing open, also where Stripe remembers that the cancellation failed", async () => {
    const cart = await ready("pm_card_visa_chargeDeclined");
    stripe.script.on({ match: CANCEL, status: 500 });
    await assertNothingTaken(cart, await outcome(cart));
    assert.deepEqual(intentsOf(cart).map((one) => one.status), ["canceled"]);
  });

  for (const lag of [0, 3600])
    it(`is found by what it says where its key is known with other parameters${lag ? ", and no search finds it" : ""}`, async () => {
      const cart = await makeCart(shop, variant.id);
      const session = await choose(cart, { payment_method: "pm_card_visa" });
      await ask("/v1/payment_intents", { amount: session.amount.amount, currency: "gbp", capture_method: "manual", "payment_method_types[0]": "card",
        payment_method: "pm_card_visa", confirm: "true", description: "as it was asked once", "metadata[payment]": session.id, "metadata[cart]": cart.id }, session.id);
      await query(shop, `UPDATE payments SET state = 'unknown' WHERE id = ${bin(session.id)}`);
      stripe.world.searchLag_s = lag;
      try {
        await assertPaidOnce(cart, assertOk(await outcome(cart), 200));
      } finally {
        stripe.world.searchLag_s = 0;
      }
    });

  it("to a wrong key is told to staff, and to no shopper", async () => {
    const cart = await ready();
    const { key } = stripe;
    stripe.key = "sk_test_another";
    const answer = await outcome(cart);
    stripe.key = key;
    assert.ok(stripe.violations.splice(0).length > 0);
    await assertNothingTaken(cart, answer);
    assert.doesNotMatch(answer.text, /401|key|credential/i);
    assert.match(logOf(shop), /stripe\.wrong_key.*secret_key/);
    await paysOtherwise(cart);
  });

  for (const rule of [{ timeout: "after" }, { reset: "after" }, { reset: "before" }, { status: 500, effect: true }, { status: 500 }, { status: 429 },
    { status: 503 }, { answer: { amount_received: 1 } }])
    it(`to a capture is looked up: ${JSON.stringify(rule)}`, async () => {
      const cart = await ready();
      stripe.script.on({ match: CAPTURE, ...rule });
      await assertPaidOnce(cart, assertOk(await outcome(cart), 200));
      assert.deepEqual(stripe.script.requests, []);
    });

  for (const rule of [{ timeout: "after" }, { reset: "after" }, { reset: "before" }, { status: 429 }, { status: 500 }, { status: 500, effect: true }, { answer: { amount: 1 } }])
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

describe("Stripe's own page", () => {
  const SESSION = { method: "POST", path: "/v1/checkout/sessions" };
  const page = async () => {
    const cart = await makeCart(shop, variant.id);
    await choose(cart, { checkout: true });
    return cart;
  };
  const sessionOf = (cart) => stripe.world.all("checkout.session").find((one) => one.metadata.cart === cart.id);

  for (const [why, rule] of [["", null], [": the answer was lost", { match: SESSION, reset: "after" }]])
    it(`is told to the shopper, and what he pays there pays for the order${why}`, async () => {
      const cart = await page();
      if (rule) stripe.script.on(rule);
      const key = newKey();
      const asked = await until("he is sent there", async () => {
        const answer = await complete(cart, key);
        return answer.body.error?.code === "payment_requires_action" && answer;
      });
      const session = sessionOf(cart);
      assert.deepEqual(asked.body.error.action, { type: "redirect", url: session.url });
      assert.equal((await outcome(cart)).body.error.code, "payment_requires_action", "asked again: still to be paid");
      stripe.do("pay", { session: session.id });
      await assertPaidOnce(cart, assertOk(await outcome(cart, newKey(), { data: { returned: true } }), 200));
      assert.equal(stripe.world.all("checkout.session").filter((one) => one.metadata.cart === cart.id).length, 1);
    });

  it("that has expired pays for nothing, and another way does", async () => {
    const cart = await page();
    await outcome(cart);
    await ask(`/v1/checkout/sessions/${sessionOf(cart).id}/expire`, {});
    await assertNothingTaken(cart, await outcome(cart));
    await paysOtherwise(cart);
  });

  it("is closed where the shopper pays otherwise, so that he cannot pay there as well", async () => {
    const cart = await page();
    await outcome(cart);
    await paysOtherwise(cart);
    assert.equal(sessionOf(cart).status, "expired");
  });
});

describe("a payment method that is kept", () => {
  const DETACH = { method: "POST", path: "/v1/payment_methods/[^/]+/detach" };

  /** Somebody who is logged in; `send` asks for him. */
  async function customer() {
    const email = `${newKey()}@example.com`, password = "correct horse battery";
    assertOk(await shop.h2("POST", "/auth/v1/customers", { body: { email, password } }));
    const { token } = assertOk(await shop.h2("POST", "/auth/v1/customers/sessions", { body: { email, password } }), 201);
    const send = (method, target, options) => shop.h2(method, target, { key: token, ...options });
    return { send, list: async () => assertOk(await send("GET", METHODS), 200).data };
  }
  const METHODS = "/store/v1/customers/me/payment-methods";
  const pays = (send, cart, data) => send("POST", `/store/v1/carts/${cart.id}/payment-sessions`, { body: { provider: "stripe", data } });

  async function buys({ send }, data) {
    const cart = await makeCart(shop, variant.id, { send });
    assertOk(await pays(send, cart, data), 201);
    const key = newKey();
    const answer = await until("the outcome is known", async () => {
      const got = await send("POST", `/store/v1/carts/${cart.id}/complete`, { headers: idem(key), body: {} });
      return got.status !== 202 && got;
    }, 60_000);
    return { cart, answer };
  }

  it("pays for the next order, is told by what may be shown, and is forgotten when he deletes it", async () => {
    const ada = await customer();
    const first = await buys(ada, { payment_method: "pm_card_mastercard", save: true });
    await assertPaidOnce(first.cart, assertOk(first.answer, 200));
    const [kept, ...others] = await ada.list();
    assert.deepEqual(others, []);
    assert.deepEqual(kept, { id: kept.id, provider: "stripe", brand: "mastercard", last4: "4444", exp_month: 12, exp_year: 2040, created_at: kept.created_at });
    const [intent] = intentsOf(first.cart);
    const everything = JSON.stringify(await query(shop, "SELECT sealed, token_index FROM saved_payment_methods")) + logOf(shop);
    assert.ok(!everything.includes(intent.payment_method) && !everything.includes(intent.customer), "the token stands nowhere in clear");

    const next = await buys(ada, { saved_method: kept.id, off_session: true }); // whether he is there is not his to say
    await assertPaidOnce(next.cart, assertOk(next.answer, 200));
    assert.deepEqual(intentsOf(next.cart).map((one) => [one.customer, one.payment_method]), [[intent.customer, intent.payment_method]]);
    assert.ok(stripe.calls.every((one) => one.params?.off_session === undefined));
    const other = await buys(ada, { payment_method: "pm_card_visa", save: true });
    assert.equal(intentsOf(other.cart)[0].customer, intent.customer, "one customer of Stripe for one of ours");
    assert.equal((await ada.list()).length, 2);

    stripe.script.on({ match: DETACH, status: 500 }, { match: DETACH, reset: "after" });
    assert.equal((await ada.send("DELETE", `${METHODS}/${kept.id}`)).status, 204);
    assert.deepEqual((await ada.list()).map((one) => one.last4), ["4242"], "at once");
    assert.equal((await ada.send("DELETE", `${METHODS}/${kept.id}`)).status, 404);
    await until("Stripe has forgotten it", () => stripe.world.get("payment_method", intent.payment_method).customer === null, 60_000);
    await until("so have we", async () => (await value(shop, "SELECT COUNT(*) FROM saved_payment_methods WHERE deleted_at IS NOT NULL")) === "0", 60_000);
    stripe.check();
  });

  it("is nobody else's, and no guest's", async () => {
    const ada = await customer(), eve = await customer();
    const { answer } = await buys(ada, { payment_method: "pm_card_visa", save: true });
    assertOk(answer, 200);
    const [kept] = await ada.list();
    assert.deepEqual(await eve.list(), []);
    assert.equal((await eve.send("DELETE", `${METHODS}/${kept.id}`)).status, 404);
    assert.equal((await shop.h2("GET", METHODS)).status, 403);
    const cart = await makeCart(shop, variant.id, { send: eve.send });
    const guests = await makeCart(shop, variant.id);
    for (const [send, one, data, why] of [[eve.send, cart, { saved_method: kept.id }, /no such/], [eve.send, cart, { saved_method: "pmt_x" }, /no such/],
      [eve.send, cart, { save: "yes" }, /true or false/], [shop.h2.bind(shop), guests, { saved_method: kept.id }, /log in/], [shop.h2.bind(shop), guests, { save: true }, /log in/]]) {
      const refused = await pays(send, one, data);
      assert.equal(refused.status, 422, refused.text);
      assert.match(refused.text, why);
    }
    // whoever names it later, while his own payment waits, pays with it neither
    assertOk(await pays(eve.send, cart, { payment_method: "pm_card_authenticationRequired" }), 201);
    const completes = (body) => eve.send("POST", `/store/v1/carts/${cart.id}/complete`, { headers: idem(), body });
    const asked = assertOk(await completes({}), 200);
    assert.equal(asked.error.code, "payment_requires_action");
    assert.notEqual((await completes({ data: { saved_method: kept.id } })).body.type, "order");
    assert.equal(taken(cart), 0);
    assert.equal((await ada.list()).length, 1);
  });

  it("is kept of what the shopper confirmed at his bank, and of what he paid on Stripe's page", async () => {
    const ada = await customer();
    for (const [data, does] of [
      [{ payment_method: "pm_card_authenticationRequired", save: true }, (action) => fetch(action.url, { method: "POST", body: "approved=true", redirect: "manual" })],
      [{ checkout: true, save: true }, (action) => stripe.do("pay", { session: action.url.split("/").at(-1) })],
    ]) {
      const { cart, answer } = await buys(ada, data);
      assert.equal(answer.body.error.code, "payment_requires_action", answer.text);
      await does(answer.body.error.action);
      const done = await until("it is paid", async () => {
        const got = await ada.send("POST", `/store/v1/carts/${cart.id}/complete`, { headers: idem(), body: { data: { returned: true } } });
        return got.body.type === "order" && got;
      });
      await assertPaidOnce(cart, done.body);
    }
    assert.deepEqual((await ada.list()).map((one) => one.last4), ["4242", "3184"]);
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

describe("an authorization", () => {
  const run = async () => assertOk(await shop.admin("POST", "/jobs/schedules/server:watch-authorizations/run", { headers: idem(), body: {} }), 202);
  const open = async (order, kind) => assertOk(await shop.admin("GET", `/alerts?state=open&kind=${kind}&limit=100`), 200).data.filter((one) => one.detail.order_id === order.id);
  const over = (order) => query(shop, `UPDATE payments SET authorization_expires_at = UTC_TIMESTAMP(3) - INTERVAL 1 HOUR, authorization_look_at = UTC_TIMESTAMP(3)
    WHERE order_id = ${bin(order.id)}`);

  /** An order whose own capture is never heard at Stripe. */
  async function notCaptured() {
    const cart = await ready();
    stripe.script.on({ match: CAPTURE, times: 1000, reset: "before" });
    const { order } = assertOk(await outcome(cart), 200);
    return { cart, order, payment: async () => (await orderOf(order.id)).payments[0] };
  }

  it("that Stripe let go of is booked when its time is over, and staff are told what to do", async () => {
    const { cart, order, payment } = await notCaptured();
    const [intent] = intentsOf(cart);
    const held = await payment();
    assert.equal(Date.parse(held.authorization_expires_at) / 1000, stripe.world.get("charge", intent.latest_charge).created + 7 * 86400);
    stripe.advance(8 * 86400);
    stripe.advance(-8 * 86400);
    assert.deepEqual([intent.status, intent.cancellation_reason], ["canceled", "automatic"]);
    await over(order);
    await run();
    await until("it is booked", async () => (await orderOf(order.id)).payment_status === "voided", 60_000);
    const [told, ...more] = await open(order, "payment.lost_authorization");
    assert.deepEqual([told.detail.reason, told.detail.amount, more.length], ["expired", order.total.amount, 0]);
    assert.match(told.detail.next_step, /cancel/);
    const { events } = assertOk(await shop.admin("GET", `/payments/${held.id}`), 200).payment;
    assert.deepEqual(events.filter((one) => one.event === "voided").map((one) => [one.reason, one.amount]), [["expired", order.total.amount]]);
    assertOk(await shop.admin("POST", `/orders/${order.id}/cancel`, { headers: idem(), body: {} }), 200);
    await run();
    await until("nothing is left to be done", async () => (await open(order, "payment.lost_authorization")).length === 0, 60_000);
    await assertInvariants(shop);
  });

  it("that Stripe still holds when its time is over is captured", async () => {
    const { cart, order } = await notCaptured();
    stripe.script.clear();
    await over(order);
    await run();
    await assertPaidOnce(cart, { order });
    assert.deepEqual(await open(order, "payment.lost_authorization"), []);
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

describe("a shop that takes the money as goods are sent", () => {
  before(async () => {
    await shop.stop();
    shop = await startShop({ capture: "fulfilment" });
    ({ variant } = await makeProduct(shop, { stock: 100 }));
  });

  const bought = async (quantity) => {
    const cart = await ready("pm_card_visa", quantity);
    const { order } = assertOk(await outcome(cart), 200);
    const [payment] = (await orderOf(order.id)).payments;
    return { cart, order, payment };
  };
  const act = async (order, what, quantity, code) => assertOk(await shop.admin("POST", `/orders/${order.id}/${what}`, { headers: idem(),
    body: { lines: [{ line_id: order.lines[0].id, quantity }], ...(what === "cancel" ? { reason: "no" } : {}) } }), code);
  const capture = (payment, body, key = newKey()) => shop.admin("POST", `/payments/${payment.id}/capture`, { headers: idem(key), body });
  const part = (amount, more = {}) => ({ amount: { amount, currency: "GBP" }, ...more });
  const captures = (cart) => stripe.calls.filter((one) => one.path === `/v1/payment_intents/${intentsOf(cart)[0].id}/capture`);

  it("asks once, when the last of it goes, for what was not cancelled", async () => {
    const { cart, order } = await bought(3);
    await act(order, "fulfilments", 1, 201);
    await act(order, "cancel", 1, 200);
    await until("nothing is queued", async () => await count(shop, "outbox", "state = 'pending'") === 0);
    assert.equal(captures(cart).length, 0);
    await act(order, "fulfilments", 1, 201);
    const paid = await until("it is captured", async () => {
      const now = await orderOf(order.id);
      return now.payment_status === "captured" && now;
    }, 60_000);
    const owed = order.total.amount - paid.cancellations[0].amount.amount;
    assert.ok(owed < order.total.amount);
    assert.deepEqual([taken(cart), captures(cart).length, paid.status], [owed, 1, "completed"]);
    stripe.check();
    await assertInvariants(shop);
  });

  it("lets staff take less once, and says what else may be done", async () => {
    const { cart, order, payment } = await bought(2);
    const refused = await capture(payment, part(500));
    assertProblem(refused, 409, "conflict");
    assert.match(refused.body.detail, /captures a payment once.*`final`/);
    assert.equal(taken(cart), 0);
    const { payment: now } = assertOk(await capture(payment, part(500, { final: true })), 200);
    assert.deepEqual([now.capture_amount.amount, now.left_amount.amount, taken(cart)], [500, 0, 500]);
    assertProblem(await capture(payment, part(1)), 409, "conflict");
    assert.equal((await orderOf(order.id)).payment_status, "captured");
    await act(order, "fulfilments", 2, 201);
    await until("nothing is queued", async () => await count(shop, "outbox", "state = 'pending' AND aggregate LIKE 'order:%'") === 0);
    assert.deepEqual([taken(cart), captures(cart).length], [500, 1]);
    stripe.check();
    await assertInvariants(shop);
  });

  for (const rule of [{ timeout: "after" }, { reset: "after" }, { reset: "before" }, { status: 500, effect: true }])
    it(`takes a part once, whatever becomes of the answer: ${JSON.stringify(rule)}`, async () => {
      const { cart, payment } = await bought(2);
      stripe.script.on({ match: CAPTURE, ...rule });
      const key = newKey();
      const { payment: now } = await until("it is captured", async () => {
        const answer = await capture(payment, part(700, { final: true }), key);
        return answer.status === 200 && answer.body;
      }, 60_000);
      assert.deepEqual([now.capture_amount.amount, taken(cart)], [700, 700]);
      assert.equal(await booked(`payment_id = ${bin(payment.id)}`), "700");
      stripe.check();
      await assertInvariants(shop);
    });
});

describe("the secret key", () => {
  it("is checked for staff, and a wrong one is told of with what to do, and never shown", async () => {
    const check = async (on) => assertOk(await on.admin("GET", "/payment-providers?check=true"), 200).data.find((one) => one.provider === "stripe").credentials;
    assert.deepEqual(await check(shop), { ok: true });
    const told = await shop.cli("doctor", "--json", "--set", `plugins.payment-stripe.secret_key=sk_test_wrong`, "--set", `plugins.payment-stripe.base_url=${stripe.url}`,
      "--set", "plugins.payment-stripe.return_url=https://shop.example/back");
    const found = JSON.parse(told.stdout).findings.find((one) => one.check === "payments.stripe");
    assert.equal(found.level, "fail");
    assert.match(found.finding, /does not know the secret key/);
    assert.doesNotMatch(told.stdout, /sk_test_wrong/);
  });
});

// Stripe's double as it misbehaves: what is refused, repeated, lost, late and wrong, and that the books hold through it.
import assert from "node:assert/strict";
import { after, beforeEach, describe, it } from "node:test";
import { clientOf, payNow, refusal, startDouble, until } from "./support/stripe.mjs";

const PATH = "/v1/payment_intents";
const FORM = "application/x-www-form-urlencoded";
const PAYMENT = "amount=1000&currency=gbp&payment_method=pm_card_visa&payment_method_types[]=card&confirm=true";

let double, stripe;
beforeEach(async () => {
  await double?.stop();
  double = await startDouble();
  stripe = clientOf(double);
});
after(async () => {
  await double?.stop();
});

const orders = { metadata: { order: "o" } };
const taken = () => double.taken({ order: "o" });

/** A request by hand: {status, body, headers}. */
async function ask(text, { method = "POST", path = PATH, type = FORM, headers = {}, key, signal } = {}) {
  const answer = await fetch(double.url + path, { method, body: method === "POST" ? text : undefined, signal,
    headers: { authorization: `Bearer ${double.key}`, "content-type": type, ...(key ? { "idempotency-key": key } : {}), ...headers } });
  return { status: answer.status, headers: answer.headers, body: await answer.json() };
}

/** One that goes away when the double is silent. */
async function abandon(text, options) {
  const away = new AbortController();
  const asked = ask(text, { ...options, signal: away.signal });
  const { silent } = double;
  await until("the double is silent", () => double.silent > silent);
  away.abort();
  await assert.rejects(asked, /aborted/);
}

describe("a request that Stripe does not take", () => {
  for (const [why, text, code, param, path = PATH] of [
    ["an unknown parameter", `${PAYMENT}&amuont=1`, "parameter_unknown", "amuont"],
    ["an unknown parameter inside of one", `${PAYMENT}&shipping[name]=A&shipping[address][planet]=Mars`, "parameter_unknown", "shipping[address][planet]"],
    ["a parameter that is missing", "amount=1000", "parameter_missing", "currency"],
    ["an amount that is no whole number", "amount=10.5&currency=gbp", "parameter_invalid_integer", "amount"],
    ["an amount below the least", "amount=29&currency=gbp", "amount_too_small", "amount"],
    ["a currency that is none", "amount=1000&currency=xyz", undefined, "currency"],
    ["a currency in capitals", "amount=1000&currency=GBP", undefined, "currency"],
    ["a value that is not of the list", `${PAYMENT}&capture_method=later`, undefined, "capture_method"],
    ["a boolean that is none", "amount=1000&currency=gbp&confirm=1", undefined, "confirm"],
    ["a list that is a value", "amount=1000&currency=gbp&payment_method_types=card", undefined, "payment_method_types"],
    ["a parameter given twice", "amount=1000&amount=1000&currency=gbp", undefined, "amount"],
    ["a value and an object at once", "amount=1000&currency=gbp&metadata=&metadata[a]=1", undefined, "metadata[a]"],
    ["a name that cannot be read", "amount=1000&currency=gbp&metadata[a=1", undefined, "metadata[a"],
    ["metadata too long", `${PAYMENT}&metadata[a]=${"x".repeat(501)}`, undefined, "metadata[a]"],
    ["no place to return to", "amount=1000&currency=gbp&payment_method=pm_card_visa&confirm=true", undefined, "return_url"],
    ["a capture in several parts, which this version has not", "final_capture=false", "parameter_unknown", "final_capture", `${PATH}/pi_1/capture`],
  ])
    it(why, async () => {
      const { status, body } = await ask(text, { path });
      assert.deepEqual([status, body.error.type, body.error.code, body.error.param], [400, "invalid_request_error", code, param], JSON.stringify(body));
      assert.equal(double.world.all("payment_intent").length, 0, "nothing was made");
    });

  it("because of its form, its key or its version, and all of it is told to the test", async () => {
    assert.equal((await ask("{}", { type: "application/json" })).status, 400);
    assert.equal((await ask("", { path: "/v1/payment_intents/pi_1/confirm", type: "text/plain" })).status, 400);
    assert.equal((await ask(PAYMENT, { headers: { authorization: "Bearer sk_test_other" } })).status, 401);
    assert.equal((await ask(PAYMENT, { headers: { authorization: "" } })).status, 401);
    assert.equal((await ask(PAYMENT, { headers: { "stripe-version": "2019-01-01" } })).status, 400);
    assert.equal((await ask(PAYMENT, { path: `${PATH}?amount=1` })).status, 400);
    assert.equal((await ask("", { path: "/v1/orders" })).status, 404);
    assert.equal((await ask("", { method: "GET", path: "/v1/events?typ=x" })).body.error.param, "typ");
    assert.equal(double.violations.length, 8);
    assert.throws(() => double.check(), /does not take/);
    const fine = await ask(PAYMENT, { headers: { authorization: `Basic ${Buffer.from(`${double.key}:`).toString("base64")}`, "stripe-version": "2023-08-16" } });
    assert.equal(fine.status, 200);
    assert.match(fine.headers.get("request-id"), /^req_/);
  });
});

describe("an idempotency key", () => {
  it("gives the first answer again, refusals among them, and takes the money once", async () => {
    const first = await ask(PAYMENT, { key: "k1" });
    const again = await ask(PAYMENT, { key: "k1" });
    assert.deepEqual(again.body, first.body);
    assert.deepEqual([again.headers.get("idempotent-replayed"), again.headers.get("original-request")], ["true", first.headers.get("request-id")]);
    const declined = PAYMENT.replace("pm_card_visa", "pm_card_visa_chargeDeclined");
    const no = await ask(declined, { key: "k2" });
    assert.equal(no.status, 402);
    assert.deepEqual((await ask(declined, { key: "k2" })).body, no.body);
    assert.equal(double.world.all("payment_intent").length, 2);
    assert.equal(double.world.all("charge").filter((one) => one.paid).length, 1);
  });

  it("is for the parameters that it came with first, for 24 hours", async () => {
    await ask(PAYMENT, { key: "k1" });
    const other = await ask(PAYMENT.replace("1000", "2000"), { key: "k1" });
    assert.deepEqual([other.status, other.body.error.type], [400, "idempotency_error"]);
    assert.equal((await ask("reason=duplicate", { key: "k1", path: "/v1/refunds" })).body.error.type, "idempotency_error");
    double.advance(24 * 3600 + 1);
    assert.equal((await ask(PAYMENT.replace("1000", "2000"), { key: "k1" })).status, 200);
  });

  it("is not spent by what was refused before it began", async () => {
    assert.equal((await ask("amount=x", { key: "k1" })).status, 400);
    double.script.on({ status: 429 });
    assert.equal((await ask(PAYMENT, { key: "k1" })).status, 429);
    assert.equal((await ask(PAYMENT, { key: "k1" })).status, 200);
  });

  it("is refused while its first request is under way", async () => {
    double.script.on({ hold: "before" });
    const first = ask(PAYMENT, { key: "k1" });
    await until("the first one waits", () => double.held === 1);
    const second = await ask(PAYMENT, { key: "k1" });
    assert.deepEqual([second.status, second.body.error.code], [409, "idempotency_key_in_use"]);
    double.open();
    assert.equal((await first).status, 200);
    assert.equal(double.world.all("charge").length, 1);
  });
});

describe("a script", () => {
  it("answers 409, 429, 500 and 503, with the money taken or not", async () => {
    for (const status of [409, 429, 500, 503]) {
      double.script.on({ match: { method: "POST", path: PATH }, status });
      assert.equal((await refusal(payNow(stripe, orders))).statusCode, status);
      assert.equal(taken(), 0, "nothing was done");
    }
    double.script.on({ status: 500, effect: true });
    assert.equal((await refusal(payNow(stripe, orders, { idempotencyKey: "k" }))).type, "StripeAPIError");
    assert.equal(taken(), 1000, "and nobody was told");
    assert.equal((await refusal(payNow(stripe, orders, { idempotencyKey: "k" }))).statusCode, 500, "a 500 is remembered");
    assert.equal(taken(), 1000);
    double.check();
  });

  it("never answers, before or after the money was taken", async () => {
    for (const [side, money] of [["before", 0], ["after", 1000]]) {
      double.script.on({ timeout: side });
      const payment = `${PAYMENT}&metadata[order]=${side}`;
      await abandon(payment, { key: side });
      assert.equal(double.taken({ order: side }), money);
      assert.equal((await ask(payment, { key: side })).body.status, "succeeded");
      assert.equal(double.taken({ order: side }), 1000, "once, under one key");
    }
    double.check();
  });

  it("breaks the connection after the request was read, before or after the money was taken", async () => {
    for (const [side, money] of [["before", 0], ["after", 1000]]) {
      double.script.on({ reset: side });
      // not by the official client, which asks again once, and without a key
      await assert.rejects(ask(`${PAYMENT}&metadata[order]=${side}`), /fetch failed/);
      assert.equal(double.taken({ order: side }), money);
      assert.equal(double.calls.at(-1).params.amount, 1000, "it was read");
    }
    assert.equal(double.calls.length, 2);
    double.check();
  });

  it("is got over by the official client, which asks again under one key", async () => {
    double.script.on({ reset: "after" }, { status: 503 }, { status: 409 });
    const patient = clientOf(double, { maxNetworkRetries: 4 });
    assert.equal((await payNow(patient, orders)).status, "succeeded");
    assert.equal(taken(), 1000);
    const keys = new Set(double.calls.map((one) => one.key));
    assert.deepEqual([double.calls.length > 1, keys.size, [...keys][0] !== undefined], [true, 1, true]);
    double.check();
  });

  it("waits: for a time, or until it is let go, before or after the effect", async () => {
    for (const [hold, money] of [["before", 0], ["after", 1000]]) {
      double.script.on({ hold });
      const held = payNow(stripe, { metadata: { order: hold } });
      await until("it is held", () => double.held === 1);
      assert.equal(double.taken({ order: hold }), money);
      double.open();
      assert.equal((await held).status, "succeeded");
    }
    double.script.on({ delay_ms: 20 });
    assert.equal((await payNow(stripe)).status, "succeeded");
  });

  it("tells a wrong amount or currency, while the true one is kept", async () => {
    double.script.on({ answer: { amount: 1, amount_received: 1 } }, { answer: { currency: "eur" } });
    const amount = await payNow(stripe, orders);
    assert.deepEqual([amount.amount, amount.amount_received, (await stripe.paymentIntents.retrieve(amount.id)).currency], [1, 1, "eur"]);
    const seen = await stripe.paymentIntents.retrieve(amount.id);
    assert.deepEqual([seen.amount, seen.currency, taken()], [1000, "gbp", 1000]);
  });

  it("declines, asks for the shopper, declines a capture, loses a refund", async () => {
    double.script.on({ match: { params: { amount: 1001 } }, decline: "lost_card" });
    assert.equal((await payNow(stripe)).status, "succeeded", "the rule is for another amount");
    assert.equal((await refusal(payNow(stripe, { amount: 1001 }))).decline_code, "lost_card");
    double.script.on({ action: true });
    assert.equal((await payNow(stripe, { return_url: "https://shop.example/" })).status, "requires_action");
    const held = await payNow(stripe, { capture_method: "manual", ...orders });
    double.script.on({ match: { path: `${PATH}/.*/capture` }, decline: "expired_card" });
    assert.equal((await refusal(stripe.paymentIntents.capture(held.id))).code, "expired_card");
    const paid = await payNow(stripe, orders);
    double.script.on({ match: { path: "/v1/refunds" }, timeout: "after" });
    await abandon(`payment_intent=${paid.id}`, { path: "/v1/refunds" });
    assert.equal(taken(), 0, "it went back all the same");
    double.check();
  });

  it("is for so many requests that match, over HTTP too, and takes nothing that it does not know", async () => {
    const say = (name, body) => fetch(`${double.url}/_double/${name}`, body && { method: "POST", body: JSON.stringify(body) }).then(async (answer) => ({ status: answer.status, body: await answer.json() }));
    await say("script", { requests: [{ match: { path: PATH, method: "POST" }, status: 503, times: 2 }] });
    assert.deepEqual([(await ask("", { method: "GET" })).status, (await ask(PAYMENT)).status, (await ask(PAYMENT)).status, (await ask(PAYMENT)).status], [200, 503, 503, 200]);
    assert.deepEqual((await say("calls")).body.map((one) => one.status), [200, 503, 503, 200]);
    assert.equal((await say("books")).body.reduce((sum, one) => sum + one.amount, 0), 0);
    for (const wrong of [{ statuss: 500 }, { status: 418 }, { reset: "later" }, { times: 0 }]) assert.throws(() => double.script.on(wrong), /no such|one of|before or after|at least/);
    assert.equal((await say("script", { requests: [{ status: 200 }] })).status, 400);
    assert.equal((await say("fly", {})).status, 400);
    const action = await payNow(stripe, { payment_method: "pm_card_authenticationRequired", return_url: "https://shop.example/" });
    assert.equal((await say("act", { id: action.id, approved: true })).body.status, "succeeded");
    assert.equal((await say("dispute", { charge: (await stripe.paymentIntents.retrieve(action.id)).latest_charge })).body.status, "needs_response");
  });

  it("finds by search only what is old enough", async () => {
    await double.stop();
    double = await startDouble({ searchLag_s: 60 });
    stripe = clientOf(double);
    await payNow(stripe, orders);
    const find = () => stripe.paymentIntents.search({ query: "metadata['order']:'o'" });
    assert.equal((await find()).data.length, 0);
    double.advance(61);
    assert.equal((await find()).data.length, 1);
  });
});

describe("the books", () => {
  it("do not take what is not balanced, and see objects that tell something else", async () => {
    assert.throws(() => double.world.books.post("x", "gbp", { issuers: -1, balance: 2 }), /sum to 1/);
    const paid = await payNow(stripe);
    double.check();
    double.world.get("charge", paid.latest_charge).amount_captured = 999;
    assert.throws(() => double.check(), /the books and the objects differ/);
  });
});

// Payments by Stripe that many ask for at once, and what nobody may ask for: one shop, one double.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { StripeDouble } from "../doubles/stripe/double.mjs";
import { Shop, idem, makeCart, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";
import { many, refusalOf } from "./support/crowd.mjs";
import { assertInvariants, bin, count, query, value } from "./support/db.mjs";

const CONFIRM = { method: "POST", path: "/v1/payment_intents/[^/]+/confirm" };
const CARD_NUMBER = "4242424242424242";
const KEY = "sk_test_thatnobodymaysee";
const LIMIT = 60_000;

let shop, stripe, variant;
before(async () => {
  stripe = await StripeDouble.start({ key: KEY });
  const options = { secret_key: KEY, base_url: stripe.url, webhook_secret: "whsec_of_the_tests", timeout_ms: 5000,
    return_url: "https://shop.example/back?cart={cart}" };
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=2", "--set", "cart.completion_claim_ms=5000", "--set", "idem.lease_ms=5000",
    "--set", "payments.breaker_min_calls=100000",
    ...Object.entries(options).flatMap(([name, one]) => ["--set", `plugins.payment-stripe.${name}=${one}`])] });
  ({ variant } = await makeProduct(shop, { stock: 1000 }));
});
beforeEach(() => {
  stripe.script.clear();
  stripe.key = KEY;
});
after(async () => {
  stripe?.open();
  await shop?.stop();
  await stripe?.stop();
});

const session = (cart, body) => shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body });
const complete = (cart, key = newKey(), body = {}) => shop.store("POST", `/carts/${cart.id}/complete`, { headers: idem(key), body });
const intentsOf = (cart) => stripe.world.all("payment_intent").filter((one) => one.metadata.cart === cart.id);
const created = () => stripe.calls.filter((call) => call.path === "/v1/payment_intents").length; // captures of others may still come
const log = () => fs.readFileSync(path.join(shop.dir, "moontill.log"), "utf8");

async function ready(method = "pm_card_visa") {
  const cart = await makeCart(shop, variant.id);
  assertOk(await session(cart, { provider: "stripe", data: { payment_method: method } }), 201);
  return cart;
}

const AGAIN = ["completion_in_progress", "idempotency_in_flight"];
const outcome = (cart, key) => until("the outcome is known", async () => {
  const answer = await complete(cart, key);
  return answer.status !== 202 && !AGAIN.includes(answer.body.code) && answer;
}, LIMIT);

const orderOf = async (order) => assertOk(await shop.admin("GET", `/orders/${order.id}`), 200).order;
const paymentStatus = async (order) => (await orderOf(order)).payment_status;
const captured = (order) => until("the money is captured", async () => (await paymentStatus(order)) === "captured", LIMIT);

async function assertOnce(cart, order) {
  await captured(order);
  const [intent, ...others] = intentsOf(cart);
  assert.equal(others.length, 0, "one intent");
  const confirmed = stripe.calls.filter((call) => call.path === `/v1/payment_intents/${intent.id}/confirm` && call.status === 200);
  assert.equal(new Set(confirmed.map((call) => call.key)).size, 1, "confirmed under one key");
  assert.equal(stripe.world.all("charge").filter((one) => one.payment_intent === intent.id).length, 1, "one charge");
  assert.equal(await count(shop, "orders", `cart_id = ${bin(cart.id)}`), 1, "one order");
  assert.equal(stripe.taken({ cart: cart.id }), order.total.amount);
  assert.equal(await value(shop, `SELECT SUM(amount) FROM ledger_entries WHERE order_id = ${bin(order.id)} AND account = 'receivable'`), "0");
  stripe.check();
  await assertInvariants(shop);
}

describe("completions of one cart at once", () => {
  it("by ten are one intent, one charge, one order", async () => {
    const cart = await ready();
    const answers = await many(10, () => outcome(cart, newKey()));
    const { order } = answers[0].body;
    for (const answer of answers) assert.equal(assertOk(answer, 200).order?.id, order.id, answer.text);
    await assertOnce(cart, order);
  });

  it("under one key: one runs, one is told 409, and later the same", async () => {
    const cart = await ready(), key = newKey();
    stripe.script.on({ match: CONFIRM, hold: "after" });
    const first = complete(cart, key);
    await until("Stripe is asked", () => stripe.held === 1);
    assertProblem(await complete(cart, key), 409, "idempotency_in_flight");
    stripe.open();
    const answer = assertOk(await first, 200);
    assert.equal(answer.type, "order");
    assert.deepEqual(assertOk(await complete(cart, key), 200), answer);
    await assertOnce(cart, answer.order);
  });
});

describe("a failure that Stripe remembers under the key", () => {
  const MANY = 520; // more than we look through
  const others = ({ id: _id, created: _created, ...one }) => {
    for (let i = 0; i < MANY; ++i) stripe.world.add("payment_intent", { ...one, metadata: {} });
  };

  for (const lag of [0, 3600])
    it(`leaves nobody without an outcome in a shop that makes hundreds of intents${lag ? ", where no search finds it" : ""}`, async () => {
      const cart = await ready();
      stripe.script.on({ match: { method: "POST", path: "/v1/payment_intents" }, status: 500, effect: true });
      assert.equal(refusalOf(await outcome(cart)), "payment_declined");
      await query(shop, `UPDATE payments SET state = 'unknown' WHERE cart_id = ${bin(cart.id)}`); // as where its worker died of it
      others(intentsOf(cart)[0]);
      stripe.world.searchLag_s = lag;
      try {
        assert.equal(refusalOf(await outcome(cart)), "payment_declined");
      } finally {
        stripe.world.searchLag_s = 0;
      }
      assert.equal(await count(shop, "sagas", `aggregate = '${cart.id}' AND state = 'undone'`), 1);
      assert.deepEqual(intentsOf(cart).map((one) => one.status), [lag ? "requires_payment_method" : "canceled"]);
      assert.equal(stripe.taken({ cart: cart.id }), 0);
      assertOk(await session(cart, { provider: "stripe", data: { payment_method: "pm_card_visa" } }), 201);
      assert.equal((await outcome(cart)).body.type, "order");
    });
});

/** Refused, and nothing is changed: nobody was asked, nothing was begun, and the cart can be paid for. */
async function refusedSession(body, status, code) {
  const cart = await makeCart(shop, variant.id), calls = created();
  const answer = await session(cart, body);
  assertProblem(answer, status, code);
  assert.equal(created(), calls, "Stripe was not asked");
  assert.equal(await count(shop, "payments", `cart_id = ${bin(cart.id)}`), 0);
  assert.equal(await count(shop, "reservations", `cart_id = ${bin(cart.id)}`), 0);
  assertOk(await session(cart, { provider: "stripe", data: { payment_method: "pm_card_visa" } }), 201);
  return answer;
}

describe("what nobody may ask for", () => {
  for (const [why, body, status, code] of [
    ["a provider that is not there", { provider: "nobody" }, 422, "payment_provider_unknown"],
    ["a provider by another plugin's name", { provider: "../stripe" }, 422, "invalid_request"],
    ["an amount beside the data", { provider: "stripe", amount: 0, data: { payment_method: "pm_card_visa" } }, 422, "invalid_request"],
    ["a card number in the data", { provider: "stripe", data: { payment_method: CARD_NUMBER } }, 422, "card_number_refused"],
    ["a card number with blanks, deep in the data", { provider: "stripe", data: { a: { b: ["4242 4242 4242 4242"] } } }, 422, "card_number_refused"],
    ["a card number as a name", { provider: "stripe", data: { [CARD_NUMBER]: "x" } }, 422, "card_number_refused"],
  ])
    it(`is refused: ${why}`, async () => {
      const answer = await refusedSession(body, status, code);
      assert.ok(!answer.text.includes(CARD_NUMBER), "it is not told again");
    });

  for (const [why, more] of [["no amount", { amount: 0 }], ["less than none", { amount: -1 }], ["an amount of his own", { amount: 1 }],
    ["another currency", { currency: "eur" }], ["to have it captured in part", { amount_to_capture: 1, capture_method: "automatic" }]])
    it(`changes nothing of what is paid: ${why}, in the data`, async () => {
      const cart = await makeCart(shop, variant.id);
      const begun = await session(cart, { provider: "stripe", data: { payment_method: "pm_card_visa", ...more } });
      if (begun.status >= 400) return void assertProblem(begun, 422, "invalid_request");
      const { order } = assertOk(await outcome(cart), 200);
      await assertOnce(cart, order);
      assert.equal(intentsOf(cart)[0].currency, "gbp");
    });

  it("is refused: more than Stripe takes at once, before anybody is asked", async () => {
    const dear = await makeProduct(shop, { stock: 5, price: 99_999_999 });
    for (const quantity of [1, 2]) {
      const cart = await makeCart(shop, dear.variant.id, { quantity }), calls = created();
      const doc = assertProblem(await session(cart, { provider: "stripe", data: { payment_method: "pm_card_visa" } }), 422, "payment_provider_unknown");
      assert.match(doc.detail, /stripe/);
      const { data } = assertOk(await shop.store("GET", `/carts/${cart.id}/payment-methods`), 200);
      assert.ok(!data.some((one) => one.provider === "stripe"), "nor is it offered");
      assert.equal(created(), calls);
      assert.equal(await count(shop, "payments", `cart_id = ${bin(cart.id)}`), 0);
      assert.equal(await count(shop, "reservations", `cart_id = ${bin(cart.id)}`), 0);
      assertOk(await session(cart, { provider: "manual" }), 201);
    }
  });

  it("is refused: a card number in what he brought back from the bank, and in metadata", async () => {
    const cart = await ready();
    const answer = await complete(cart, newKey(), { data: { number: CARD_NUMBER } });
    assertProblem(answer, 422, "card_number_refused");
    assertProblem(await shop.store("PATCH", `/carts/${cart.id}`, { body: { metadata: { note: CARD_NUMBER } } }), 422, "card_number_refused");
    assert.equal(intentsOf(cart).length, 0);
    assert.equal((await outcome(cart)).body.type, "order");
  });

  it("is refused: a body of 10 MB, and to whom it goes does not matter", async () => {
    const cart = await ready(), calls = created();
    const body = `{"data":{"x":"${"x".repeat(10 << 20)}"}}`;
    for (const [target, key] of [[`/store/v1/carts/${cart.id}/payment-sessions`], [`/store/v1/carts/${cart.id}/complete`],
      ["/hooks/v1/payment-stripe", null]]) {
      const answer = await shop.h2("POST", target, { key, body, headers: idem() }).catch((error) => ({ status: 0, error }));
      assert.ok([0, 413].includes(answer.status), `${target}: ${answer.status} ${answer.text}`);
    }
    assert.equal(created(), calls);
    assert.equal((await outcome(cart)).body.type, "order");
  });

  it("is refused: webhooks without a signature, with a wrong one, and in another form", async () => {
    const hook = (body, headers = {}) => shop.h2("POST", "/hooks/v1/payment-stripe", { key: null, body, headers });
    const before = await count(shop, "payments");
    for (const headers of [{}, { "stripe-signature": "t=1,v1=00" }, { "stripe-signature": "x".repeat(3000) }])
      assert.ok([400, 401].includes((await hook('{"id":"evt_1","type":"charge.succeeded"}', headers)).status));
    assert.equal((await shop.h2("POST", "/hooks/v1/payment-nobody", { key: null, body: "{}" })).status, 404);
    assert.equal(await count(shop, "payments"), before);
  });

  it("is refused: to capture what is captured or was let go of, and to give back what is not there", async () => {
    const cart = await ready();
    const { order } = assertOk(await outcome(cart), 200);
    await captured(order);
    const captures = () => stripe.calls.filter((call) => call.path.endsWith("/capture")).length, refunds = () => stripe.world.all("refund").length;
    const [made, back] = [captures(), refunds()];
    const capture = async () => shop.admin("POST", `/payments/${(await orderOf(order)).payments[0].id}/capture`, { headers: idem(), body: {} });
    assert.equal(assertOk(await capture(), 200).payment.state, "captured");
    assert.equal(captures(), made, "it is not asked for twice");
    assertOk(await shop.admin("POST", `/orders/${order.id}/cancel`, { headers: idem(), body: {} }));
    await until("it was given back", async () => (await paymentStatus(order)) === "refunded", LIMIT);
    assertProblem(await capture(), 409, "conflict");
    assertProblem(await shop.admin("POST", `/orders/${order.id}/cancel`, { headers: idem(), body: {} }), 409, "conflict");
    assert.deepEqual([captures(), refunds()], [made, back + 1]);
    assert.equal(stripe.taken({ cart: cart.id }), 0);
  });

  it("a credential that Stripe does not take is plain to staff and opaque to shoppers, and told to nobody", async () => {
    const cart = await ready();
    stripe.key = "sk_test_another";
    const answer = await outcome(cart);
    assert.ok(!/401|sk_test|credential|API key/i.test(answer.text), answer.text);
    assert.ok(["payment_declined", "payment_unavailable", "payment_provider_unavailable"].includes(refusalOf(answer)), answer.text);
    await until("staff are told", () => /"status":401/.test(log()), LIMIT);
    assert.ok(!log().includes(KEY), "the key is in no log");
    assert.equal(stripe.taken({ cart: cart.id }), 0);
    stripe.key = KEY;
    stripe.violations.splice(0); // those of the wrong key
    assertOk(await session(cart, { provider: "stripe", data: { payment_method: "pm_card_visa" } }), 201);
    await assertOnce(cart, assertOk(await outcome(cart), 200).order);
  });

  it("and nothing that asks Stripe was ever called as a listener to an event", () => {
    assert.doesNotMatch(log(), /"event":"hook\.(fault|failed)"/);
  });

  it("and no card number has come into log or table", async () => {
    assert.ok(!log().includes(CARD_NUMBER));
    assert.equal(await count(shop, "payments", `data LIKE '%${CARD_NUMBER}%'`), 0);
    assert.equal(await count(shop, "carts", `metadata LIKE '%${CARD_NUMBER}%'`).catch(() => 0), 0);
  });
});

// The worker that completes a cart is killed at each point where it matters, as by kill -9: the client asks again,
// and there is one order, paid and sold once.
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { Shop, idem, makeCart, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";
import { assertInvariants, bin, count, query } from "./support/db.mjs";

const MINUTE = 60_000;
const AGAIN = ["completion_in_progress", "idempotency_in_flight", "busy"];

/** Asks until there is an answer for good; gives it, and how often the connection broke. */
async function insist(shop, target, options) {
  let broken = 0;
  const answer = await until(`${target} is answered`, async () => {
    try {
      const got = await shop.h1("POST", `/store/v1${target}`, { agent: false, ...options });
      return got.status < 500 && got.status !== 202 && !AGAIN.includes(got.body?.code) && got;
    } catch {
      broken++;
      return false;
    }
  }, MINUTE);
  return { answer, broken };
}

async function bought(shop, provider, data) {
  const { variant, sku } = await makeProduct(shop, { stock: 10 });
  const cart = await makeCart(shop, variant.id, { quantity: 2 });
  assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider, data } }), 201);
  const key = newKey();
  const { answer, broken } = await insist(shop, `/carts/${cart.id}/complete`, { headers: idem(key), body: {} });
  assert.equal(broken, 1, "the worker was killed once");
  const { type, order } = assertOk(answer, 200);
  assert.equal(type, "order", answer.text);
  const again = (await insist(shop, `/carts/${cart.id}/complete`, { headers: idem(key), body: {} })).answer;
  assert.deepEqual(again.body.order, order, "the same key says the same");
  assert.equal(await count(shop, "orders", `cart_id = ${bin(cart.id)}`), 1);
  assert.deepEqual(await query(shop, `SELECT s.on_hand, s.reserved FROM stock s JOIN variants v ON v.id = s.variant_id
    WHERE v.sku = '${sku}'`), [["8", "0"]]);
  return { order, cart };
}

const ARGS = ["--no-demo", "--set", "server.workers=1", "--set", "cart.completion_claim_ms=1000", "--set", "idem.lease_ms=1000",
  "--set", "payments.not_found_after_ms=1000"];

const CASES = [
  ["before_place", "manual", undefined],
  ["after_place", "manual", undefined],
  ["after_authorize", "test", { token: "tok_ok" }],
  ["before_place", "test", { token: "tok_ok" }],
  ["after_place", "test", { token: "tok_ok" }],
];

describe("a worker that is killed while it completes a cart", () => {
  let shop;
  after(() => shop?.stop());
  for (const [point, provider, data] of CASES) {
    it(`at checkout.${point}, paid by ${provider}`, async () => {
      shop = await Shop.start({ env: { TILL_FAULTS: `checkout.${point}=1` }, args: ARGS });
      const { order, cart } = await bought(shop, provider, data);
      const state = { manual: "authorized", test: "captured" }[provider];
      await until("the payment is settled", async () =>
        await count(shop, "payments", `cart_id = ${bin(cart.id)} AND state = '${state}' AND order_id = ${bin(order.id)}`) === 1, MINUTE);
      assert.equal(await count(shop, "payments"), 1);
      if (provider === "test") assert.equal(await count(shop, "payment_test_attempts", "state = 'captured'"), 1);
      await until("no flow is left", async () => await count(shop, "sagas", "state IN ('running', 'waiting')") === 0, MINUTE);
      await assertInvariants(shop);
      await shop.stop();
      shop = undefined;
    });
  }

  it("before it asks: nothing was taken, he is told so under his key each time, and buys with another session", async () => {
    shop = await Shop.start({ env: { TILL_FAULTS: "checkout.after_claim=1" }, args: ARGS });
    const { variant, sku } = await makeProduct(shop, { stock: 10 });
    const cart = await makeCart(shop, variant.id, { quantity: 2 });
    const session = { provider: "test", data: { token: "tok_ok" } };
    assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: session }), 201);
    const key = newKey();
    for (const times of [1, 0]) {
      const { answer, broken } = await insist(shop, `/carts/${cart.id}/complete`, { headers: idem(key), body: {} });
      assert.equal(broken, times, "the worker was killed once");
      const { type, error } = assertOk(answer, 200);
      assert.deepEqual([type, error?.code], ["cart", "payment_declined"], answer.text);
    }
    assert.equal(await count(shop, "payment_test_attempts"), 0);
    assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: session }), 201);
    const { answer } = await insist(shop, `/carts/${cart.id}/complete`, { headers: idem(newKey()), body: {} });
    assert.equal(assertOk(answer, 200).type, "order", answer.text);
    await until("the payment is settled", async () => await count(shop, "payment_test_attempts", "state = 'captured'") === 1, MINUTE);
    assert.deepEqual(await query(shop, `SELECT s.on_hand, s.reserved FROM stock s JOIN variants v ON v.id = s.variant_id
      WHERE v.sku = '${sku}'`), [["8", "0"]]);
    await until("no flow is left", async () => await count(shop, "sagas", "state IN ('running', 'waiting')") === 0, MINUTE);
    await assertInvariants(shop);
    await shop.stop();
    shop = undefined;
  });
});

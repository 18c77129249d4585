// Money: asked for once, taken once, accounted for, whatever becomes of the answers.
import assert from "node:assert/strict";
import fs from "node:fs";
import https from "node:https";
import { after, before, describe, it } from "node:test";
import { Shop, buy, idem, makeCart, makeProduct, newKey, tempDir, until } from "./support/shop.mjs";
import { assertOk, assertPointsAt, assertProblem } from "./support/checks.mjs";
import { assertInvariants, bin, count, query, value } from "./support/db.mjs";
import { Provider } from "./support/provider.mjs";

let shop, provider, variant, sku, plugins;
before(async () => {
  provider = await Provider.start();
  plugins = tempDir("plugins");
  shop = await Shop.start({ args: ["--no-demo", "--set", "cart.completion_claim_ms=5000",
    "--set", "idem.lease_ms=5000", "--set", "plugins.payment-test.silent_ms=200", "--set", "plugins.payment-test.late_ms=200",
    ...provider.plugin(plugins)] });
  ({ variant, sku } = await makeProduct(shop, { stock: 1000 }));
});
after(async () => {
  provider?.stop();
  await shop?.stop();
  if (plugins) fs.rmSync(plugins, { recursive: true, force: true });
});

const session = (cart, token, more = {}) => shop.store("POST", `/carts/${cart.id}/payment-sessions`,
  { body: { provider: "probe", data: { token, ...more } } });
const complete = (cart, body = {}, key) => shop.store("POST", `/carts/${cart.id}/complete`, { headers: idem(key), body });
const cartOf = async (id) => assertOk(await shop.store("GET", `/carts/${id}`), 200).cart;
const orderOf = async (id) => assertOk(await shop.admin("GET", `/orders/${id}`), 200).order;
const paid = (id) => until("the money is captured", async () => {
  const order = await orderOf(id);
  return order.payment_status === "captured" && order;
});

/** Completes again, as clients do, until it is an order or a refusal. */
function outcome(cart, key) {
  return until("the outcome is known", async () => {
    const answer = await complete(cart, {}, key);
    return answer.status !== 202 && answer.body.code !== "completion_in_progress" && answer.body.code !== "idempotency_in_flight" && answer;
  }, 40_000);
}

async function assertPaidOnce(order, cart) {
  const charges = provider.chargesOf(cart.id).filter((c) => c.state === "captured" || c.state === "authorized");
  assert.deepEqual(charges.map((c) => [c.state, c.amount]), [["captured", order.total.amount]]);
  assert.deepEqual(await query(shop, `SELECT SUM(amount) FROM ledger_entries WHERE order_id = ${bin(order.id)} AND account = 'cash:probe'`),
    [[String(order.total.amount)]]);
  await assertInvariants(shop);
}

describe("a payment", () => {
  it("that is authorised is captured by the outbox, and booked", async () => {
    const cart = await makeCart(shop, variant.id, { quantity: 2 });
    assertOk(await session(cart, "ok"), 201);
    const { order } = assertOk(await complete(cart), 200);
    const seen = await paid(order.id);
    assert.equal(seen.payments.length, 1);
    assert.equal(seen.payments[0].state, "captured");
    await assertPaidOnce(seen, cart);
    const owed = await value(shop, `SELECT SUM(amount) FROM ledger_entries WHERE order_id = ${bin(order.id)} AND account = 'receivable'`);
    assert.equal(owed, "0", "nothing is owed any more");
    const sales = await value(shop, `SELECT -SUM(amount) FROM ledger_entries WHERE order_id = ${bin(order.id)} AND account IN ('sales', 'shipping', 'tax')`);
    assert.equal(Number(sales), order.total.amount);
  });

  it("that is declined leaves the cart, and another one pays", async () => {
    const cart = await makeCart(shop, variant.id);
    const stock = await value(shop, `SELECT on_hand FROM stock s JOIN variants v ON v.id = s.variant_id WHERE v.sku = '${sku}'`);
    assertOk(await session(cart, "decline"), 201);
    const refused = assertOk(await complete(cart), 200);
    assert.equal(refused.type, "cart");
    assert.equal(refused.error.code, "payment_declined");
    assert.equal((await cartOf(cart.id)).state, "open");
    assert.equal(await count(shop, "orders", `cart_id = ${bin(cart.id)}`), 0);
    assertOk(await shop.store("PATCH", `/carts/${cart.id}`, { body: { email: "new@example.com" } }), 200);
    assertOk(await session(cart, "ok"), 201);
    const { order } = assertOk(await complete(cart), 200);
    assert.equal(order.email, "new@example.com");
    await assertPaidOnce(await paid(order.id), cart);
    assert.equal(await value(shop, `SELECT on_hand FROM stock s JOIN variants v ON v.id = s.variant_id WHERE v.sku = '${sku}'`), String(stock - 1));
  });

  it("that the shopper must confirm waits for that, then pays", async () => {
    const cart = await makeCart(shop, variant.id);
    assertOk(await session(cart, "action"), 201);
    const first = assertOk(await complete(cart), 200);
    assert.equal(first.type, "cart");
    assert.equal(first.error.code, "payment_requires_action");
    assert.equal(first.error.action.url, "https://bank.example/3ds");
    const { order } = assertOk(await complete(cart, { data: { confirmed: true } }), 200);
    await assertPaidOnce(await paid(order.id), cart);
  });

  it("of another amount is not taken: the cart changed after the session was made", async () => {
    const cart = await makeCart(shop, variant.id);
    assertOk(await session(cart, "ok"), 201);
    const changed = assertOk(await shop.store("POST", `/carts/${cart.id}/lines`, { body: { variant_id: variant.id, quantity: 3 } })).cart;
    assert.notEqual(changed.total.amount, cart.total.amount);
    const answer = await complete(cart);
    assert.notEqual(answer.body.type, "order", answer.text);
    assert.equal(provider.chargesOf(cart.id).filter((c) => c.state === "authorized").length, 0);
    assertOk(await session(cart, "ok"), 201);
    const { order } = assertOk(await complete(cart), 200);
    assert.deepEqual(order.total, changed.total);
    await assertPaidOnce(await paid(order.id), cart);
  });

  it("is offered by nobody who is not there", async () => {
    const cart = await makeCart(shop, variant.id);
    for (const name of ["nobody", "payment-probe", "x".repeat(64)])
      assertProblem(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: name } }), 422, "payment_provider_unknown");
    const methods = assertOk(await shop.store("GET", `/carts/${cart.id}/payment-methods`), 200).data;
    assert.ok(methods.some((m) => m.provider === "probe"), JSON.stringify(methods));
  });
});

describe("an answer of the provider that is lost", () => {
  it("is looked up, and the money taken once", async () => {
    const cart = await makeCart(shop, variant.id);
    assertOk(await session(cart, "lost"), 201);
    const key = newKey();
    const first = await complete(cart, {}, key);
    assert.ok(first.status === 202 || first.body.type === "order", first.text);
    if (first.status === 202) {
      assert.equal(first.body.type, "processing");
      assert.ok(first.body.poll_after_ms > 0);
    }
    const { order } = assertOk(await outcome(cart, key), 200);
    await assertPaidOnce(await paid(order.id), cart);
    const asked = provider.calls.filter((c) => c.order === cart.id && c.what === "authorize");
    assert.equal(new Set(asked.map((c) => c.key)).size, 1, "under one key, however often");
  });

  it("leaves the cart shut until it is known", async () => {
    const cart = await makeCart(shop, variant.id);
    assertOk(await session(cart, "lost"), 201);
    provider.isSilent = true;
    const first = await complete(cart);
    provider.isSilent = false;
    assert.equal(first.status, 202, first.text);
    const edit = await shop.store("POST", `/carts/${cart.id}/lines`, { body: { variant_id: variant.id, quantity: 1 } });
    if (edit.status < 300) assert.equal((await cartOf(cart.id)).state, "open", "it was settled meanwhile");
    else assertProblem(edit, 409, edit.body.code);
    await until("it is settled without anybody asking", async () => (await cartOf(cart.id)).state !== "completing", 40_000);
    await assertInvariants(shop);
  });

  it("to a request that never arrived is found out, and another one pays", async () => {
    const cart = await makeCart(shop, variant.id);
    assertOk(await session(cart, "never"), 201);
    const key = newKey();
    const first = await complete(cart, {}, key);
    assert.notEqual(first.body.type, "order", first.text);
    const end = await outcome(cart, key);
    assert.notEqual(end.body.type, "order", end.text);
    assert.equal((await cartOf(cart.id)).state, "open");
    assertOk(await session(cart, "ok"), 201);
    const { order } = assertOk(await complete(cart), 200);
    await assertPaidOnce(await paid(order.id), cart);
  });
});

describe("while a payment is at the provider", () => {
  it("the cart is not changed and not bought a second time", async () => {
    const cart = await makeCart(shop, variant.id);
    assertOk(await session(cart, "gate"), 201);
    const key = newKey();
    const bought = complete(cart, {}, key);
    await until("the provider was asked", () => provider.waiting.length > 0);
    assertProblem(await shop.store("PATCH", `/carts/${cart.id}`, { body: { email: "x@example.com" } }), 409, "completion_in_progress");
    assertProblem(await shop.store("POST", `/carts/${cart.id}/lines`, { body: { variant_id: variant.id, quantity: 1 } }), 409, "completion_in_progress");
    assertProblem(await shop.store("DELETE", `/carts/${cart.id}/lines/${cart.lines[0].id}`), 409, "completion_in_progress");
    assertProblem(await session(cart, "ok"), 409, "completion_in_progress");
    assertProblem(await complete(cart), 409, "completion_in_progress");
    assertProblem(await complete(cart, {}, key), 409, "idempotency_in_flight");
    provider.open();
    const { order } = assertOk(await bought, 200);
    assert.equal(order.lines[0].quantity, 1);
    await assertPaidOnce(await paid(order.id), cart);
  });

  it("a shopper who goes away has bought all the same, or not at all", async () => {
    const cart = await makeCart(shop, variant.id);
    assertOk(await session(cart, "gate"), 201);
    const key = newKey();
    const gone = new AbortController();
    const url = `${shop.dev.url}/store/v1/carts/${cart.id}/complete`;
    const request = https.request(url, { method: "POST", ca: shop.ca, agent: false, signal: gone.signal,
      headers: { authorization: `Bearer ${shop.dev.store_key}`, "content-type": "application/json", ...idem(key) } });
    request.on("error", () => {});
    request.end("{}");
    await until("the provider was asked", () => provider.waiting.length > 0);
    gone.abort();
    provider.open();
    const end = await until("it ended", async () => {
      const answer = await complete(cart, {}, key);
      return answer.status === 200 && answer;
    }, 60_000);
    assert.equal(end.body.type, "order", end.text);
    await assertPaidOnce(await paid(end.body.order.id), cart);
  });
});

describe("a cancelled order", () => {
  it("gets its money back, once", async () => {
    const cart = await makeCart(shop, variant.id);
    assertOk(await session(cart, "ok"), 201);
    const { order } = assertOk(await complete(cart), 200);
    await paid(order.id);
    const key = newKey();
    const cancel = () => shop.admin("POST", `/orders/${order.id}/cancel`, { headers: idem(key), body: {} });
    assert.equal(assertOk(await cancel(), 200).order.payment_status, "refunded");
    await cancel();
    assert.deepEqual(provider.chargesOf(cart.id).map((c) => c.state), ["refunded"]);
    assert.equal(await value(shop, `SELECT SUM(amount) FROM ledger_entries WHERE order_id = ${bin(order.id)} AND account = 'cash:probe'`), "0");
    assert.equal(await value(shop, `SELECT COALESCE(SUM(amount), 0) FROM ledger_entries WHERE order_id = ${bin(order.id)}`), "0");
    await assertInvariants(shop);
  });
});

describe("the provider that only pretends", () => {
  const tokens = { tok_ok: "captured", tok_late: "captured", tok_timeout: "captured", tok_declined: "declined", tok_unknown_lost: "refused",
    tok_none_such: "declined", tok_capture_declined: "authorized" };
  for (const [token, expected] of Object.entries(tokens)) {
    it(`makes ${expected} of ${token}`, async () => {
      const cart = await makeCart(shop, variant.id);
      assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "test", data: { token } } }), 201);
      const key = newKey();
      const first = await complete(cart, {}, key);
      if (token === "tok_timeout" || token === "tok_unknown_lost") assert.equal(first.status, 202, first.text);
      const end = await outcome(cart, key);
      const attempts = await query(shop, `SELECT a.state FROM payment_test_attempts a JOIN payments p ON p.idem_key = a.idem_key
        WHERE p.cart_id = ${bin(cart.id)}`);
      assert.ok(attempts.length <= 1, "one attempt");
      if (expected === "declined" || expected === "refused") {
        assert.equal(end.body.error?.code ?? end.body.code, "payment_declined", end.text);
        assert.equal((await cartOf(cart.id)).state, "open");
        assertOk(await session(cart, "ok"), 201);
        assert.equal(assertOk(await complete(cart), 200).type, "order");
        return;
      }
      assert.equal(end.body.type, "order", end.text);
      if (expected === "captured") await paid(end.body.order.id);
      else await until("the event was delivered", async () => (await count(shop, "outbox", "state = 'pending'")) === 0);
      const seen = await orderOf(end.body.order.id);
      assert.equal(seen.payment_status, expected);
      assert.equal(await count(shop, "payment_test_attempts", `amount = ${seen.total.amount} AND state = '${expected}'
        AND idem_key IN (SELECT idem_key FROM payments WHERE cart_id = ${bin(cart.id)})`), 1);
      await assertInvariants(shop);
    });
  }

  it("asks the shopper to confirm, who does", async () => {
    const cart = await makeCart(shop, variant.id);
    assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "test", data: { token: "tok_requires_action" } } }), 201);
    const first = assertOk(await complete(cart), 200);
    assert.equal(first.error.code, "payment_requires_action");
    assert.ok(first.error.action.url, JSON.stringify(first.error));
    const again = assertOk(await complete(cart), 200);
    assert.equal(again.error?.code, "payment_requires_action", "asking again does not confirm it");
    const { order } = assertOk(await complete(cart, { data: { action_done: true } }), 200);
    await paid(order.id);
    await assertInvariants(shop);
  });

  it("takes an object from the shopper, null as nothing, and all else as a mistake that changes nothing", async () => {
    const cart = await makeCart(shop, variant.id);
    const choose = (data) => shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "test", data } });
    const wrong = ["x", 5, true, [], [1, 2]];
    for (const data of wrong) assertPointsAt(await choose(data), "/data");
    assertOk(await choose(null), 201);
    assertOk(await choose({ token: "tok_requires_action" }), 201);
    assert.equal(assertOk(await complete(cart), 200).error.code, "payment_requires_action");
    const key = newKey();
    for (const data of wrong) assertPointsAt(await complete(cart, { data }, key), "/data");
    assert.equal(assertOk(await complete(cart, { data: null }), 200).error.code, "payment_requires_action", "nothing was brought back");
    const { order } = assertOk(await complete(cart, { data: { action_done: true } }, key), 200);
    for (const data of wrong) {
      assertPointsAt(await shop.store("POST", `/orders/${order.id}/payment-sessions`, { body: { provider: "test", data } }), "/data");
      assertPointsAt(await shop.store("POST", `/orders/${order.id}/payment-sessions/${order.id.replace("ord", "pay")}/pay`, { body: { data } }), "/data");
    }
    await paid(order.id);
    await assertInvariants(shop);
  });

  it("hears at /hooks/v1 that the shopper confirmed, and takes nothing that it cannot read", async () => {
    const cart = await makeCart(shop, variant.id);
    assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "test", data: { token: "tok_requires_action" } } }), 201);
    const first = assertOk(await complete(cart), 200);
    const hook = (plugin, body) => shop.h2("POST", `/hooks/v1/${plugin}`, { key: null, body });
    assert.equal((await hook("payment-test", "not JSON")).status, 400);
    assertProblem(await hook("payment-manual", {}), 404, "not_found");
    assertProblem(await hook("nobody", {}), 404, "not_found");
    const ref = first.error.action.url.split("/").pop();
    assert.equal((await hook("payment-test", { provider_ref: ref, approved: true })).status, 200);
    const { order } = assertOk(await complete(cart), 200);
    await paid(order.id);
    await assertInvariants(shop);
  });
});

describe("the shop's own methods", () => {
  it("let a shopper pay later", async () => {
    const cart = await makeCart(shop, variant.id);
    const { order } = assertOk(await buy(shop, cart), 200);
    assert.ok(["awaiting", "captured", "authorized"].includes(order.payment_status), order.payment_status);
    await assertInvariants(shop);
  });
});

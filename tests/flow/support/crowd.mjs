// Many who buy at once, as clients who do what the server tells them: come again when it says so, under the same key.
import assert from "node:assert/strict";
import { ADDRESS, Line, idem, newKey, until } from "./shop.mjs";
import { assertOk, assertProblem } from "./checks.mjs";
import { count, query } from "./db.mjs";

const AGAIN = ["completion_in_progress", "idempotency_in_flight", "busy"];

/** `n` connections, so that every worker gets some: pool.ask(i)(method, target, options) goes over one of them. */
export function connections(shop, n) {
  const lines = Array.from({ length: n }, () => new Line(shop));
  return {
    ask: (i) => (method, target, options = {}) =>
      shop.h2(method, `/store/v1${target}`, { ...options, session: lines[i % n].session }),
    close: () => lines.forEach((line) => line.close()),
  };
}

/** All at once, each in its own way: what fn(i) gave, in order. */
export const many = (n, fn) => Promise.all(Array.from({ length: n }, (_, i) => fn(i)));

/** At most `width` at a time. */
export async function few(n, width, fn) {
  const out = new Array(n);
  let next = 0;
  await many(Math.min(n, width), async () => {
    for (let i = next++; i < n; i = next++) out[i] = await fn(i);
  });
  return out;
}

/** Repeats what the server asks to be repeated, when it says. Nothing else of its own making may come: no other 5xx. */
export async function settled(ask, limitMs = 120_000) {
  const end = Date.now() + limitMs;
  for (;;) {
    const answer = await ask();
    if (answer.status >= 500) {
      assert.equal(answer.status, 503, answer.text);
      assert.ok(Number(answer.headers["retry-after"]) >= 1, `503 says when to come again: ${answer.text}`);
    }
    if (answer.status !== 202 && answer.status !== 503 && !AGAIN.includes(answer.body?.code)) return answer;
    assert.ok(Date.now() < end, `it was never settled: ${answer.status} ${answer.text}`);
    const pause = answer.status === 503 ? 1000 * Number(answer.headers["retry-after"]) : 50;
    await new Promise((resolve) => setTimeout(resolve, pause * (0.5 + Math.random())));
  }
}

/** A cart with [[variant id, quantity], …], an address and a way of shipping, over `ask`. */
export async function fillCart(ask, lines, option) {
  const must = async (method, target, body) => {
    const answer = await settled(() => ask(method, target, { body }));
    assert.ok(answer.status < 300, `${method} ${target}: ${answer.status} ${answer.text}`);
    return answer.body;
  };
  const { cart } = await must("POST", "/carts", { currency: "GBP", country: "GB" });
  for (const [variant_id, quantity] of lines) await must("POST", `/carts/${cart.id}/lines`, { variant_id, quantity });
  const head = { email: "ada@example.com", shipping_address: ADDRESS, billing_address: ADDRESS };
  if (option) return (await must("PATCH", `/carts/${cart.id}`, { ...head, shipping_option_id: option })).cart;
  await must("PATCH", `/carts/${cart.id}`, head);
  const options = await must("GET", `/carts/${cart.id}/shipping-options`);
  return (await must("PATCH", `/carts/${cart.id}`, { shipping_option_id: options.data[0].id })).cart;
}

/** n carts with lines(i), over all connections; the way of shipping is that of the first. */
export async function fillCarts(pool, n, lines) {
  const first = await fillCart(pool.ask(0), lines(0));
  const others = await few(n - 1, 32, (i) => fillCart(pool.ask(i + 1), lines(i + 1), first.shipping_option_id));
  return [first, ...others];
}

export const CARD = { provider: "test", data: { token: "tok_ok" } };
export const INVOICE = { provider: "manual", data: undefined };

export const pay = (ask, cart, { provider, data } = CARD, headers = idem()) =>
  settled(() => ask("POST", `/carts/${cart.id}/payment-sessions`, { headers, body: { provider, data } }));

export const complete = (ask, cart, key = newKey()) => settled(() => completeOnce(ask, cart, key));

/** Pays, and completes where there is something to be had. */
export async function purchase(ask, cart, payment) {
  const held = await pay(ask, cart, payment);
  return held.status === 201 ? complete(ask, cart) : held;
}

/** The same two steps, once each, whatever the answer. */
export const payOnce = (ask, cart, body = INVOICE) => ask("POST", `/carts/${cart.id}/payment-sessions`, { body });
export const completeOnce = (ask, cart, key = newKey()) =>
  ask("POST", `/carts/${cart.id}/complete`, { headers: idem(key), body: {} });

export const stockOf = async (shop, sku) =>
  assertOk(await shop.admin("GET", `/inventory/${encodeURIComponent(sku)}`), 200).inventory;

export const isOrder = (answer) => answer.body?.type === "order";
/** Why he who got no order got none. */
export const refusalOf = (answer) => answer.body?.error?.code ?? answer.body?.code;

/** Of many answers: the orders, and the codes of the refused ones. */
export function sorted(answers) {
  return { orders: answers.filter(isOrder).map((a) => a.body.order), codes: answers.filter((a) => !isOrder(a)).map(refusalOf) };
}

/** Parts the answers: the orders; all others must be refused because of `code`, in words for a shopper. */
export function ordersOf(answers, code = "sold_out") {
  for (const a of answers) {
    if (isOrder(a)) continue;
    const refusal = a.body?.type === "cart" ? a.body.error : assertProblem(a, 409, code);
    assert.equal(refusal.code, code, a.text);
    assert.ok((refusal.detail ?? refusal.message).length > 0, a.text);
  }
  const orders = answers.filter(isOrder).map((a) => a.body.order);
  assert.equal(new Set(orders.map((o) => o.number)).size, orders.length, "each has a number of his own");
  return orders;
}

// Money of theirs that nothing was sold for: in our books, and at the provider.
const OPEN = "order_id IS NULL AND state IN ('sending', 'unknown', 'authorized', 'captured')";
const AT_PROVIDER = `SELECT t.idem_key, t.state FROM payment_test_attempts t
  LEFT JOIN payments p ON p.idem_key = t.idem_key AND p.provider = 'test' LEFT JOIN orders o ON o.id = p.order_id
  WHERE t.state IN ('authorized', 'captured') AND o.id IS NULL`;

/** Nobody is charged who has no order; what was begun for him may take a moment to be let go. */
export async function assertNobodyChargedInVain(shop) {
  await until("every payment has its order or is let go", async () => (await count(shop, "payments", OPEN)) === 0, 60_000);
  assert.deepEqual(await query(shop, AT_PROVIDER), [], "the provider holds money for no order");
}

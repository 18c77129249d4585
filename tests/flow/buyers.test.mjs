// Buyers at once, a thousand of them: what is there is sold once and no more, who gets nothing is told so and charged
// nothing, and two who act on one cart at any moment of its completion make one order of it.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Shop, idem, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";
import { assertInvariants, bin, count, query, value } from "./support/db.mjs";
import * as crowd from "./support/crowd.mjs";
import { CARD, INVOICE, assertNobodyChargedInVain, complete, connections, few, fillCart, fillCarts, isOrder, many, ordersOf, pay,
  purchase, settled } from "./support/crowd.mjs";

const MOMENTS = 24; // over the time that a completion takes

let shop, pool;
before(async () => {
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=2"] });
  pool = connections(shop, 16);
});
after(async () => {
  pool?.close();
  await shop?.stop();
});

const stockOf = (sku) => crowd.stockOf(shop, sku);
const later = (ms, fn) => new Promise((resolve) => setTimeout(resolve, ms)).then(fn);

async function assertWell() {
  await assertNobodyChargedInVain(shop);
  await assertInvariants(shop);
}

/** How long one completion takes now, by the provider that needs the most steps. */
async function completionMs(variant) {
  const cart = await fillCart(pool.ask(0), [[variant.id, 1]]);
  assertOk(await pay(pool.ask(0), cart), 201);
  const from = performance.now();
  assert.ok(isOrder(await complete(pool.ask(0), cart)));
  return performance.now() - from;
}

/** The only attempt for this cart that holds money. */
async function assertPaidOnce(cart) {
  const rows = await query(shop, `SELECT t.state FROM payment_test_attempts t JOIN payments p USING (idem_key)
    WHERE p.cart_id = ${bin(cart.id)} AND t.state IN ('authorized', 'captured')`);
  assert.equal(rows.length, 1, JSON.stringify(rows));
}

describe("one unit", () => {
  it("for a thousand buyers is one order and 999 refusals", async () => {
    const { variant, sku } = await makeProduct(shop, { stock: 1 });
    const carts = await fillCarts(pool, 1000, () => [[variant.id, 1]]);
    const answers = await many(1000, (i) => purchase(pool.ask(i), carts[i], i % 2 ? CARD : INVOICE));
    assert.equal(ordersOf(answers).length, 1);
    const { on_hand, reserved } = await stockOf(sku);
    assert.deepEqual([on_hand, reserved], [0, 0]);
    await assertWell();
  });

  it("that eight were promised in turn, and who paid too late, is one order and nobody's loss", async () => {
    const { variant, sku } = await makeProduct(shop, { stock: 1 });
    const carts = await fillCarts(pool, 8, () => [[variant.id, 1]]);
    for (const [i, cart] of carts.entries()) {
      assertOk(await pay(pool.ask(i), cart), 201);
      await query(shop, `UPDATE reservations SET expires_at = '2020-01-01' WHERE cart_id = ${bin(cart.id)}`); // his time is over
    }
    const answers = await many(8, (i) => complete(pool.ask(i), carts[i]));
    assert.equal(ordersOf(answers).length, 1, answers.map((a) => a.text).join("\n"));
    assert.equal((await stockOf(sku)).on_hand, 0);
    await assertWell();
  });
});

describe("the last fifty units of twenty products", () => {
  it("are what five hundred buyers of mixed carts get, and nobody is refused what is left", async () => {
    const products = await few(20, 4, (i) => makeProduct(shop, { stock: i % 2 ? 3 : 2, price: 1000 + i }));
    const cartOf = (i) => Array.from({ length: 1 + i % 3 }, (_, k) =>
      [products[(i * 7 + k * (1 + i % 6)) % 20].variant.id, 1 + (i + k) % 4 % 2]);
    const carts = await fillCarts(pool, 500, cartOf);
    const answers = await many(500, (i) => purchase(pool.ask(i), carts[i], i % 3 ? CARD : INVOICE));
    const orders = ordersOf(answers);
    const sold = new Map();
    for (const line of orders.flatMap((o) => o.lines)) sold.set(line.variant_id, (sold.get(line.variant_id) ?? 0) + line.quantity);
    const left = new Map();
    for (const [i, { variant, sku }] of products.entries()) {
      const stock = await stockOf(sku);
      assert.equal(stock.on_hand + (sold.get(variant.id) ?? 0), i % 2 ? 3 : 2, `${sku}: what was there is sold or left`);
      assert.equal(stock.reserved, 0, sku);
      left.set(variant.id, stock.on_hand);
    }
    for (const [i, a] of answers.entries())
      if (!isOrder(a)) assert.ok(carts[i].lines.some((l) => l.quantity > left.get(l.variant_id)), `all of it is there: ${a.text}`);
    await assertWell();
  });
});

describe("a promotion code", () => {
  it("with three uses left is used three times by sixty carts", async () => {
    const code = newKey();
    const promo = assertOk(await shop.admin("POST", "/promotions", { headers: idem(), body: { code, name: "The last ones",
      status: "active", usage_limit: 3, terms: { level: "order", type: "percent", value: "50" } } }), 201).promotion;
    const { variant } = await makeProduct(shop, { stock: 100 });
    const carts = await fillCarts(pool, 60, () => [[variant.id, 1]]);
    await few(60, 16, async (i) => {
      assertOk(await settled(() => pool.ask(i)("POST", `/carts/${carts[i].id}/promotions`, { body: { code } })));
      assertOk(await pay(pool.ask(i), carts[i], i % 2 ? CARD : INVOICE), 201);
    });
    const answers = await many(60, (i) => complete(pool.ask(i), carts[i]));
    const orders = answers.filter(isOrder).map((a) => a.body.order);
    assert.equal(orders.length, 3, answers.map((a) => a.text.slice(0, 200)).join("\n"));
    for (const o of orders) assert.ok(o.discount_total.amount > 0);
    for (const a of answers) {
      if (isOrder(a)) continue;
      const refusal = a.body.type === "cart" ? a.body.error.code : a.body.code;
      assert.ok(["promotion_refused", "price_changed"].includes(refusal), a.text);
    }
    assert.equal(assertOk(await shop.admin("GET", `/promotions/${promo.id}`), 200).promotion.used, 3);
    await assertWell();
  });
});

describe("one cart", () => {
  it("completed with different keys at once is one order", async () => {
    const { variant, sku } = await makeProduct(shop, { stock: 40 });
    for (const payment of [CARD, INVOICE]) {
      const cart = await fillCart(pool.ask(0), [[variant.id, 2]]);
      assertOk(await pay(pool.ask(0), cart, payment), 201);
      const answers = await many(16, (i) => complete(pool.ask(i), cart));
      for (const a of answers) assert.equal(assertOk(a, 200).type, "order", a.text);
      assert.equal(new Set(answers.map((a) => a.body.order.id)).size, 1);
      assert.equal(await count(shop, "orders", `cart_id = ${bin(cart.id)}`), 1);
    }
    assert.equal((await stockOf(sku)).on_hand, 36);
    await assertWell();
  });

  it("completed once more at any moment of its completion is one order, paid once", async () => {
    const { variant, sku } = await makeProduct(shop, { stock: 100 });
    const ms = await completionMs(variant);
    for (let moment = 0; moment < MOMENTS; ++moment) {
      const payment = moment % 3 ? CARD : INVOICE;
      const cart = await fillCart(pool.ask(0), [[variant.id, 1]]);
      assertOk(await pay(pool.ask(0), cart, payment), 201);
      const [first, second] = await Promise.all([complete(pool.ask(1), cart),
        later(ms * moment / MOMENTS, () => complete(pool.ask(2), cart))]);
      assert.equal(assertOk(first, 200).order?.id, assertOk(second, 200).order?.id, `${first.text}\n${second.text}`);
      if (payment === CARD) await assertPaidOnce(cart);
    }
    assert.equal((await stockOf(sku)).on_hand, 100 - 1 - MOMENTS);
    await assertWell();
  });

  it("changed at any moment of its completion is bought as it is shown, and no change is lost", async () => {
    const { variant } = await makeProduct(shop, { stock: 1000 });
    const other = await makeProduct(shop, { stock: 1000, price: 333 });
    const ms = await completionMs(variant);
    for (let moment = 0; moment < MOMENTS; ++moment) {
      const cart = await fillCart(pool.ask(0), [[variant.id, 1]]);
      assertOk(await pay(pool.ask(0), cart, moment % 2 ? CARD : INVOICE), 201);
      const edit = pool.ask(2), target = `/carts/${cart.id}`;
      const change = (i) => later(ms * moment / MOMENTS, () => i % 2
        ? edit("POST", `${target}/lines`, { body: { variant_id: other.variant.id, quantity: 1 } })
        : edit("PATCH", `${target}/lines/${cart.lines[0].id}`, { body: { quantity: 2 } }));
      const [bought, ...edits] = await Promise.all([complete(pool.ask(1), cart), ...Array.from({ length: 4 }, (_, i) => change(i))]);
      for (const a of edits)
        if (a.status >= 300) assert.ok(["completion_in_progress", "cart_completed", "busy"].includes(a.body?.code), a.text);
      const seen = assertOk(await pool.ask(3)("GET", target), 200).cart;
      const quantityOf = (lines, id) => lines.find((l) => l.variant_id === id)?.quantity ?? 0;
      const taken = (parity) => edits.filter((a, i) => i % 2 === parity && a.status === 200).length;
      assert.equal(quantityOf(seen.lines, other.variant.id), taken(1), "each line that was taken is there");
      assert.equal(quantityOf(seen.lines, variant.id), taken(0) ? 2 : 1);
      if (!isOrder(bought)) {
        assert.notEqual(seen.state, "completed", bought.text);
        continue;
      }
      assert.equal(seen.state, "completed");
      assert.deepEqual(bought.body.order.total, seen.total, "what was bought is what the cart shows");
      for (const line of seen.lines) assert.equal(quantityOf(bought.body.order.lines, line.variant_id), line.quantity);
      assertProblem(await edit("POST", `${target}/lines`, { body: { variant_id: variant.id, quantity: 1 } }), 409, "cart_completed");
      assertProblem(await edit("PATCH", target, { body: { email: "b@example.com" } }), 409, "cart_completed");
    }
    await until("what was begun is settled", async () =>
      (await value(shop, "SELECT COUNT(*) FROM sagas WHERE state IN ('running', 'waiting')")) === "0", 60_000);
    await assertWell();
  });
});

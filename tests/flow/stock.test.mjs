// Many at once over several locations, backorders and bundles: what is there is sold once, what may be
// promised is promised once, and no unit is lost on the way.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Shop, idem, makeCart, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";
import { INVOICE, connections, many, payOnce, purchase as buy, settled, sorted, stockOf } from "./support/crowd.mjs";
import { assertInvariants, bin, count, query, value } from "./support/db.mjs";

let shop, pool;
before(async () => {
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=2"] });
  pool = connections(shop, 8);
  await query(shop, `INSERT INTO locations (id, code, name, priority) VALUES
    (UNHEX(MD5('near')), 'near', 'Near', 50), (UNHEX(MD5('far')), 'far', 'Far', 200)`);
});
after(async () => {
  pool?.close();
  await shop?.stop();
});

const adjust = (sku, body) => settled(() => shop.admin("POST", `/inventory/${sku}/adjustments`, { headers: idem(), body: { reason: "test", ...body } }));
const put = async (sku, location, quantity) => assertOk(await adjust(sku, { set_to: quantity, location }), 201);
const policy = async (sku, body) => assertOk(await shop.admin("PUT", `/inventory/${sku}/backorders`, { body }), 200).backorders;
const promised = async (sku) => assertOk(await shop.admin("GET", `/inventory/${sku}/backorders`), 200).backorders.promised;
const bundle = async (variant, parts) => assertOk(await shop.admin("PUT", `/variants/${variant.id}/parts`, {
  body: { parts: parts.map(([part, quantity]) => ({ variant_id: part.variant.id, quantity })) } }), 200);
const soldOut = (codes) => assert.deepEqual([...new Set(codes)], ["sold_out"], codes.join());

const purchase = (ask, cart) => buy(ask, cart, INVOICE);

/** One cart each; then all of them buy at once over eight connections. */
async function rush(wishes) {
  const carts = [];
  for (const [variant, quantity] of wishes) carts.push(await makeCart(shop, variant.id, { quantity }));
  return sorted(await many(carts.length, (i) => purchase(pool.ask(i), carts[i])));
}

describe("the last units at three locations", () => {
  it("are sold to the last one, also where a line has to be shared", async () => {
    const { variant, sku } = await makeProduct(shop, { stock: 4 });
    await put(sku, "near", 3);
    await put(sku, "far", 3);
    const { orders, codes } = await rush(Array(24).fill([variant, 2]));
    assert.equal(orders.length, 5, codes.join());
    soldOut(codes);
    const stock = await stockOf(shop, sku);
    assert.deepEqual([stock.on_hand, stock.reserved], [0, 0]);
    await assertInvariants(shop);
  });
});

describe("a backorder", () => {
  it("is taken by as many as its limit lets, and each gets what comes in his turn", async () => {
    const { variant, sku } = await makeProduct(shop, { stock: 3 });
    await policy(sku, { policy: "backorder", limit: 4 });
    const { orders, codes } = await rush(Array(30).fill([variant, 1]));
    assert.equal(orders.length, 7, codes.join());
    soldOut(codes);
    assert.equal(await promised(sku), 4);
    const waiting = () => query(shop, `SELECT HEX(o.id) FROM reservations r JOIN orders o ON o.cart_id = r.cart_id
      WHERE r.state = 'backordered' ORDER BY r.id`);
    const queue = await waiting();
    assert.equal(queue.length, 4);
    assert.equal(orders.filter((o) => o.lines[0].backordered_quantity === 1).length, 4);
    await assertInvariants(shop);
    assertOk(await adjust(sku, { delta: 3, reason: "received" }), 201);
    assert.deepEqual(await waiting(), queue.slice(3), "the first three have theirs");
    assert.equal((await stockOf(shop, sku)).on_hand, 0);
    await assertInvariants(shop);
  });

  it("and what comes in meanwhile are never the same unit", async () => {
    const { variant, sku } = await makeProduct(shop, { stock: 2 });
    await policy(sku, { policy: "preorder", limit: 40, available_at: "2031-01-01T00:00:00Z" });
    const carts = [];
    for (let i = 0; i < 20; ++i) carts.push(await makeCart(shop, variant.id, { quantity: 1 + (i % 3) }));
    const [answers, received] = await Promise.all([
      many(20, (i) => purchase(pool.ask(i), carts[i])),
      many(10, () => adjust(sku, { delta: 2, reason: "received" })),
    ]);
    for (const a of received) assertOk(a, 201);
    const { orders, codes } = sorted(answers);
    assert.equal(orders.length, 20, codes.join());
    const wanted = orders.reduce((sum, o) => sum + o.lines[0].quantity, 0);
    await until("the job has allotted what is there", async () =>
      (await promised(sku)) === Math.max(0, wanted - 22) || (await stockOf(shop, sku)).on_hand === 0);
    assert.equal(Number(await value(shop, `SELECT SUM(on_hand) FROM stock s JOIN variants v ON v.id = s.variant_id WHERE v.sku = '${sku}'`))
      - (await promised(sku)), 22 - wanted, "no unit is lost, none is given twice");
    await assertInvariants(shop);
    const cancelled = await many(6, (i) => settled(() => shop.admin("POST", `/orders/${orders[i].id}/cancel`, { headers: idem(newKey()), body: {} })));
    for (const a of cancelled) assertOk(a, 200);
    const kept = orders.slice(6).reduce((sum, o) => sum + o.lines[0].quantity, 0);
    await until("what came back is allotted", async () => {
      const [there, waits] = [(await stockOf(shop, sku)).on_hand, await promised(sku)];
      return there - waits === 22 - kept && (there === 0 || waits === 0);
    });
    await assertInvariants(shop);
  });
});

describe("bundles that share a part", () => {
  it("never sell it twice, and take all of their parts or none", async () => {
    const [pot, cup, jug] = [await makeProduct(shop, { stock: 10 }), await makeProduct(shop, { stock: 30 }), await makeProduct(shop, { stock: 6 })];
    const [tea, milk] = [await makeProduct(shop, { stock: 0 }), await makeProduct(shop, { stock: 0 })];
    await bundle(tea.variant, [[pot, 1], [cup, 4]]);
    await bundle(milk.variant, [[jug, 2], [pot, 1]]);
    const wishes = [];
    for (let i = 0; i < 8; ++i) wishes.push([tea.variant, 1], [milk.variant, 1], [pot.variant, 1]);
    const { orders, codes } = await rush(wishes);
    soldOut(codes);
    const sold = (what) => orders.filter((o) => o.lines[0].sku === what.sku).length;
    const [stock, cups, jugs] = [await stockOf(shop, pot.sku), await stockOf(shop, cup.sku), await stockOf(shop, jug.sku)];
    assert.deepEqual([stock.on_hand, stock.reserved], [0, 0], "all of the part that all of them want is sold");
    assert.equal(sold(tea) + sold(milk) + sold(pot), 10);
    assert.deepEqual([cups.on_hand, jugs.on_hand], [30 - 4 * sold(tea), 6 - 2 * sold(milk)]);
    assert.ok(sold(milk) <= 3 && sold(tea) <= 7);
    await assertInvariants(shop);
  });
});

describe("reservations that end", () => {
  it("by the hundred end all, and nobody who buys meanwhile is refused", async () => {
    const { variant, sku } = await makeProduct(shop, { stock: 1200 });
    const cart = await makeCart(shop, variant.id);
    assertOk(await payOnce(pool.ask(0), cart), 201);
    const held = await value(shop, `SELECT HEX(id) FROM reservations WHERE cart_id = ${bin(cart.id)}`);
    await query(shop, `START TRANSACTION;
      INSERT INTO reservations (id, cart_id, variant_id, location_id, quantity, state, expires_at)
        SELECT UNHEX(MD5(CONCAT('${sku}', seq))), cart_id, variant_id, location_id, 1, 'held', UTC_TIMESTAMP(3) + INTERVAL 2 SECOND
        FROM reservations, seq_1_to_1000 WHERE id = x'${held}';
      INSERT INTO stock_events (variant_id, location_id, type, quantity, on_hand_delta, reserved_delta)
        SELECT variant_id, location_id, 'reserved', 1000, 0, 1000 FROM reservations WHERE id = x'${held}';
      UPDATE stock s JOIN reservations r USING (variant_id, location_id) SET s.reserved = s.reserved + 1000 WHERE r.id = x'${held}';
      COMMIT;`);
    const { orders, codes } = await rush(Array(30).fill([variant, 1]));
    assert.deepEqual([orders.length, codes], [30, []]);
    await until("all of them have ended", async () => (await count(shop, "reservations", "state = 'expired'")) >= 1000, 60_000);
    const stock = await stockOf(shop, sku);
    assert.deepEqual([stock.on_hand, stock.reserved], [1170, 1]);
    await assertInvariants(shop);
  });
});

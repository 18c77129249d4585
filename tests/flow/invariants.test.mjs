// What the other tests compare the tables by: each of it finds what breaks it. A shop with a little of everything, a change
// that no server would make, seen by nobody and undone, and who says so.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Shop, buy, idem, makeCart, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";
import { assertSettled, brokenBy, count, invariants } from "./support/db.mjs";

const CARD = { provider: "test", data: { token: "tok_ok" } };

let shop;
before(async () => {
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=1", "--set", "plugins.payment-test.capture=fulfilment"] });
  await fill();
});
after(() => shop?.stop());

const send = (target, body, method = "POST") => shop.admin(method, target, { headers: idem(), body });

async function bought(product, quantity = 2, payment = CARD) {
  return assertOk(await buy(shop, await makeCart(shop, product.variant.id, { quantity }), payment), 200).order;
}

/** Paid outside of the shop, and nobody paid: the shopper pays by card instead. */
async function paidAnew(product) {
  const order = await bought(product, 1, { provider: "manual" }), [old] = assertOk(await shop.admin("GET", `/orders/${order.id}`), 200).order.payments;
  assertOk(await send(`/orders/${order.id}/payment-request`, { instead_of: old.id, reason: "nothing came" }), 201);
  const { payment_session: one } = assertOk(await shop.store("POST", `/orders/${order.id}/payment-sessions`, { headers: idem(), body: CARD }), 201);
  assertOk(await shop.store("POST", `/orders/${order.id}/payment-sessions/${one.id}/pay`, { headers: idem(), body: {} }), 200);
}

/** Orders that are captured in part, sent and come back, cancelled, waited for, of a bundle, paid anew; and a cart that holds. */
async function fill() {
  const tea = await makeProduct(shop, { stock: 100 }), rare = await makeProduct(shop, { stock: 1 }), set = await makeProduct(shop, { stock: 0 });
  assertOk(await send(`/variants/${set.variant.id}/parts`, { parts: [{ variant_id: tea.variant.id, quantity: 2 }] }, "PUT"), 200);
  assertOk(await send(`/inventory/${rare.sku}/backorders`, { policy: "backorder", limit: 5 }, "PUT"), 200);
  assertOk(await send("/promotions", { code: newKey(), name: "Odd", status: "active", usage_limit: 9,
    terms: { level: "order", type: "amount", value: 101, currency: "GBP" } }), 201);
  const part = await bought(tea), [held] = assertOk(await shop.admin("GET", `/orders/${part.id}`), 200).order.payments;
  assertOk(await send(`/payments/${held.id}/capture`, { amount: { amount: 500, currency: "GBP" } }), 200);
  const sent = await bought(tea), lines = [{ line_id: sent.lines[0].id, quantity: 2 }];
  assertOk(await send(`/orders/${sent.id}/fulfilments`, { lines, status: "shipped" }), 201);
  await until("it is captured", async () => assertOk(await shop.admin("GET", `/orders/${sent.id}`), 200).order.payment_status === "captured");
  assertOk(await send(`/orders/${sent.id}/returns`, { lines: [{ ...lines[0], quantity: 1, restock: true, location: "main" }], reason: "spec" }), 201);
  const cut = await bought(tea, 3);
  assertOk(await send(`/orders/${cut.id}/cancel`, { lines: [{ line_id: cut.lines[0].id, quantity: 1 }], reason: "spec" }), 200);
  assertOk(await send(`/orders/${(await bought(tea)).id}/cancel`, { reason: "spec" }), 200);
  await bought(rare, 3);
  await bought(set, 1);
  await bought(tea, 1, { provider: "manual" });
  await paidAnew(tea);
  const cart = await makeCart(shop, tea.variant.id, { quantity: 1 });
  assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: CARD }), 201);
  await assertSettled(shop);
}

const ONE = "ORDER BY id LIMIT 1";
const A_PART = "payment_status = 'partially_captured'";
const CAPTURED = "state = 'captured' AND capture_amount = amount - released_amount";

/** What must hold -> what breaks it, and sometimes others too. */
const CHANGES = {
  "stock is the sum of its events": "UPDATE stock SET on_hand = on_hand + 1 LIMIT 1",
  "stock is never negative": "UPDATE stock SET reserved = on_hand + 1 LIMIT 1",
  "what is reserved is held by somebody": "UPDATE stock SET reserved = reserved + 1 WHERE on_hand > 10 LIMIT 1",
  "every order has lines": `DELETE FROM order_lines WHERE order_id = (SELECT id FROM orders ${ONE})`,
  "a cart becomes one order": "UPDATE orders SET cart_id = (SELECT cart_id FROM (SELECT cart_id FROM orders ORDER BY id LIMIT 1) o)",
  "a completed cart has its order": `DELETE FROM orders ${ONE}`,
  "the ledger sums to zero": `UPDATE ledger_entries SET amount = amount + 1 ${ONE}`,
  "an order is paid at most once": `INSERT INTO payments (id, cart_id, order_id, provider, state, currency, amount, idem_key, data)
    SELECT UNHEX(MD5('p')), cart_id, order_id, provider, state, currency, amount, 'another', data FROM payments WHERE state = 'authorized' ${ONE}`,
  "an order that says it is paid has what pays for it": `UPDATE orders SET payment_status = 'captured' WHERE payment_status = 'authorized' ${ONE}`,
  "what was captured of a payment is the sum of its captures, and no more than was authorized":
    `UPDATE payments SET released_amount = amount WHERE state = 'captured' ${ONE}`,
  "parts that are done were captured": "UPDATE captures SET amount = amount + 1 WHERE state = 'done'",
  "an order says of its money what its payments come to": `UPDATE orders SET payment_status = 'captured' WHERE ${A_PART}`,
  "payments come to the total of their order": `UPDATE payments SET amount = amount + 1 WHERE state = 'authorized' ${ONE}`,
  "an order that is paid anew holds and takes no more than its total": `UPDATE payments SET amount = amount + 99999 WHERE state = 'authorized' ${ONE}`,
  "nothing is owed of an order that is paid, but what staff let go of, or gave back at the provider":
    `UPDATE orders SET payment_status = 'captured' WHERE ${A_PART}`,
  "a code was used as often as orders say": "UPDATE promotions SET used = used + 1",
  "nobody used a code more often than his orders say": "INSERT INTO promotion_customers SELECT id, 'ada', 1 FROM promotions",
  "cash of an order is booked once for each capture, each dispute that was won and each refund that failed": `INSERT INTO ledger_entries (transaction_id, account,
    currency, amount, order_id, payment_id) SELECT transaction_id, account, currency, 1, order_id, payment_id FROM ledger_entries
    WHERE account = 'cash:test' AND amount > 0 LIMIT 1`,
  "what lies in suspense is held of payments without an order": "UPDATE ledger_entries SET account = 'suspense:test' WHERE account = 'cash:test'",
  "what is at the bank is what was paid out, less what came back": `INSERT INTO settlement_items (provider, reference, kind, currency, amount,
    verdict, detail, fee_booked, at, settlement_id) VALUES ('test', 'po', 'payout', 'GBP', -5, 'other', '{}', 1, NOW(3), 0)`,
  "what is promised is the sum of its events": "UPDATE backorders SET promised = promised + 1 WHERE policy <> 'deny'",
  "what is promised is waited for by somebody": "DELETE FROM reservations WHERE state = 'backordered'",
  "nothing waits that was not promised": "DELETE FROM backorders",
  "no more is promised than may be": "UPDATE backorders SET unit_limit = 1 WHERE promised > 1",
  "every line of an order has its units": "UPDATE order_lines SET quantity = quantity + 1",
  "what has left the stock is what orders hold": "UPDATE reservations SET quantity = quantity + 1 WHERE state = 'sold'",
  "what came back into stock is on the lines of returns": "DELETE FROM stock_events WHERE LEFT(reference, 4) = 'ret_'",
  "a line lacks what its reservations lack": "UPDATE order_lines SET backordered_quantity = 1",
  "what is in parcels is counted on the line": "UPDATE order_lines SET fulfilled_quantity = 0",
  "what is cancelled is counted on the lines": "UPDATE order_lines SET cancelled_quantity = cancelled_quantity + 1 WHERE cancelled_quantity > 0",
  "what came back is counted on the lines": "UPDATE order_lines SET returned_quantity = returned_quantity + 1 WHERE returned_quantity > 0",
  "nothing comes back that was not handed over": "UPDATE order_lines SET returned_quantity = fulfilled_quantity + 1",
  "an order says what of it came back": "UPDATE orders SET return_status = 'returned' WHERE return_status = 'partial'",
  "of an order of which nothing is kept nothing is owed": "UPDATE order_lines SET returned_quantity = quantity WHERE returned_quantity > 0",
  "an order is where its units are": "UPDATE orders SET fulfilment_status = 'partial' WHERE fulfilment_status = 'unfulfilled'",
  "what an order owes is what was sold less what was cancelled and paid": `UPDATE ledger_entries SET amount = amount + 1 WHERE account = 'receivable' ${ONE}`,
  "cash is what payments say": `UPDATE ledger_entries SET amount = amount + 1 WHERE account = 'cash:test' ${ONE}`,
  "a payment is what its events come to": `UPDATE payments SET capture_amount = capture_amount + 1 WHERE ${CAPTURED}`,
  "what failed is a refund, and no more of it than it gave back": `INSERT INTO payment_events (payment_id, seq, kind, amount, reference)
    SELECT id, 99, 'refund_failed', 1, 're_of_nobody' FROM payments WHERE state = 'captured' ${ONE}`,
  "no more goes back than was captured": "UPDATE payments SET refunded_amount = capture_amount + 1 WHERE capture_amount > 0",
  "a cancelled order was given back to the cent": "UPDATE cancellations SET amount = amount - 1 WHERE whole = 1 OR amount > 0",
  "what waits for its money has a flow that sees to it": "UPDATE cancellations SET state = 'pending'",
  "a bundle has no stock of its own": "UPDATE stock SET on_hand = 1 WHERE variant_id IN (SELECT bundle_id FROM bundle_parts)",
  "no event is lost": `UPDATE outbox SET state = 'pending' ${ONE}`,
  "a dead letter says why": `UPDATE outbox SET state = 'dead', last_error = NULL ${ONE}`,
  "no capture is left half done": "UPDATE captures SET state = 'asked' LIMIT 1",
  "no flow is left half done": "UPDATE sagas SET state = 'waiting' LIMIT 1",
  "no flow waits for staff without a reason": "UPDATE sagas SET state = 'parked', error = NULL LIMIT 1",
  "no reservation outlives its time": "UPDATE reservations SET expires_at = '2020-01-01' WHERE state = 'held'",
  "every payment has its order or was let go": "UPDATE payments SET order_id = NULL WHERE state = 'authorized' LIMIT 1",
  "the provider holds money for orders only": "UPDATE payments SET order_id = NULL WHERE state = 'captured' LIMIT 1",
  "the provider's books say what ours say": "UPDATE payment_test_attempts SET captured_amount = captured_amount + 1 WHERE state = 'captured'",
};

const ANEW = "JSON_VALUE(data, '$.till.order') IS NOT NULL", OF_ANEW = `order_id IN (SELECT order_id FROM (SELECT order_id FROM payments WHERE ${ANEW}) a)`;
const MORE = "an order that is paid anew holds and takes no more than its total";

/** The same of an order that was paid anew: such a one has several payments. */
const CHANGES_ANEW = [
  ["an order that says it is paid has what pays for it", `UPDATE payments SET state = 'voided' WHERE ${ANEW}`],
  ["an order that says it is paid has what pays for it", `UPDATE payments SET order_id = NULL WHERE ${ANEW}`],
  ["an order that says it is paid has what pays for it", `UPDATE orders o JOIN payments p ON p.order_id = o.id SET payment_status = 'captured'
    WHERE JSON_VALUE(p.data, '$.till.order') IS NOT NULL`],
  [MORE, `UPDATE payments SET state = 'authorized', released_amount = 0 WHERE state = 'voided' AND ${OF_ANEW}`],
  [MORE, `INSERT INTO payments (id, cart_id, order_id, provider, state, currency, amount, idem_key, data)
    SELECT UNHEX(MD5('p')), cart_id, order_id, provider, state, currency, amount, 'another', data FROM payments WHERE ${ANEW}`],
  ["an order is paid at most once", `INSERT INTO payments (id, cart_id, order_id, provider, state, currency, amount, idem_key, data)
    SELECT UNHEX(MD5(seq)), cart_id, order_id, provider, state, currency, 1, seq, '{}' FROM payments, seq_1_to_2 WHERE ${ANEW}`],
];

describe("what must hold", () => {
  it("is broken by nothing that was bought here, and by each thing that is changed", async () => {
    assert.deepEqual(await brokenBy(shop, "SELECT 'nothing' FROM DUAL WHERE FALSE"), []);
    const orders = await count(shop, "orders");
    const unseen = [];
    for (const [name, sql] of [...Object.entries(CHANGES), ...CHANGES_ANEW]) {
      const told = await brokenBy(shop, sql).catch((error) => [error.message.includes("ERROR 1062") ? name : error.message.slice(-300)]); // or the table takes no such row
      if (!told.includes(name)) unseen.push([name, told]);
    }
    assert.deepEqual(unseen, [], "each says so");
    assert.deepEqual(invariants().filter((name) => !CHANGES[name]), [], "and none is left out");
    assert.equal(await count(shop, "orders"), orders, "all is undone");
    await assertSettled(shop);
  });
});

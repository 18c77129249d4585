// Three books of the same money: Stripe's (the double's), our ledger, and the orders with what shoppers were told.
import assert from "node:assert/strict";
import { bin, count, idOf, query } from "../../flow/support/db.mjs";

const MONEY = "('cash:stripe', 'fees:stripe', 'disputed:stripe', 'losses:stripe')";
const SHOWN = 5; // of what is wrong, in full

/** What Stripe has taken for each cart, and the intents of each: Map of cart -> { taken, intents }. */
function atStripe({ world }) {
  const moved = new Map(), carts = new Map();
  for (const { account, about, amount } of world.books.entries) if (account === "issuers") moved.set(about, (moved.get(about) ?? 0) - amount);
  for (const intent of world.all("payment_intent")) {
    const one = carts.get(intent.metadata.cart) ?? { taken: 0, intents: [] };
    carts.set(intent.metadata.cart, one);
    one.intents.push(intent);
  }
  for (const charge of world.all("charge")) carts.get(charge.metadata.cart).taken += moved.get(charge.id) ?? 0;
  return carts;
}

async function rowsByCart(shop, sql) {
  return new Map((await query(shop, sql)).map(([cart, ...row]) => [idOf("cart", cart), row]));
}

const WANTED = { captured: (order) => order.total, refunded: () => 0, voided: () => 0 };

/** What is wrong with one cart: a sentence, or nothing. */
function wrongWith(cart, { taken, intents }, order, cash) {
  const paid = intents.filter((one) => one.amount_received > 0), open = intents.filter((one) => ["requires_capture", "processing"].includes(one.status));
  if (cart.end === "order" && !order) return "he was told of an order that is not there";
  if (cart.order && order && cart.order.id !== order.id) return "he was told of another order";
  if (cart.end === "refused" && order) return "he was refused, and has an order";
  if (taken !== cash) return `Stripe has taken ${taken}, our books say ${cash}`;
  if (open.length > 0) return `money of his is held for nothing: ${open.map((one) => one.id)}`;
  if (!order) return taken === 0 ? undefined : `he paid ${taken} and has no order`;
  if (paid.length > 1) return `he was charged ${paid.length} times`;
  if (!WANTED[order.payment]) return `his order is ${order.payment}`;
  const wanted = WANTED[order.payment](order);
  return taken === wanted ? undefined : `he paid ${taken} for an order of ${order.total} that is ${order.payment}`;
}

async function tell(shop, stripe, faults, cart, why, { intents }) {
  const payments = await query(shop, `SELECT HEX(id), state, amount, provider_ref, reason, created_at, updated_at FROM payments WHERE cart_id = ${bin(cart.id)}`);
  const flows = await query(shop, `SELECT name, state, step, error FROM sagas WHERE aggregate = '${cart.id}'`);
  const ids = intents.map((one) => one.id);
  const calls = stripe.calls.filter((call) => call.text.includes(cart.id) || ids.some((id) => call.path.includes(id) || call.text.includes(id)));
  return [`${cart.id}, number ${cart.number}, ${cart.way}, ${cart.card}: ${why}`, `  end: ${cart.end}, order ${cart.order?.id}`,
    ...cart.told.map((one) => `  told: ${one}`), ...faults.happened(cart.id).map((one) => `  fault: ${one}`),
    ...intents.map((one) => `  intent ${one.id}: ${one.status}, amount ${one.amount}, received ${one.amount_received}`),
    ...calls.map((call) => `  call: ${call.method} ${call.path} key ${call.key} -> ${call.status}`),
    ...payments.map((row) => `  payment: ${row.join(" | ")}`), ...flows.map((row) => `  flow: ${row.join(" | ")}`)].join("\n");
}

/** All carts with which something is wrong: [{ cart, why }]. */
export async function wrongs(shop, stripe, carts) {
  const stripes = atStripe(stripe);
  const cash = await rowsByCart(shop, `SELECT HEX(p.cart_id), SUM(l.amount) FROM ledger_entries l JOIN payments p ON p.id = l.payment_id
    WHERE l.account IN ${MONEY} GROUP BY p.cart_id`);
  const orders = await rowsByCart(shop, "SELECT HEX(cart_id), HEX(id), total, payment_status FROM orders WHERE cart_id IS NOT NULL");
  return carts.flatMap((cart) => {
    const [id, total, payment] = orders.get(cart.id) ?? [];
    const order = id && { id: idOf("ord", id), total: Number(total), payment };
    const there = stripes.get(cart.id) ?? { taken: 0, intents: [] };
    const why = wrongWith(cart, there, order, Number(cash.get(cart.id)?.[0] ?? 0));
    return why ? [{ cart, why, there }] : [];
  });
}

/** What was due when it is asked for the first time was begun since, and who was hurried is not overtaken by himself. */
export const isBegun = async (shop) =>
  (await count(shop, "job_schedules", "next_at <= UTC_TIMESTAMP(3) AND name IN ('server:sweep-payments', 'server:poll-webhooks')")) === 0 &&
  (await count(shop, "sagas", "state = 'running' OR state = 'waiting' AND next_at <= UTC_TIMESTAMP(3)")) === 0;

/** To the cent, or it says of whom not, and all that is known of him. */
export async function assertAccounts(shop, stripe, faults, carts) {
  const found = await wrongs(shop, stripe, carts);
  const told = [];
  for (const { cart, why, there } of found.slice(0, SHOWN)) told.push(await tell(shop, stripe, faults, cart, why, there));
  assert.equal(found.length, 0, `${found.length} carts are wrong:\n${found.map(({ cart, why }) => `${cart.id}: ${why}`).join("\n")}\n${told.join("\n")}`);
  stripe.check();
  const [[ours]] = await query(shop, `SELECT COALESCE(SUM(amount), 0) FROM ledger_entries WHERE account IN ${MONEY}`);
  const theirs = -(stripe.world.books.balance("issuers").gbp ?? 0);
  assert.equal(Number(ours), theirs, "all together as well");
}

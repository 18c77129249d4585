// Random operations by several clients at once, held against the model of support/model.mjs: every answer, and what is
// in stock and reserved at each location, promised, and lacking on orders' lines after each few of them, must be what some
// order of their steps gives. Of five things to be bought one is only sold when it is there, one may be backordered and one
// preordered, and two are bundles that share a part.
//
//   SEED=12345        runs what that seed makes, and nothing else
//   MODEL_SECONDS=25  how long new seeds are tried
//
// What fails is run again with fewer and fewer operations while it still fails; the shortest list is printed.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { ADDRESS, Shop, idem, makeProduct, newKey, until } from "../flow/support/shop.mjs";
import { assertOk } from "../flow/support/checks.mjs";
import { assertInvariants, bin, count, idOf, ownerSession, query } from "../flow/support/db.mjs";
import { assertNobodyChargedInVain, connections, few, fillCart, settled } from "../flow/support/crowd.mjs";
import { LOCATIONS, PARTS, PRICES, SKUS, explain, initial, lackOf, promisedOf, reservedOf } from "./support/model.mjs";
import { random } from "./support/random.mjs";

const SECONDS = Number(process.env.MODEL_SECONDS ?? 20);
const SHRINK_MS = 60_000;
const WORLDS = 4; // at once, on one shop
const SLOTS = 3, UNITS = [3, 2], USES = 2, PERCENT = "13";
const CODES = ["main", "attic"]; // of the locations
const POLICIES = [{ policy: "deny", limit: 0 }, { policy: "backorder", limit: 3 },
  { policy: "preorder", limit: 2, available_at: "2999-01-01T00:00:00Z" }];
const BATCHES = 14;
const TOKENS = ["tok_ok", "tok_ok", "tok_late", "tok_declined", "tok_requires_action", "manual"];
const VARIANTS = PRICES.map((_, v) => v);
const done = {}; // how often what is done with units of orders was not refused, and how often units were waited for

let shop, pool, shipping, sessions;
before(async () => {
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=2", "--set", "plugins.payment-test.late_ms=40"] });
  pool = connections(shop, 8);
  sessions = Array.from({ length: WORLDS }, () => ownerSession(shop));
  assertOk(await shop.admin("POST", "/locations", { headers: idem(), body: { code: CODES[1], name: "Attic", priority: 200 } }), 201);
  const { variant } = await makeProduct(shop);
  shipping = (await fillCart(pool.ask(0), [[variant.id, 1]])).shipping_option_id;
});
after(async () => {
  pool?.close();
  for (const session of sessions ?? []) session.close();
  await shop?.stop();
});

const KINDS = [["add", 20], ["set", 10], ["code", 6], ["pay", 22], ["complete", 26], ["adjust", 8], ["cancel", 5], ["cart", 6],
  ["part", 4], ["send", 6], ["giveBack", 4], ["lapse", 1], ["policy", 3]];
const WEIGHTS = KINDS.flatMap(([name, weight]) => Array(weight).fill(name));

function operation(pick, number) {
  const op = { do: WEIGHTS[pick(WEIGHTS.length)], cart: pick(SLOTS) };
  if (["add", "set", "part", "send", "giveBack"].includes(op.do)) op.variant = pick(PRICES.length);
  if (op.do === "giveBack") Object.assign(op, { isFit: pick(2) > 0, location: pick(LOCATIONS.length) });
  if (op.do === "add") op.quantity = 1 + pick(2);
  if (op.do === "set") op.quantity = pick(3);
  if (op.do === "pay") op.token = TOKENS[pick(TOKENS.length)];
  if (op.do === "complete") op.isConfirmed = pick(3) === 0;
  if (op.do === "cart") op.number = number;
  if (op.do === "adjust") {
    Object.assign(op, { sku: pick(SKUS.length), location: pick(LOCATIONS.length), delta: pick(5) - 2 });
    if (pick(3) === 0) op.expected = pick(UNITS[op.location] + 1);
    delete op.cart;
  }
  if (op.do === "policy") {
    Object.assign(op, { sku: pick(SKUS.length), policy: ["deny", "backorder", "preorder"][pick(3)], limit: pick(4) });
    delete op.cart;
  }
  return op;
}

const AFTER = ["send", "send", "send", "giveBack", "giveBack", "part", "cancel"];
const LATE = ["adjust", "adjust", "part", "send", "cancel", "policy"];

/** An order, and what becomes of its units, several at a time: by chance alone there are few of those. */
function story(pick) {
  const cart = pick(SLOTS), variant = pick(PRICES.length);
  const after = () => ({ do: AFTER[pick(AFTER.length)], cart, variant: pick(PRICES.length), isFit: pick(2) > 0,
    location: pick(LOCATIONS.length) });
  return [[{ do: "cart", cart, number: 1000 }], [{ do: "add", cart, variant, quantity: 3 }],
    [{ do: "add", cart, variant: (variant + 1) % PRICES.length, quantity: 1 }], [{ do: "pay", cart, token: pick(2) ? "tok_ok" : "manual" }],
    [{ do: "complete", cart, isConfirmed: false }], ...Array.from({ length: 6 }, () => Array.from({ length: 1 + pick(3) }, after))];
}

/** Orders for more than there is, alone and as part of a bundle, and units that come. */
function lateStory(pick) {
  const [first, second] = pick(2) ? [0, 1] : [2, 0], sku = 1 + pick(2);
  const late = () => ({ do: LATE[pick(LATE.length)], cart: pick(2) ? first : second, sku, variant: pick(PRICES.length),
    location: pick(LOCATIONS.length), delta: 1 + pick(2), policy: "backorder", limit: pick(5) });
  const has = (cart) => (op) => ({ ...op, cart });
  const lines = (cart) => [{ do: "add", variant: pick(2) ? sku : 3 + pick(2), quantity: 2 + pick(3) }, { do: "add", variant: sku, quantity: 2 }].map(has(cart));
  return [[{ do: "cart", cart: first, number: 2000 }, { do: "cart", cart: second, number: 2001 }],
    ...lines(first).map((op, i) => [op, lines(second)[i]]),
    [first, second].map((cart) => ({ do: "pay", cart, token: "tok_ok" })), [first, second].map((cart) => ({ do: "complete", cart, isConfirmed: false })),
    ...Array.from({ length: 6 }, () => Array.from({ length: 1 + pick(2) }, late).map((op) => {
      if (op.do === "adjust" || op.do === "policy") delete op.cart;
      return op;
    }))];
}

/** Lists of operations that run at once. Whoever begins a new cart is alone with it. */
function scenario(seed) {
  const pick = random(seed), out = [];
  for (let b = 0; b < BATCHES; ++b) {
    const batch = Array.from({ length: 1 + pick(3) }, (_, i) => operation(pick, SLOTS + b * 3 + i));
    out.push(batch.filter((op, i) => !batch.some((o, k) => k !== i && o.cart === op.cart && op.cart !== undefined &&
      (o.do === "cart" || o.do === "lapse" || (k < i && (op.do === "cart" || op.do === "lapse"))))));
  }
  if (pick(2)) out.splice(pick(out.length), 0, ...story(pick));
  if (pick(2)) out.splice(pick(out.length), 0, ...lateStory(pick));
  return out.filter((batch) => batch.length > 0);
}

/** Products, carts and a code of its own on the shop, and what its clients know. */
class World {
  static async start(index) {
    const world = new World();
    world.index = index;
    world.products = [];
    for (const v of VARIANTS) world.products.push(await makeProduct(shop, { price: PRICES[v], stock: PARTS[v] ? 0 : UNITS[0] }));
    for (const sku of SKUS) await world.#stock(sku);
    for (const [bundle, parts] of Object.entries(PARTS)) await world.#bundle(bundle, parts);
    world.variantOf = new Map(world.products.map((p, v) => [p.variant.id, v]));
    world.code = newKey();
    assertOk(await settled(() => shop.admin("POST", "/promotions", { headers: idem(), body: { code: world.code, name: "Model",
      status: "active", usage_limit: USES, terms: { level: "order", type: "percent", value: PERCENT } } })), 201);
    world.carts = [];
    world.numbers = new Map(); // cart id -> its number in the model
    world.orders = new Map(); // number of the cart -> { id, lines: variant -> id }
    for (let slot = 0; slot < SLOTS; ++slot) await world.newCart(slot, slot);
    world.states = [initial({ carts: SLOTS, stock: SKUS.map(() => [...UNITS]), uses: USES,
      policies: SKUS.map((sku) => POLICIES[sku]) })];
    return world;
  }

  async #stock(sku) {
    const target = `/inventory/${this.products[sku].sku}`, body = { set_to: UNITS[1], location: CODES[1], reason: "model" };
    assertOk(await settled(() => shop.admin("POST", `${target}/adjustments`, { headers: idem(), body })), 201);
    if (sku > 0) assertOk(await settled(() => shop.admin("PUT", `${target}/backorders`, { headers: idem(), body: POLICIES[sku] })), 200);
  }

  async #bundle(bundle, list) {
    const parts = list.map(([sku, quantity]) => ({ variant_id: this.products[sku].variant.id, quantity }));
    assertOk(await settled(() => shop.admin("PUT", `/variants/${this.products[bundle].variant.id}/parts`, { headers: idem(), body: { parts } })), 200);
  }

  ask(method, target, body, headers = {}) {
    const ask = pool.ask(this.index + Math.floor(Math.random() * 8));
    return settled(() => ask(method, target, { body, headers }));
  }

  async newCart(slot, number) {
    const made = await this.ask("POST", "/carts", { currency: "GBP", country: "GB" });
    const { cart } = assertOk(made, 201);
    const head = { email: "ada@example.com", shipping_address: ADDRESS, billing_address: ADDRESS, shipping_option_id: shipping };
    assertOk(await this.ask("PATCH", `/carts/${cart.id}`, head), 200);
    this.carts[slot] = { id: cart.id, number, lineIds: {} };
    this.numbers.set(cart.id, number);
    return { status: 201 };
  }

  /** What of an operation depends on what its client knows when it begins. */
  resolve(op, batch) {
    const cart = this.carts[op.cart];
    if (op.do === "set") return { ...op, line: cart.lineIds[op.variant], isStale: !cart.lineIds[op.variant],
      isShared: batch.some((o) => o !== op && o.cart === op.cart) };
    if (op.do === "cancel") return { ...op, number: cart.number, isThere: this.orders.has(cart.number) };
    if (op.do === "part" || op.do === "send" || op.do === "giveBack") {
      const order = this.orders.get(cart.number), bought = Object.keys(order?.lines ?? {});
      const variant = bought[op.variant % bought.length]; // one that the order has
      return { ...op, variant, number: cart.number, isThere: order !== undefined, order: order?.id, line: order?.lines[variant] };
    }
    return op;
  }

  #seen(slot, answer) {
    if (answer.status !== 200) return { status: answer.status, code: answer.body?.code, detail: answer.body?.detail };
    const { cart } = answer.body;
    const lineIds = Object.fromEntries(cart.lines.map((l) => [this.variantOf.get(l.variant_id), l.id]));
    this.carts[slot].lineIds = lineIds;
    return { status: 200, ...this.#money(cart) };
  }

  #money(doc) {
    return { lines: Object.fromEntries(doc.lines.map((l) => [this.variantOf.get(l.variant_id), l.quantity])),
      subtotal: doc.subtotal.amount, isReduced: doc.discount_total.amount > 0 };
  }

  async run(op) {
    const cart = this.carts[op.cart], target = `/carts/${cart?.id}`;
    switch (op.do) {
      case "cart": return this.newCart(op.cart, op.number);
      case "add":
        return this.#seen(op.cart, await this.ask("POST", `${target}/lines`,
          { variant_id: this.products[op.variant].variant.id, quantity: op.quantity }));
      case "set":
        return this.#seen(op.cart, await this.ask("PATCH", `${target}/lines/${op.line ?? "line_00000000000000000000000000"}`,
          { quantity: op.quantity }));
      case "code": return this.#seen(op.cart, await this.ask("POST", `${target}/promotions`, { code: this.code }));
      case "pay": {
        const { status, body } = await this.ask("POST", `${target}/payment-sessions`,
          op.token === "manual" ? { provider: "manual" } : { provider: "test", data: { token: op.token } });
        return { status, code: body?.code, detail: body?.detail };
      }
      case "complete": return this.#complete(op, target);
      case "adjust": return this.#adjust(op);
      case "cancel": {
        if (!op.isThere) return { status: 0 };
        const key = idem();
        const { status, body } = await settled(() => shop.admin("POST", `/orders/${this.orders.get(op.number).id}/cancel`, { headers: key, body: {} }));
        return { status, code: body?.code };
      }
      case "part": return this.#unit(op, "cancel", {});
      case "send": return this.#unit(op, "fulfilments", {});
      case "giveBack": return this.#unit(op, "returns", op.isFit ? { restock: true, location: CODES[op.location] } : { restock: false });
      case "policy": return this.#policy(op);
      case "lapse": return this.#lapse(cart);
    }
  }

  async #complete(op, target) {
    const { status, body } = await this.ask("POST", `${target}/complete`, op.isConfirmed ? { data: { action_done: true } } : {}, idem());
    if (body?.type === "cart") return { kind: "cart", code: body.error.code, detail: body.error.detail };
    if (body?.type !== "order") return { status, code: body?.code, detail: body?.detail };
    const number = this.carts[op.cart].number;
    this.orders.set(number, { id: body.order.id,
      lines: Object.fromEntries(body.order.lines.map((l) => [this.variantOf.get(l.variant_id), l.id])) });
    return { kind: "order", cart: number, ...this.#money(body.order) };
  }

  async #unit(op, what, more) {
    if (!op.isThere) return { status: 0 };
    const key = idem(), body = { lines: [{ line_id: op.line, quantity: 1, ...more }] };
    const answer = await settled(() => shop.admin("POST", `/orders/${op.order}/${what}`, { headers: key, body }));
    if (answer.status < 300) done[op.do] = (done[op.do] ?? 0) + 1;
    return { status: answer.status, code: answer.body?.code };
  }

  async #adjust(op) {
    const key = idem(), body = { delta: op.delta, location: CODES[op.location], reason: op.delta > 0 ? "received" : "model" };
    if (op.expected !== undefined) body.expected_quantity = op.expected;
    const answer = await settled(() => shop.admin("POST", `/inventory/${this.products[op.sku].sku}/adjustments`, { headers: key, body }));
    return { status: answer.status, code: answer.body?.code, before: answer.body?.adjustment?.before,
      on_hand: answer.body?.adjustment?.on_hand };
  }

  async #policy({ sku, policy, limit }) {
    const body = { policy, ...(policy === "deny" ? {} : { limit }), ...(policy === "preorder" ? { available_at: POLICIES[2].available_at } : {}) };
    const answer = await settled(() => shop.admin("PUT", `/inventory/${this.products[sku].sku}/backorders`, { headers: idem(), body }));
    return { status: answer.status, code: answer.body?.code };
  }

  async #lapse(cart) {
    const held = `cart_id = ${bin(cart.id)} AND state = 'held'`;
    await query(shop, `UPDATE reservations SET expires_at = '2020-01-01' WHERE ${held}`);
    await until("the reservations are let go", async () => (await count(shop, "reservations", `${held} AND expires_at < '2021-01-01'`)) === 0);
    return { status: 0 };
  }

  /** Runs a batch. @return null, or why no order of its steps explains it */
  async step(batch) {
    const ops = batch.map((op) => this.resolve(op, batch));
    const answers = await Promise.all(ops.map((op) => this.run(op)));
    const before = this.states;
    this.states = explain(before, ops, answers);
    if (this.states.length === 0)
      return `no order explains ${JSON.stringify(answers)} from ${JSON.stringify(before)}`;
    const seen = await this.#look();
    const possible = this.states;
    this.states = possible.filter((s) => JSON.stringify(this.#shownBy(s)) === JSON.stringify(seen));
    if (this.states.length > 0) return null;
    return `there is ${JSON.stringify(seen)} after ${JSON.stringify(answers)}; the model says ${
      JSON.stringify(possible.map((s) => this.#shownBy(s)))} from ${JSON.stringify(before)}`;
  }

  /** Of each SKU what is there and reserved at each location, and promised; of each order's line what it lacks. */
  #shownBy(state) {
    return [SKUS.map((sku) => [LOCATIONS.map((l) => [state.stock[sku][l], reservedOf(state, sku, l)]), promisedOf(state, sku)]),
      state.orders.flatMap((o) => Object.keys(o.lines).map((line) => [o.cart, Number(line), lackOf(o, line)])).filter(([, , lacks]) => lacks > 0)];
  }

  /** The same of the shop, once free units have gone to all who wait for them. */
  async #look() {
    const ids = this.products.map((p) => bin(p.variant.id)).join();
    const sql = `SELECT 'free', HEX(s.variant_id), 0, 0 FROM stock s JOIN reservations r ON r.variant_id = s.variant_id
        AND r.state = 'backordered' WHERE s.variant_id IN (${ids}) AND s.on_hand > s.reserved
      UNION ALL SELECT l.code, HEX(s.variant_id), s.on_hand, s.reserved FROM stock s JOIN locations l ON l.id = s.location_id
        WHERE s.variant_id IN (${ids})
      UNION ALL SELECT 'promised', HEX(variant_id), promised, 0 FROM backorders WHERE variant_id IN (${ids})
      UNION ALL SELECT 'lacks', HEX(l.variant_id), HEX(o.cart_id), l.backordered_quantity FROM order_lines l
        JOIN orders o ON o.id = l.order_id WHERE l.variant_id IN (${ids}) AND l.backordered_quantity > 0`;
    const rows = await until("free units find who waits for them", async () => {
      const all = await sessions[this.index].ask(sql);
      return !all.some(([kind]) => kind === "free") && all.map(([kind, hex, ...of]) => [kind, this.variantOf.get(idOf("var", hex)), ...of]);
    });
    const of = (kind, sku) => (rows.find((row) => row[0] === kind && row[1] === sku) ?? [kind, sku, 0, 0]).slice(2).map(Number);
    const shown = SKUS.map((sku) => [CODES.map((code) => of(code, sku)), of("promised", sku)[0]]);
    if (shown.some(([, promised]) => promised > 0)) done.promised = (done.promised ?? 0) + 1;
    const lines = rows.filter(([kind]) => kind === "lacks").map(([, line, cart, n]) => [this.numbers.get(idOf("cart", cart)), line, Number(n)]);
    return [shown, lines.sort((one, other) => one[0] - other[0] || one[1] - other[1])];
  }

  /** What staff are shown is what there is. */
  async #assertShown() {
    const [shown] = await this.#look();
    const told = await Promise.all(SKUS.map(async (sku) => {
      const target = `/inventory/${this.products[sku].sku}`;
      const { inventory } = assertOk(await settled(() => shop.admin("GET", target)), 200);
      const { backorders } = assertOk(await settled(() => shop.admin("GET", `${target}/backorders`)), 200);
      const at = CODES.map((code) => inventory.locations.find((l) => l.location === code));
      return [at.map((l) => [l.on_hand, l.reserved]), backorders.promised];
    }));
    assert.deepEqual(told, shown);
  }

  /** Orders as the tables have them. @return null, or where the model has others */
  async end() {
    await this.#assertShown();
    const variants = this.products.map((p) => bin(p.variant.id)).join();
    const rows = await query(shop, `SELECT o.status, v.sku, SUM(l.quantity), COUNT(DISTINCT o.id) FROM orders o
      JOIN order_lines l ON l.order_id = o.id JOIN variants v ON v.id = l.variant_id WHERE l.variant_id IN (${variants})
      GROUP BY o.status = 'cancelled', v.sku ORDER BY o.status = 'cancelled', v.sku`);
    const seen = rows.map(([status, sku, units, orders]) => [status === "cancelled", sku, Number(units), Number(orders)]);
    const wanted = (state) => [false, true].flatMap((isCancelled) => this.products.map(({ sku }, v) => {
      const orders = state.orders.filter((o) => o.isCancelled === isCancelled && o.lines[v]);
      return [isCancelled, sku, orders.reduce((sum, o) => sum + o.lines[v], 0), orders.length];
    })).filter((row) => row[3] > 0).sort((a, b) => a[0] - b[0] || (a[1] < b[1] ? -1 : 1));
    if (this.states.some((s) => JSON.stringify(wanted(s)) === JSON.stringify(seen))) return null;
    return `the tables have the orders ${JSON.stringify(seen)}, the model ${JSON.stringify(this.states.map(wanted))}`;
  }
}

/** @return null, or why it fails: { why, at } */
async function fails(batches, index) {
  const world = await World.start(index);
  for (const [at, batch] of batches.entries()) {
    const why = await world.step(batch).catch((error) => error.message);
    if (why) return { why, at };
  }
  const why = await world.end().catch((error) => error.message);
  return why && { why, at: batches.length };
}

const text = (batches) => batches.map((batch) => `  [${batch.map((op) => JSON.stringify(op)).join(", ")}]`).join("\n");

const without = (list, at, n) => [...list.slice(0, at), ...list.slice(at + n)];

/** The shortest that still fails, once in three runs of it: batches are dropped first, then single operations. */
async function shrunk(batches, failure) {
  const end = Date.now() + SHRINK_MS;
  let found = { batches: batches.slice(0, failure.at + 1), ...failure };
  async function stillFails(fewer) {
    for (let i = 0; i < 3 && Date.now() < end; ++i) {
      const again = await fails(fewer, i);
      if (again) return (found = { batches: fewer.slice(0, again.at + 1), ...again });
    }
    return false;
  }
  for (let size = Math.ceil(found.batches.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < found.batches.length && Date.now() < end;)
      if (!(await stillFails(without(found.batches, at, size)))) at += size;
  }
  for (let b = 0; b < found.batches.length; ++b) {
    for (let i = 0; found.batches[b]?.length > 1 && i < found.batches[b].length && Date.now() < end;)
      if (!(await stillFails(found.batches.map((batch, k) => (k === b ? without(batch, i, 1) : batch))))) ++i;
  }
  return found;
}

async function report(seed, batches, failure) {
  const least = await shrunk(batches, failure);
  assert.fail(`SEED=${seed} fails: ${failure.why}\nOf it, this is enough:\n${text(least.batches)}\n${least.why}`);
}

describe("random operations at once", () => {
  it("answer and end as the model does", async (t) => {
    const given = process.env.SEED;
    const first = given ? Number(given) : Math.floor(Math.random() * 2 ** 31);
    t.diagnostic(`SEED=${first}, and on from it`);
    const end = Date.now() + SECONDS * 1000;
    let next = first, operations = 0, failed = null;
    await few(WORLDS, WORLDS, async (index) => {
      do {
        const seed = next++, batches = scenario(seed);
        const failure = await fails(batches, index);
        operations += batches.flat().length;
        if (failure) failed ??= [seed, batches, failure];
      } while (!given && !failed && Date.now() < end);
    });
    t.diagnostic(`${next - first} scenarios, ${operations} operations, of units of orders ${JSON.stringify(done)}`);
    if (failed) await report(...failed);
    await assertNobodyChargedInVain(shop);
    await assertInvariants(shop);
  });
});

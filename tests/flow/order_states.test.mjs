// What becomes of an order: sent and cancelled in parts, by several at a time, while workers die and providers are silent.
import assert from "node:assert/strict";
import fs from "node:fs";
import { after, before, describe, it } from "node:test";
import { Shop, idem, makeCart, makeProduct, newKey, tempDir, until } from "./support/shop.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";
import { assertInvariants, bin, count, query, value } from "./support/db.mjs";
import { Provider } from "./support/provider.mjs";

const MINUTE = 60_000;
const ODD = 997; // three of them, less an odd discount: nothing divides
const random = ((seed) => () => {
  seed |= 0; seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
});
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);

let provider, plugins;
before(async () => {
  provider = await Provider.start();
  plugins = tempDir("plugins");
});
after(() => {
  provider?.stop();
  if (plugins) fs.rmSync(plugins, { recursive: true, force: true });
});

const start = (more = [], env = {}) => Shop.start({ env, args: ["--no-demo", "--set", "server.workers=2",
  "--set", "cart.completion_claim_ms=1000", "--set", "idem.lease_ms=1000", "--set", "jobs.lease_ms=2000", ...provider.plugin(plugins), ...more] });

/** A promotion that leaves odd cents on every unit. */
const oddPromotion = (shop) => shop.admin("POST", "/promotions", { headers: idem(), body: { name: "Odd",
  terms: { level: "order", type: "amount", value: 101, currency: "GBP" } } });

async function buyWith(shop, lines, token = "ok") {
  const cart = await makeCart(shop, lines[0][0], { quantity: lines[0][1] });
  for (const [variant, quantity] of lines.slice(1))
    assertOk(await shop.store("POST", `/carts/${cart.id}/lines`, { body: { variant_id: variant, quantity } }));
  assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "probe", data: { token } } }), 201);
  const { order } = assertOk(await shop.store("POST", `/carts/${cart.id}/complete`, { headers: idem(), body: {} }), 200);
  return { order, cart };
}

const orderOf = async (shop, id) => assertOk(await shop.admin("GET", `/orders/${id}`), 200).order;
const ask = (shop, id, what, body = {}, key = newKey()) => shop.admin("POST", `/orders/${id}/${what}`, { headers: idem(key), body });
const captured = (shop, id) => until("the money is captured", async () =>
  (await orderOf(shop, id)).payment_status === "captured", MINUTE);

/** Repeats one request under its key until it is answered for good, whoever dies meanwhile. */
async function insist(shop, target, body, key = newKey()) {
  let broken = 0, last;
  await until(`${target} is answered`, async () => {
    try {
      last = await shop.h1("POST", `/admin/v1${target}`, { key: shop.dev.admin_key, agent: false, headers: idem(key), body });
    } catch {
      broken++;
      return false;
    }
    return last.status < 500 && last.status !== 202 && !["idempotency_in_flight", "busy"].includes(last.body?.code);
  }, MINUTE).catch((error) => {
    throw new Error(`${error.message}; last: ${last?.status} ${last?.text}`);
  });
  return { answer: last, broken };
}

const settled = (shop) => until("nothing waits", async () =>
  (await count(shop, "outbox", "state = 'pending'")) === 0 && (await count(shop, "sagas", "state IN ('running', 'waiting')")) === 0, MINUTE);

describe("orders", () => {
  let shop, tea, pot;
  before(async () => {
    shop = await start();
    tea = await makeProduct(shop, { stock: 100000, price: ODD });
    pot = await makeProduct(shop, { stock: 100000, price: 2501 });
    assertOk(await oddPromotion(shop), 201);
  });
  after(() => shop?.stop());

  it("come to what was paid, whatever is sent, cancelled and returned in which order", async (t) => {
    const next = random(SEED);
    t.diagnostic(`SEED=${SEED}`);
    const pick = (n) => Math.floor(next() * n);
    for (let round = 0; round < 20; ++round) {
      const { order, cart } = await buyWith(shop, [[tea.variant.id, 1 + pick(5)], [pot.variant.id, 1 + pick(3)]]);
      if (next() < 0.6) await captured(shop, order.id);
      const parcels = [];
      const steps = [];
      for (let step = 0; step < 10; ++step) {
        const line = order.lines[pick(2)];
        const lines = [{ line_id: line.id, quantity: 1 + pick(2) }];
        const parcel = parcels[pick(parcels.length)];
        const what = ["cancel", "cancel", "pack", "send", "ship", "unpack", "all", "capture", "return", "return"][pick(10)];
        steps.push(`${what} ${line.sku} ${lines[0].quantity}`);
        let answer;
        if (what === "cancel") answer = await ask(shop, order.id, "cancel", { lines });
        else if (what === "return") answer = await ask(shop, order.id, "returns", { lines: [{ ...lines[0], restock: next() < 0.7 }] });
        else if (what === "all") answer = next() < 0.2 ? await ask(shop, order.id, "cancel") : undefined;
        else if (what === "pack" || what === "send")
          answer = await ask(shop, order.id, "fulfilments", { lines, status: what === "pack" ? "pending" : "shipped" });
        else if (what === "capture") {
          const [payment] = (await orderOf(shop, order.id)).payments;
          answer = await shop.admin("POST", `/payments/${payment.id}/capture`, { headers: idem(), body: {} });
        } else if (parcel) answer = await ask(shop, order.id, `fulfilments/${parcel}/${what === "ship" ? "ship" : "cancel"}`);
        if (!answer) continue;
        const said = `${round}: ${steps.join(", ")}: ${answer.text}`;
        assert.ok(answer.status < 300 || answer.status === 409, said);
        if (answer.status === 409 && answer.body.code === "conflict") assert.ok(Array.isArray(answer.body.possible), said);
        if (answer.status === 201 && answer.body.fulfilment?.status === "pending") parcels.push(answer.body.fulfilment.id);
      }
      const end = await orderOf(shop, order.id);
      const [charge] = provider.chargesOf(cart.id);
      const owed = order.total.amount - [...end.cancellations, ...end.returns].reduce((sum, c) => sum + c.amount.amount, 0);
      if (end.payment_status === "voided") assert.equal(charge.state, "voided");
      else if (charge.captured !== undefined) assert.equal(charge.captured - (charge.refunded ?? 0), owed, steps.join(", "));
      if (end.status === "cancelled") assert.equal(owed, 0, steps.join(", "));
    }
    await settled(shop);
    await assertInvariants(shop);
  });

  it("cancelled twice under one key are cancelled once, under two keys one of the two", async () => {
    const { order, cart } = await buyWith(shop, [[tea.variant.id, 3]]);
    await captured(shop, order.id);
    const lines = [{ line_id: order.lines[0].id, quantity: 2 }];
    const key = newKey();
    const same = await Promise.all([1, 2, 3].map(() => insist(shop, `/orders/${order.id}/cancel`, { lines }, key)));
    for (const { answer } of same) assertOk(answer, 200);
    assert.equal(new Set(same.map(({ answer }) => answer.body.cancellation.id)).size, 1);
    const rest = await Promise.all([1, 2, 3].map(() => insist(shop, `/orders/${order.id}/cancel`, {})));
    assert.deepEqual(rest.map(({ answer }) => answer.status).sort(), [200, 409, 409]);
    const [charge] = provider.chargesOf(cart.id);
    assert.deepEqual([charge.state, charge.refunded], ["refunded", order.total.amount]);
    await assertInvariants(shop);
  });

  it("are sent or cancelled, each unit one of the two", async () => {
    for (let i = 0; i < 5; ++i) {
      const { order } = await buyWith(shop, [[tea.variant.id, 2]]);
      await captured(shop, order.id);
      const lines = [{ line_id: order.lines[0].id, quantity: 2 }];
      const [cancelled, sent] = await Promise.all([insist(shop, `/orders/${order.id}/cancel`, { lines }),
        insist(shop, `/orders/${order.id}/fulfilments`, { lines })]);
      assert.equal([cancelled, sent].filter(({ answer }) => answer.status < 300).length, 1, `${cancelled.answer.text}\n${sent.answer.text}`);
      const now = await orderOf(shop, order.id);
      assert.deepEqual([now.status, now.payment_status], sent.answer.status < 300 ? ["completed", "captured"] : ["cancelled", "refunded"]);
    }
    await assertInvariants(shop);
  });

  it("cancelled while they are captured keep nothing", async () => {
    for (let i = 0; i < 5; ++i) {
      const { order, cart } = await buyWith(shop, [[tea.variant.id, 2]]); // the outbox captures it just now
      const [payment] = (await orderOf(shop, order.id)).payments;
      const [cancelled] = await Promise.all([insist(shop, `/orders/${order.id}/cancel`, {}),
        insist(shop, `/payments/${payment.id}/capture`, {})]);
      assertOk(cancelled.answer, 200);
      await settled(shop);
      const [charge] = provider.chargesOf(cart.id);
      assert.ok(["voided", "refunded"].includes(charge.state), charge.state);
      assert.equal((await orderOf(shop, order.id)).payment_status, charge.state);
    }
    await assertInvariants(shop);
  });

  it("give their money back once, when the answer to that is lost", async () => {
    for (const what of ["capture", "refund", "void"]) {
      const { order, cart } = await buyWith(shop, [[tea.variant.id, 3]]);
      if (what !== "void") await captured(shop, order.id);
      provider.loses.add(what === "capture" ? "refund" : what);
      const { answer } = await insist(shop, `/orders/${order.id}/cancel`, {});
      provider.loses.clear();
      assertOk(answer, 200);
      await settled(shop);
      const [charge] = provider.chargesOf(cart.id);
      assert.ok(charge.state === "voided" || charge.refunded === charge.captured, JSON.stringify(charge));
    }
    await assertInvariants(shop);
  });

  it("answer 202 while the provider is silent, and are refunded by themselves when it speaks again", async () => {
    const { order, cart } = await buyWith(shop, [[tea.variant.id, 3]]);
    await captured(shop, order.id);
    provider.isSilent = true;
    const lines = [{ line_id: order.lines[0].id, quantity: 1 }];
    const key = newKey();
    const first = await ask(shop, order.id, "cancel", { lines }, key);
    assert.deepEqual([first.status, first.body.cancellation.state], [202, "pending"], first.text);
    assertProblem(await ask(shop, order.id, "fulfilments", { lines: [{ line_id: order.lines[0].id, quantity: 3 }] }), 409, "conflict");
    provider.isSilent = false;
    await until("it is given back", async () => (await orderOf(shop, order.id)).payment_status === "partially_refunded", MINUTE);
    assert.equal(assertOk(await ask(shop, order.id, "cancel", { lines }, key), 200).cancellation.id, first.body.cancellation.id);
    const [charge] = provider.chargesOf(cart.id);
    assert.equal(charge.refunded, first.body.cancellation.amount.amount);
    assert.equal(await count(shop, "cancellations", `order_id = ${bin(order.id)}`), 1);
    await assertInvariants(shop);
  });

  it("that a provider answers late are not booked by two", async () => {
    const { order, cart } = await buyWith(shop, [[tea.variant.id, 3]]);
    await captured(shop, order.id);
    provider.holds.add("refund");
    const lines = [{ line_id: order.lines[0].id, quantity: 1 }];
    const first = insist(shop, `/orders/${order.id}/cancel`, { lines });
    await until("it was asked", () => provider.waiting.length > 0);
    // Its runner keeps the flow longer than its claim: others may come.
    await query(shop, "UPDATE sagas SET claimed_until = '2020-01-01' WHERE name = 'cancellation' AND state = 'running'");
    await until("a jobs worker came", () => provider.waiting.length > 1, MINUTE);
    provider.holds.clear();
    provider.open();
    assertOk((await first).answer, 200);
    await settled(shop);
    const [charge] = provider.chargesOf(cart.id);
    assert.equal(String(charge.captured - charge.refunded), await value(shop,
      `SELECT SUM(amount) FROM ledger_entries WHERE order_id = ${bin(order.id)} AND account = 'cash:probe'`));
    assert.equal(await count(shop, "order_events", `order_id = ${bin(order.id)} AND type = 'refunded'`), 1);
    await assertInvariants(shop);
  });
});

describe("a worker that is killed while it cancels or captures", () => {
  const CASES = [["cancellation.after_decide", true], ["cancellation.after_money", true], ["cancellation.after_book", true],
    ["cancellation.after_decide", false], ["cancellation.after_money", false]];
  let shop;
  after(() => shop?.stop());

  for (const [point, isCaptured] of CASES) {
    it(`at ${point}, ${isCaptured ? "the money is captured" : "it is authorised"}`, async () => {
      shop = await start(["--set", "server.workers=1"], { TILL_FAULTS: `${point}=1` });
      const tea = await makeProduct(shop, { stock: 10, price: ODD });
      assertOk(await oddPromotion(shop), 201);
      const cart = await makeCart(shop, tea.variant.id, { quantity: 3 });
      const method = isCaptured ? { provider: "probe", data: { token: "ok" } } : { provider: "manual" };
      assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: method }), 201);
      const { order } = assertOk(await shop.store("POST", `/carts/${cart.id}/complete`, { headers: idem(), body: {} }), 200);
      if (isCaptured) await captured(shop, order.id);
      const { answer, broken } = await insist(shop, `/orders/${order.id}/cancel`, {});
      assert.ok(broken >= 1, "the worker was killed");
      assert.equal(assertOk(answer, 200).order.status, "cancelled");
      await settled(shop);
      assert.equal((await orderOf(shop, order.id)).payment_status, isCaptured ? "refunded" : "voided");
      if (isCaptured) assert.equal(provider.chargesOf(cart.id)[0].refunded, order.total.amount);
      assert.deepEqual(await query(shop, "SELECT COUNT(*), SUM(amount) FROM cancellations"), [["1", String(order.total.amount)]]);
      assert.equal(await value(shop, "SELECT on_hand FROM stock"), "10");
      await assertInvariants(shop);
      await shop.stop();
      shop = undefined;
    });
  }

  for (const point of ["capture.before_ask", "capture.after_ask"]) {
    it(`at ${point}, and cancelled then`, async () => {
      shop = await start(["--set", "server.workers=1"], { TILL_FAULTS: `${point}=1` });
      const tea = await makeProduct(shop, { stock: 10, price: ODD });
      const { order, cart } = await buyWith(shop, [[tea.variant.id, 3]]); // a jobs worker captures, and dies of it
      const { answer } = await insist(shop, `/orders/${order.id}/cancel`, { lines: [{ line_id: order.lines[0].id, quantity: 1 }] });
      assertOk(answer, 200);
      await settled(shop);
      const now = await orderOf(shop, order.id);
      const [charge] = provider.chargesOf(cart.id);
      assert.equal(charge.captured - (charge.refunded ?? 0), order.total.amount - answer.body.cancellation.amount.amount);
      assert.ok(["captured", "partially_refunded"].includes(now.payment_status), now.payment_status);
      await assertInvariants(shop);
      await shop.stop();
      shop = undefined;
    });
  }
});

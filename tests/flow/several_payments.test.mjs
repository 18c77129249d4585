// Several payments of one order, at once or anew: a worker killed between them, ten who complete at once, one that is declined, and what goes back.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { StripeDouble } from "../doubles/stripe/double.mjs";
import { Shop, idem, makeCart, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";
import { many } from "./support/crowd.mjs";
import { assertInvariants, bin, count, query, value } from "./support/db.mjs";
import { control } from "./support/process.mjs";

const AGAIN = ["completion_in_progress", "idempotency_in_flight", "busy"];
const LIMIT = 60_000, PART = 700;

let shop, stripe, variant;
before(async () => {
  stripe = await StripeDouble.start();
  const options = { secret_key: stripe.key, base_url: stripe.url, webhook_secret: "whsec_of_the_tests", timeout_ms: 5000,
    return_url: "https://shop.example/back?cart={cart}" };
  shop = await Shop.start({ env: { TILL_FAULTS: "checkout.after_authorize=1" }, args: ["--no-demo", "--set", "server.workers=2",
    "--set", "cart.completion_claim_ms=1000", "--set", "idem.lease_ms=1000",
    ...Object.entries(options).flatMap(([name, one]) => ["--set", `plugins.payment-stripe.${name}=${one}`])] });
  ({ variant } = await makeProduct(shop, { stock: 1000 }));
});
after(async () => {
  await shop?.stop();
  await stripe?.stop();
});

const session = (cart, body) => shop.store("POST", `/carts/${cart.id}/payment-sessions`, { headers: idem(), body });
const card = (method) => ({ provider: "stripe", data: { payment_method: method } });
const part = { provider: "test", amount: { amount: PART, currency: "GBP" }, data: { token: "tok_ok" } };
const orderOf = async (id) => assertOk(await shop.admin("GET", `/orders/${id}`), 200).order;
const refund = (order, amount, key = newKey()) => shop.admin("POST", `/orders/${order.id}/refunds`, { headers: idem(key),
  body: { amount: { amount, currency: "GBP" }, reason: "spec" } });

/** Asks until there is an answer for good; a connection that breaks is asked again. */
const outcome = (cart, key = newKey()) => until("the outcome is known", async () => {
  const answer = await shop.h1("POST", `/store/v1/carts/${cart.id}/complete`, { agent: false, headers: idem(key), body: {} }).catch(() => null);
  return answer && answer.status < 500 && answer.status !== 202 && !AGAIN.includes(answer.body?.code) && answer;
}, LIMIT);

async function ready(method = "pm_card_visa") {
  const cart = await makeCart(shop, variant.id, { quantity: 3 });
  assertOk(await session(cart, part), 201);
  assertOk(await session(cart, card(method)), 201);
  return cart;
}

/** One order, each payment asked for once, all of it taken. */
async function assertBoth(cart, order) {
  const paid = await until("both are captured", async () => {
    const now = await orderOf(order.id);
    return now.payment_status === "captured" && now;
  }, LIMIT);
  assert.equal(await count(shop, "orders", `cart_id = ${bin(cart.id)}`), 1);
  assert.deepEqual(paid.payments.map((one) => [one.provider, one.state]), [["stripe", "captured"], ["test", "captured"]]);
  assert.equal(stripe.taken({ cart: cart.id }), order.total.amount - PART);
  const attempts = `SELECT COUNT(*), SUM(captured_amount) FROM payment_test_attempts a JOIN payments p ON p.idem_key = a.idem_key WHERE p.cart_id = ${bin(cart.id)}`;
  assert.deepEqual(await query(shop, attempts), [["1", String(PART)]]);
  assert.equal(await value(shop, `SELECT SUM(amount) FROM ledger_entries WHERE order_id = ${bin(order.id)} AND account = 'receivable'`), "0");
  stripe.check();
  await assertInvariants(shop);
  return paid;
}

describe("several payments of one order", () => {
  it("are each taken once where the worker is killed between them", async () => {
    const cart = await ready();
    const { type, order } = assertOk(await outcome(cart), 200);
    assert.equal(type, "order");
    assert.equal(await value(shop, `SELECT attempts > 1 FROM sagas WHERE aggregate = '${cart.id}'`), "1", "the flow was dropped once");
    await assertBoth(cart, order);
  });

  it("are each taken once by ten who complete at once", async () => {
    const cart = await ready();
    const answers = await many(10, () => outcome(cart));
    for (const answer of answers) assert.equal(assertOk(answer, 200).order?.id, answers[0].body.order.id, answer.text);
    assert.equal(stripe.world.all("payment_intent").filter((one) => one.metadata.cart === cart.id).length, 1);
    await assertBoth(cart, answers[0].body.order);
  });

  it("are begun by ten at once, and never come to more than the total", async () => {
    const cart = await makeCart(shop, variant.id, { quantity: 3 });
    const half = { ...part, amount: { amount: Math.ceil(cart.total.amount / 2), currency: "GBP" } };
    const target = `/store/v1/carts/${cart.id}/payment-sessions`; // each over its own connection: in one worker they take turns
    const answers = await many(10, () => shop.h1("POST", target, { agent: false, headers: idem(), body: half }));
    assert.equal(answers.filter((one) => one.status === 201).length, 1, JSON.stringify(answers.map((one) => one.status)));
    for (const answer of answers) assert.ok(answer.status < 500, answer.text);
    assertProblem(await shop.store("POST", `/carts/${cart.id}/complete`, { headers: idem(), body: {} }), 422, "cart_incomplete");
    assertOk(await session(cart, { provider: "manual" }), 201);
    assert.equal(assertOk(await outcome(cart), 200).order.payment_status, "awaiting");
    await assertInvariants(shop);
  });

  it("pay for the order or are given back, where one is deleted while it is completed", async () => {
    for (let round = 0; round < 4; ++round) {
      const cart = await ready();
      const list = assertOk(await shop.store("GET", `/carts/${cart.id}/payment-sessions`), 200).payment_sessions;
      const [answer, gone] = await Promise.all([outcome(cart), shop.store("DELETE", `/carts/${cart.id}/payment-sessions/${list[round % 2].id}`)]);
      assert.ok(gone.status === 200 || gone.status === 409, gone.text);
      const order = answer.body.order ?? (await outcome(cart)).body.order;
      assert.equal(order === undefined, gone.status === 200, `${answer.text} ${gone.text}`);
      if (order) await assertBoth(cart, order);
      else assertProblem(answer, 422, "cart_incomplete");
    }
    await assertInvariants(shop);
  });

  it("go on with another card where one is declined, and go back of the last one first", async () => {
    const cart = await ready("pm_card_visa_chargeDeclined");
    assert.equal(assertOk(await outcome(cart), 200).error.code, "payment_declined");
    assert.equal(stripe.taken({ cart: cart.id }), 0);
    assertOk(await session(cart, card("pm_card_visa")), 201);
    const order = await assertBoth(cart, assertOk(await outcome(cart), 200).order);
    const ofCard = order.total.amount - PART;
    assertOk(await refund(order, ofCard - 1));
    const answers = await many(4, () => refund(order, 300));
    assert.equal(answers.filter((one) => one.status === 200).length, 2, JSON.stringify(answers.map((one) => one.body)));
    for (const answer of answers) if (answer.status !== 200) assertProblem(answer, 409, "conflict");
    assert.deepEqual((await orderOf(order.id)).payments.map((one) => one.refunded_amount.amount), [ofCard, 599]);
    await assertInvariants(shop);
    const key = newKey();
    const body = { lines: [{ line_id: order.lines[0].id, quantity: 3 }], reason: "spec" };
    for (let i = 0; i < 2; ++i) assertOk(await shop.admin("POST", `/orders/${order.id}/cancel`, { headers: idem(key), body }), 200);
    assert.equal(stripe.taken({ cart: cart.id }), 0);
    const back = `SELECT SUM(r.amount) FROM payment_test_refunds r JOIN payments p ON p.idem_key = r.idem_key WHERE p.cart_id = ${bin(cart.id)}`;
    assert.equal(await value(shop, back), String(PART));
    stripe.check();
    await assertInvariants(shop);
  });
});

describe("an order that is paid anew", () => {
  const sessionOf = (order, body) => shop.store("POST", `/orders/${order.id}/payment-sessions`, { headers: idem(), body });
  /** Asks until there is an answer for good; a worker may die over it. */
  const pay = (order, id, broken = []) => until("the outcome of paying anew is known", async () => {
    const answer = await shop.h1("POST", `/store/v1/orders/${order.id}/payment-sessions/${id}/pay`, { agent: false, headers: idem(), body: {} })
      .catch((error) => void broken.push(error));
    return answer && answer.status < 500 && answer.status !== 202 && !AGAIN.includes(answer.body?.code) && answer;
  }, LIMIT);

  /** Paid outside of the shop, and nobody paid: staff ask for another payment instead. */
  async function owed() {
    const cart = await makeCart(shop, variant.id, { quantity: 3 });
    assertOk(await session(cart, { provider: "manual" }), 201);
    const { order } = assertOk(await outcome(cart), 200);
    const [old] = (await orderOf(order.id)).payments;
    const asked = assertOk(await shop.admin("POST", `/orders/${order.id}/payment-request`, { headers: idem(),
      body: { instead_of: old.id, reason: "nothing came" } }), 201);
    assert.equal(asked.payment_request.amount_due.amount, order.total.amount);
    return { cart, order };
  }

  async function assertOnce(cart, order, ends = "captured") {
    const paid = await until("it is captured, or all went back", async () => {
      const now = await orderOf(order.id);
      return now.payment_status === ends && now;
    }, LIMIT);
    await until("nothing else is held", async () => await count(shop, "payments",
      `cart_id = ${bin(cart.id)} AND order_id IS NULL AND state IN ('sending', 'unknown', 'authorized', 'captured')`) === 0, LIMIT);
    assert.equal(stripe.taken({ cart: cart.id }), ends === "captured" ? order.total.amount : 0);
    const held = stripe.world.all("payment_intent").filter((one) => one.metadata.cart === cart.id && one.status === "requires_capture");
    assert.deepEqual(held, []);
    assert.equal(await value(shop, `SELECT SUM(amount) FROM ledger_entries WHERE order_id = ${bin(order.id)} AND account = 'receivable'`), "0");
    stripe.check();
    await assertInvariants(shop);
    return paid;
  }

  it("is asked for on the command line as well, by the same rules and with the same audit", async () => {
    const cart = await makeCart(shop, variant.id, { quantity: 2 });
    assertOk(await session(cart, { provider: "manual" }), 201);
    const { order } = assertOk(await outcome(cart), 200);
    const [old] = (await orderOf(order.id)).payments, { amount } = order.total;
    const cli = (...args) => shop.cli("orders", ...args), ask = (...args) => cli("request-payment", order.id, "--reason", "nothing came", ...args);
    const due = async () => JSON.parse((await cli("due", order.id, "--json")).stdout);
    for (const [args, why] of [[[], /due, request-payment/], [["due"], /ord_…/], [["due", "ord_1"], /ord_…/], [["due", order.id, "--reason", "x"], /no option --reason/],
      [["request-payment", order.id], /--reason/], [["request-payment", order.id, "--reason", "x".repeat(256)], /255/], [["request-payment", order.id, "--reason", ""], /needs a value/],
      [["request-payment", order.id, "--reason", "x", "--amount", "1.5"], /whole number/], [["request-payment", order.id, "--reason", "x", "--amount", "-1"], /whole number/],
      [["request-payment", order.id, "--reason", "x", "--currency", "GBP"], /goes with --amount/], [["withdraw-request", order.id, order.id], /what is that/],
      [["request-payment", order.id, "--reason", "x", "--instead-of", "it"], /pay_…/], [["due", order.id, "--json", "--author"], /no option/]]) {
      const { code, stderr } = await cli(...args);
      assert.deepEqual([code, why.test(stderr)], [2, true], `${args.join(" ")}: ${stderr}`);
    }
    const refused = [[["due", `ord_${"0".repeat(25)}1`], /no order/], [["due", "999999999"], /no order 999999999/], [["withdraw-request", order.id], /nothing is asked for/],
      [["request-payment", order.id, "--reason", "x"], /nothing is owed/]];
    for (const [args, why] of [...refused, [["request-payment", order.id, "--reason", "x", "--instead-of", old.id, "--amount", String(amount + 1)], /--amount: from 1 to/],
      [["request-payment", order.id, "--reason", "x", "--instead-of", old.id, "--amount", "0"], /--amount: from 1 to/],
      [["request-payment", order.id, "--reason", "x", "--instead-of", old.id, "--amount", "5", "--currency", "USD"], /--currency: .*GBP/],
      [["request-payment", order.id, "--reason", "x", "--instead-of", `pay_${"0".repeat(25)}1`], /--instead-of: .*no such payment/]]) {
      const { code, stderr } = await cli(...args);
      assert.deepEqual([code, why.test(stderr)], [1, true], `${args.join(" ")}: ${stderr}`);
    }
    assert.equal((await orderOf(order.id)).payments[0].state, "authorized", "nothing was let go of");
    const asked = await ask("--amount", "150", "--currency", "GBP", "--instead-of", old.id, "--author", "ada");
    assert.deepEqual([asked.code, new RegExp(`^${order.id}  order \\d+  asked for 150 GBP.*by command:ada.*nothing came\n$`).test(asked.stdout)], [0, true], asked.stdout + asked.stderr);
    assert.equal((await orderOf(order.id)).payments[0].state, "voided");
    const all = JSON.parse((await ask("--json")).stdout).payment_request;
    assert.deepEqual([all.amount.amount, all.amount_due, all.actor], [amount, { amount, currency: "GBP" }, "command"]);
    const now = await due();
    assert.deepEqual([now.owed.amount, now.lost.amount, now.amount_due.amount, now.payment_request.reason], [amount, 0, amount, "nothing came"]);
    assert.match((await cli("due", String(order.number))).stdout, new RegExp(`^${order.id}.*owed ${amount}.*due ${amount}[^]*asked for ${amount}`));
    assert.equal(assertOk(await shop.store("GET", `/orders/${order.id}`), 200).order.amount_due.amount, amount);
    const gone = await cli("withdraw-request", order.id, "--author", "ada");
    assert.deepEqual([gone.code, /nothing is asked for/.test(gone.stdout)], [0, true], gone.stderr);
    const none = await due();
    assert.deepEqual([none.amount_due.amount, none.payment_request, none.owed.amount], [0, null, amount]);
    const audited = await query(shop, `SELECT action, actor FROM audit_entries WHERE subject = '${order.id}' ORDER BY id`);
    assert.deepEqual(audited, [["payment_request.let_go", "command:ada"], ["payment_request.ask", "command:ada"], ["payment_request.ask", "command"],
      ["payment_request.withdraw", "command:ada"]]);
    await assertInvariants(shop);
  });

  it("is charged once where the worker dies between authorizing and booking", async () => {
    const { cart, order } = await owed();
    const { payment_session: one } = assertOk(await sessionOf(order, card("pm_card_visa")), 201);
    await control(shop, "fault order_payment.after_authorize=1");
    const broken = [];
    assert.equal(assertOk(await pay(order, one.id, broken), 200).type, "order");
    assert.equal(broken.length, 1, "nobody died");
    const paid = await assertOnce(cart, order);
    assert.deepEqual(paid.payments.map((p) => [p.provider, p.state]), [["stripe", "captured"], ["manual", "voided"]]);
    assert.equal(assertOk(await pay(order, one.id), 200).type, "order");
  });

  it("is charged once by ten tabs", async () => {
    const { cart, order } = await owed();
    const begun = await many(10, () => sessionOf(order, card("pm_card_visa")));
    for (const answer of begun) assert.ok([201, 409, 503].includes(answer.status), answer.text);
    const mine = begun.filter((one) => one.status === 201).map((one) => one.body.payment_session.id);
    assert.ok(mine.length > 0);
    const answers = await many(20, (i) => pay(order, mine[i % mine.length]));
    for (const answer of answers) assert.ok(answer.status === 200 || answer.status === 409, answer.text);
    await assertOnce(cart, order);
    assert.equal(stripe.world.all("payment_intent").filter((one) => one.metadata.cart === cart.id && one.status === "succeeded").length, 1);
  });

  it("is charged or given back where it is cancelled at that moment", async () => {
    for (let round = 0; round < 4; ++round) {
      const { cart, order } = await owed();
      const { payment_session: one } = assertOk(await sessionOf(order, card("pm_card_visa")), 201);
      const key = newKey();
      const [paid] = await Promise.all([pay(order, one.id), until("it is cancelled", async () =>
        (await shop.admin("POST", `/orders/${order.id}/cancel`, { headers: idem(key), body: { reason: "spec" } })).status === 200, LIMIT)]);
      assert.ok(paid.status === 200 || paid.status === 409, paid.text);
      await until("all went back", async () => ["voided", "refunded"].includes((await orderOf(order.id)).payment_status), LIMIT);
      const ended = await assertOnce(cart, order, (await orderOf(order.id)).payment_status);
      assert.equal(ended.payments.length, paid.body.type === "order" ? 2 : 1, paid.text);
    }
  });
});

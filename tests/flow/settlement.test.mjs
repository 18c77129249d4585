// What moved at the provider, compared with the books: a good day agrees to the cent, what does not agree is told, and
// however often it is run, and wherever it dies, nothing is booked twice.
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { StripeDouble } from "../doubles/stripe/double.mjs";
import { idem, makeCart, makeProduct, newKey, Shop, SURE, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";
import { assertInvariants, bin, count, query, value } from "./support/db.mjs";

const CAPTURE = { method: "POST", path: "/v1/payment_intents/[^/]+/capture" };
const BALANCE = { method: "GET", path: "/v1/balance_transactions" };

let shop, stripe, variant, plugin;
before(async () => {
  stripe = await StripeDouble.start();
  const options = { secret_key: stripe.key, base_url: stripe.url, return_url: "https://shop.example/back?cart={cart}", timeout_ms: 5000 };
  plugin = Object.entries(options).flatMap(([name, one]) => ["--set", `plugins.payment-stripe.${name}=${one}`]);
  shop = await Shop.start({ env: { TILL_FAULTS: "settlement.in_page=1" }, args: ["--no-demo", "--set", "cart.completion_claim_ms=5000", "--set",
    "idem.lease_ms=5000", "--set", "jobs.lease_ms=3000", ...plugin] });
  ({ variant } = await makeProduct(shop, { stock: 1000 }));
});
beforeEach(() => stripe.script.clear());
after(async () => {
  await shop?.stop();
  await stripe?.stop();
});

const DAY = 86400_000;
const begin = (provider = "stripe") => shop.admin("POST", "/settlements", { headers: idem(), body: { provider,
  from: new Date(Date.now() - DAY).toISOString(), to: new Date().toISOString() } });
const read = async (id) => assertOk(await shop.admin("GET", `/settlements/${id}`), 200).settlement;

/** A run from the beginning to its end, with its report. */
async function settle() {
  const { settlement } = assertOk(await begin(), 202);
  return ended(settlement.id);
}

const ended = (id) => until("the accounts are compared", async () => {
  const seen = await read(id);
  return seen.state !== "running" && seen;
}, 60_000);

const alerts = async (kind) => assertOk(await shop.admin("GET", `/alerts?state=open&kind=${kind}&limit=100`), 200).data;
const orderOf = async (id) => assertOk(await shop.admin("GET", `/orders/${id}`), 200).order;
const intentOf = (cart) => stripe.world.all("payment_intent").find((one) => one.metadata.cart === cart.id);
const chargeOf = (cart) => stripe.world.get("charge", intentOf(cart).latest_charge);
const ask = (path, params) => fetch(stripe.url + path, { method: "POST", body: new URLSearchParams(params), headers: { authorization: `Bearer ${stripe.key}`,
  "idempotency-key": newKey(), "content-type": "application/x-www-form-urlencoded" } });
const choose = async (cart) => assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`,
  { body: { provider: "stripe", data: { payment_method: "pm_card_visa" } } }), 201).payment_session;
const complete = (cart) => shop.store("POST", `/carts/${cart.id}/complete`, { headers: idem(newKey()), body: {} });
const captured = (id) => until("it is captured", async () => (await orderOf(id)).payment_status === "captured", 60_000);

async function bought(quantity = 1) {
  const cart = await makeCart(shop, variant.id, { quantity });
  await choose(cart);
  const { order } = assertOk(await complete(cart), 200);
  await captured(order.id);
  return { cart, order };
}

/** A payment that was taken at the provider, and of which the shop has heard nothing. */
async function takenUnheard(of = variant) {
  const cart = await makeCart(shop, of.id);
  const session = await choose(cart);
  const made = await (await ask("/v1/payment_intents", { amount: session.amount.amount, currency: "gbp", payment_method: "pm_card_visa", confirm: "true",
    "payment_method_types[0]": "card", "metadata[payment]": session.id, "metadata[cart]": cart.id })).json();
  assert.equal(made.status, "succeeded");
  await query(shop, `UPDATE payments SET state = 'unknown', provider_ref = '${made.id}' WHERE id = ${bin(session.id)};
    INSERT INTO payment_events (payment_id, seq, kind, actor) VALUES (${bin(session.id)}, 2, 'send', 'test'), (${bin(session.id)}, 3, 'unknown', 'test')`);
  return { cart, session };
}

const sum = async (account) => Number(await value(shop, `SELECT COALESCE(SUM(amount), 0) FROM ledger_entries WHERE account = '${account}'`));
const books = () => query(shop, "SELECT account, currency, SUM(amount), COUNT(*) FROM ledger_entries GROUP BY account, currency ORDER BY account");
const totalOf = (report, kind, verdict) => report.totals.find((one) => one.kind === kind && one.verdict === verdict);

describe("reconciliation with a provider", () => {
  it("that is killed in the middle is done again, and books each fee once", async () => {
    for (let i = 0; i < 3; ++i) await bought(i + 1);
    const { settlement } = assertOk(await begin(), 202);
    await until("somebody died over it", async () => await count(shop, "settlement_items") === 1 && (await read(settlement.id)).state === "running");
    const other = await begin();
    assert.equal(other.status, 409, "one at a time");
    await query(shop, `UPDATE settlements SET claimed_until = '2020-01-01' WHERE id = ${settlement.id}`); // as after its lease
    const report = await ended(settlement.id);
    assert.equal(report.state, "done");
    assert.equal(await value(shop, `SELECT tries FROM settlements WHERE id = ${settlement.id}`), "2");
    assert.equal(totalOf(report, "charge", "matched").count, 3);
    await assertInvariants(shop);
  });

  it("agrees to the cent on a day of sales and refunds, with the fees", async () => {
    const { order } = await bought(2);
    const refund = assertOk(await shop.admin("POST", `/orders/${order.id}/refunds`, { headers: idem(), body: { amount: { amount: 150, currency: "GBP" },
      reason: "a scratch" } }));
    await until("it is back", async () => assertOk(await shop.admin("GET", `/refunds/${refund.refund.id}`), 200).refund.state === "done", 60_000);
    const report = await settle();
    assert.deepEqual([report.missing_here, report.missing_there, report.differs], [[], [], []]);
    const charges = totalOf(report, "charge", "matched"), refunds = totalOf(report, "refund", "matched");
    assert.equal(charges.amount, charges.booked);
    assert.equal(refunds.amount, -refunds.booked);
    assert.equal(refunds.booked, 150);
    const there = stripe.world.all("balance_transaction");
    assert.equal(await sum("fees:stripe"), there.reduce((all, one) => all + one.fee, 0));
    assert.equal(await sum("cash:stripe"), there.reduce((all, one) => all + one.net, 0));
    stripe.check();
    await assertInvariants(shop);
  });

  it("changes nothing when it is run again", async () => {
    const was = await books();
    const report = await settle();
    assert.equal(report.state, "done");
    assert.deepEqual(await books(), was);
  });

  it("tells of a charge that was made there and is of no payment here, and books nothing", async () => {
    const was = await books();
    const made = await (await ask("/v1/payment_intents", { amount: 777, currency: "gbp", payment_method: "pm_card_visa", confirm: "true",
      "payment_method_types[0]": "card" })).json();
    const report = await settle();
    assert.deepEqual(report.missing_here.map((one) => [one.kind, one.amount, one.source]), [["charge", 777, made.latest_charge]]);
    assert.ok((await alerts("settlement.missing_here")).some((one) => one.detail.reference === made.latest_charge));
    assert.deepEqual(await books(), was);
  });

  it("books that a refund has failed there, once, and agrees to the cent", async () => {
    const { cart, order } = await bought(1);
    const { refund } = assertOk(await shop.admin("POST", `/orders/${order.id}/refunds`, { headers: idem(), body: { amount: { amount: 120, currency: "GBP" },
      reason: "late" } }));
    const state = async () => assertOk(await shop.admin("GET", `/refunds/${refund.id}`), 200).refund.state;
    await until("it is back", async () => (await state()) === "done", 60_000);
    const made = stripe.world.allOf("refund", intentOf(cart).id)[0];
    stripe.do("fail_refund", { refund: made.id });
    const gross = async () => Number(await value(shop, `SELECT SUM(amount) FROM ledger_entries WHERE order_id = ${bin(order.id)}
      AND account IN ('cash:stripe', 'fees:stripe')`));
    const before = await gross();
    for (let i = 0; i < 2; ++i) {
      const report = await settle();
      assert.deepEqual([report.missing_there, report.differs], [[], []]);
      assert.ok(report.missing_here.every((one) => one.source !== made.id), JSON.stringify(report.missing_here));
      assert.deepEqual([totalOf(report, "refund_failure", "matched").amount, totalOf(report, "refund_failure", "matched").booked], [120, 120]);
    }
    assert.equal(await gross(), before + 120);
    assert.deepEqual([await state(), (await orderOf(order.id)).payment_status], ["failed", "captured"]);
    const [saga] = assertOk(await shop.admin("GET", `/sagas?aggregate=${refund.id}`), 200).data;
    assertOk(await shop.admin("POST", `/sagas/${saga.id}/retry`, { headers: idem(), body: { reason: "again" } }), 200);
    await until("it is given again", async () => (await state()) === "done", 60_000);
    await assertInvariants(shop);
  });

  it("books a refund that was made there by hand, once", async () => {
    const { cart, order } = await bought(1);
    await (await ask("/v1/refunds", { payment_intent: intentOf(cart).id, amount: 100 })).json();
    for (let i = 0; i < 2; ++i) {
      const report = await settle();
      assert.deepEqual(report.missing_here.filter((one) => one.kind === "refund"), []);
      assert.equal(await value(shop, `SELECT refunded_amount FROM payments WHERE order_id = ${bin(order.id)}`), "100");
    }
    assert.equal((await orderOf(order.id)).payment_status, "partially_refunded");
    await assertInvariants(shop);
  });

  it("books a dispute that nobody told of, with its fee, and that it was won", async () => {
    const { cart, order } = await bought(1);
    const { amount } = order.total;
    const dispute = stripe.do("dispute", { charge: chargeOf(cart).id });
    await settle();
    assert.equal(await value(shop, `SELECT disputed_amount FROM payments WHERE order_id = ${bin(order.id)}`), String(amount));
    const cash = () => value(shop, `SELECT SUM(amount) FROM ledger_entries WHERE order_id = ${bin(order.id)} AND account = 'cash:stripe'`);
    const net = () => stripe.world.all("balance_transaction").filter((one) => [chargeOf(cart).id, dispute.id].includes(one.source)).reduce((all, one) => all + one.net, 0);
    assert.equal(await cash(), String(net()));
    stripe.do("decide", { dispute: dispute.id, won: true });
    await settle();
    assert.equal(await value(shop, `SELECT state FROM payments WHERE order_id = ${bin(order.id)}`), "won");
    assert.equal(await cash(), String(net()));
    assert.deepEqual((await settle()).differs, []);
  });

  it("agrees where the answer to a capture was lost", async () => {
    stripe.script.on({ match: CAPTURE, reset: "after" });
    const { cart } = await bought(1);
    const report = await settle();
    assert.deepEqual(report.differs, []);
    assert.equal(await count(shop, "settlement_items", `source = '${chargeOf(cart).id}' AND verdict = 'matched' AND fee_booked = 1`), 1);
    await assertInvariants(shop);
  });

  it("makes an order of a payment that succeeded and was never heard of", async () => {
    const { cart, session } = await takenUnheard();
    const report = await settle();
    assert.equal(report.resolved, 1);
    const order = await value(shop, `SELECT HEX(id) FROM orders WHERE cart_id = ${bin(cart.id)}`);
    assert.ok(order, "the cart is an order");
    assert.equal(await count(shop, "settlement_items", `payment_id = ${bin(session.id)} AND verdict = 'matched'`), 1);
    assert.equal(stripe.taken({ cart: cart.id }), session.amount.amount);
    assert.equal((await alerts("settlement.without_order")).length, 0, "it has ended");
    assert.equal(await count(shop, "alerts", `kind = 'settlement.without_order' AND subject = '${session.id}'`), 1, "and was told");
    await assertInvariants(shop);
  });

  it("gives back what was paid for a cart that cannot be bought any more", async () => {
    const rare = await makeProduct(shop, { stock: 1 });
    const { cart, session } = await takenUnheard(rare.variant);
    assertOk(await shop.admin("POST", `/inventory/${encodeURIComponent(rare.sku)}/counts`, { headers: idem(), body: { quantity: 0,
      taken_at: new Date().toISOString(), location: "main", reason: "lost", override: true } }));
    await settle();
    assert.equal(stripe.taken({ cart: cart.id }), 0);
    assert.equal(await count(shop, "orders", `cart_id = ${bin(cart.id)}`), 0);
    assert.equal(await value(shop, `SELECT state FROM payments WHERE id = ${bin(session.id)}`), "refunded");
    stripe.check();
    await assertInvariants(shop);
  });

  it("goes on when the provider can be asked again", async () => {
    stripe.script.on({ match: BALANCE, status: 503, times: 1 });
    const { settlement } = assertOk(await begin(), 202);
    await until("it is put off", async () => (await read(settlement.id)).error);
    const { status } = await shop.admin("POST", "/settlements", { headers: idem(), body: { provider: "stripe", from: "2026-01-01T00:00:00Z", to: "2026-01-02T00:00:00Z" } });
    assert.equal(status, 409);
    assert.equal((await ended(settlement.id)).state, "done");
  });

  it("books what was paid out and what came back, once, and tells of each payout what it holds", async () => {
    const balances = async () => (await settle()).balances.find((one) => one.currency === "GBP");
    const before = await balances();
    const there = () => stripe.world.books.balance("balance").gbp, away = before.here - before.there;
    assert.equal(before.there, there());
    assert.equal(before.here, await sum("cash:stripe"));
    await bought(2);
    const lacks = stripe.world.all("balance_transaction").find((one) => one.type === "charge");
    const made = stripe.do("payout", { status: "in_progress", lacks: [lacks.id] });
    assert.ok(made.amount > 0);
    const first = await settle();
    const seen = (report) => report.payouts.find((one) => one.reference === made.id);
    assert.deepEqual([seen(first).state, seen(first).amount, seen(first).movements, await sum("bank:stripe")], ["created", made.amount, undefined, made.amount]);
    assert.deepEqual(first.balances.map((one) => [one.here, one.there]), [[away, 0]], "nothing is left there but what differed before");
    stripe.do("end_payout", { payout: made.id, status: "in_transit", reconciliation: "completed" });
    const short = seen(await settle());
    assert.deepEqual([short.state, short.difference, short.is_listed], ["in_transit", lacks.net, true]);
    assert.equal((await alerts("settlement.payout_differs"))[0].detail.reference, made.id);
    stripe.world.payoutOf.set(lacks.id, made.id);
    stripe.do("end_payout", { payout: made.id, status: "paid" });
    const paid = seen(await settle());
    assert.deepEqual([paid.state, paid.difference, paid.movements_amount, await sum("bank:stripe")], ["paid", 0, made.amount, made.amount]);
    assert.equal((await alerts("settlement.payout_differs")).length, 0);
    const held = assertOk(await shop.admin("GET", `/payouts/${paid.id}/movements?limit=100`), 200).data;
    assert.equal(held.length, paid.movements + 1, "and its own");
    assert.equal(held.find((one) => one.source === lacks.source).verdict, "matched");
    stripe.do("end_payout", { payout: made.id, status: "failed" });
    for (let i = 0; i < 2; ++i) {
      const back = await settle(), one = seen(back);
      assert.deepEqual([one.state, one.reason, await sum("bank:stripe")], ["failed", "account_closed: The bank account has been closed.", 0]);
      assert.equal(back.balances[0].there, there());
      assert.equal(back.balances[0].here - away, there());
    }
    assert.equal(await count(shop, "ledger_entries", "account = 'bank:stripe'"), 2);
    assert.equal((await alerts("settlement.payout_failed")).length, 1);
    const again = await (await ask("/v1/payouts", { amount: 250, currency: "gbp" })).json();
    stripe.do("end_payout", { payout: again.id, status: "paid" });
    const own = (await settle()).payouts.find((one) => one.reference === again.id);
    assert.deepEqual([own.state, own.is_listed, own.movements, await sum("bank:stripe")], ["paid", false, undefined, 250]);
    assert.equal((await alerts("settlement.payout_failed")).length, 0, "the bank takes them again");
    const shown = await shop.cli("payments", "payouts", made.id, "--json", ...plugin);
    assert.deepEqual([shown.code, JSON.parse(shown.stdout).payout.items.length], [0, held.length], shown.stderr);
    assert.match((await shop.cli("payments", "payouts", ...plugin)).stdout, new RegExp(`${again.id}  250 GBP[^]*${made.id}.* failed .*difference 0`));
    const nobody = await shop.cli("payments", "payouts", "po_nobody", ...plugin);
    assert.deepEqual([nobody.code, /no payout/.test(nobody.stderr)], [1, true]);
    assert.equal((await shop.admin("GET", "/payouts/999999")).status, 404);
    stripe.check();
    await assertInvariants(shop);
  });

  it("tells of money that the provider does not know, and changes nothing", async () => {
    const { cart, order } = await bought(1);
    const was = await orderOf(order.id);
    stripe.world.remove(chargeOf(cart).balance_transaction);
    const report = await settle();
    assert.deepEqual(report.missing_there.map((one) => [one.kind, one.amount, one.detail.order_id]), [["captured", order.total.amount, order.id]]);
    assert.equal((await alerts("settlement.missing_there")).length, 1);
    assert.deepEqual((await orderOf(order.id)).payment_status, was.payment_status);
    await assertInvariants(shop);
  });

  it("tells of an account that is kept in another currency, with both amounts, and calls that no difference", async () => {
    const { cart, order } = await bought(1);
    const charge = chargeOf(cart), there = { amount: 1776, fee: 82, net: 1694, currency: "usd", exchange_rate: 1.27 };
    Object.assign(stripe.world.get("balance_transaction", charge.balance_transaction), there);
    const before = await books();
    for (let i = 0; i < 2; ++i) {
      const report = await settle();
      const [item] = report.other_currency;
      assert.deepEqual([report.other_currency.length, item.source, item.amount, item.currency], [1, charge.id, 1776, "USD"]);
      assert.deepEqual(item.detail, { here: { amount: order.total.amount, currency: "GBP" }, there: { amount: 1776, currency: "USD", fee: 82 } });
      assert.deepEqual(report.differs, []);
    }
    assert.deepEqual(await books(), before, "nothing is posted");
    assert.equal(await count(shop, "payment_events", `reference = '${charge.id}' AND fee IS NULL`), 1);
  });

  it("no longer tells of money without an order, once its flow has made one", async () => {
    const { cart, session } = await takenUnheard();
    const { order } = await bought(1);
    const [{ id: other }] = (await orderOf(order.id)).payments;
    for (const subject of [session.id, other]) await query(shop, `INSERT INTO alerts (kind, subject, state, detail, opened_at, seen_at)
      VALUES ('settlement.without_order', '${subject}', 'open', '{}', NOW(3), NOW(3))`);
    const open = async () => (await alerts("settlement.without_order")).map((one) => one.subject);
    const run = async () => assertOk(await shop.admin("POST", "/jobs/schedules/server:go-on-settlements/run", { headers: idem(), body: {} }), 202);
    await run();
    await until("that of the order ends", async () => !(await open()).includes(other), 90_000);
    assert.deepEqual(await open(), [session.id], "nobody has seen to this one");
    assertOk(await complete(cart), 200);
    await run();
    await until("it ends", async () => (await open()).length === 0, 90_000);
  });

  it("is a command as well, whose exit code tells", async () => {
    const answer = await shop.cli("payments", "reconcile", "--json", "--provider", "stripe", ...plugin);
    assert.equal(answer.code, 1, answer.stderr);
    const [report] = JSON.parse(answer.stdout).data;
    assert.equal(report.missing_here[0].amount, 777);
    assert.equal(totalOf(report, "charge", "matched").amount, totalOf(report, "charge", "matched").booked);
    assert.equal((await shop.cli("payments", "reconcile", "--from", "yesterday", ...plugin)).code, 2);
  });

  it("is not the only command: payments are listed and shown, and staff say what became of one whose provider is silent", async () => {
    const payments = (...args) => shop.cli("payments", ...args, ...plugin);
    const reasoned = ["--reason", "they have no such payment", "--author", "ada"];
    const { order } = await bought(1);
    const [paid] = (await orderOf(order.id)).payments;
    for (const [args, why] of [[[paid.id, "--as", "refunded"], /stripe says that it is captured/], [[paid.id, "--as", "voided"], /captured cannot be resolved/],
      [[`pay_${"0".repeat(25)}1`, "--as", "voided"], /no such payment/]]) {
      const { code, stderr } = await payments("resolve", ...args, ...reasoned);
      assert.deepEqual([code, why.test(stderr)], [1, true], stderr);
    }
    for (const [args, why] of [[["resolve", paid.id, "--as", "perhaps", ...reasoned], /not_captured, voided/], [["resolve", paid.id, "--as", "voided"], /--reason/],
      [["resolve", "--as", "voided", ...reasoned], /pay_/], [["resolve", "pay_x", "--as", "voided", ...reasoned], /pay_/], [["list", "--state", "lent"], /lent/],
      [["show", paid.id, "--state", "unknown"], /--state/], [["show", "--id", paid.id], /--id/], [["pay"], /resolve/]]) {
      const { code, stderr } = await payments(...args);
      assert.deepEqual([code, why.test(stderr)], [2, true], `${args.join(" ")}: ${stderr}`);
    }
    const cart = await makeCart(shop, variant.id, { quantity: 1 });
    const { id } = await choose(cart);
    stripe.script.on({ match: { path: "/v1/payment_intents/[^/]+(/confirm)?" }, times: 10_000, reset: "before" });
    assert.equal((await complete(cart)).status, 202);
    const shown = await payments("show", id);
    assert.match(shown.stdout, new RegExp(`${id}  stripe  unknown[^]*cart ${cart.id}[^]*created[^]*send[^]*unknown`), shown.stderr);
    assert.match((await payments("list")).stdout, new RegExp(id));
    assert.ok(JSON.parse((await payments("list", "--state", "captured", "--json")).stdout).data.some((one) => one.id === paid.id));
    const early = await payments("resolve", id, "--as", "not_found", ...reasoned);
    assert.match(early.stderr, /may be on its way/);
    const done = await until("it is believed", async () => {
      const said = await payments("resolve", id, "--as", "not_found", ...reasoned, ...SURE);
      return said.code === 0 && said;
    });
    assert.deepEqual([done.code, done.stdout], [0, `${id}  failed\n`], done.stderr);
    assert.equal(await value(shop, `SELECT CONCAT(actor, ' ', JSON_VALUE(detail, '$.was')) FROM audit_entries WHERE action = 'payment.resolve' AND subject = '${id}'`), "command:ada unknown");
    const { events, state } = JSON.parse((await payments("show", id, "--json")).stdout).payment;
    assert.deepEqual([state, events.at(-1).event, events.at(-1).reason], ["failed", "not_found", "they have no such payment"]);
  });

  it("refuses a period or a provider that cannot be compared", async () => {
    for (const [provider, from, to] of [["manual", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"], ["stripe", "2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"],
      ["stripe", "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"], ["stripe", "2026-01-01T00:00:00Z", "2999-01-01T00:00:00Z"]]) {
      const answer = await shop.admin("POST", "/settlements", { headers: idem(), body: { provider, from, to } });
      assert.equal(answer.status, 422, answer.text);
      assert.match(answer.text, /pointer/);
    }
  });

  it("and no run has asked a plugin as if its hook were a listener", async () => {
    await until("the events of all runs are done", async () =>
      (await value(shop, "SELECT COUNT(*) FROM outbox WHERE type = 'payment.settlement' AND state <> 'done'")) === "0");
  });
});

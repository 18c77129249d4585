// Stripe's double as the official client sees it: every operation, each answer against the specification.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { CARDS } from "./stripe/cards.mjs";
import { DECLINE_CODES } from "./stripe/errors.mjs";
import { routesOf } from "./stripe/check.mjs";
import { SPEC } from "./stripe/double.mjs";
import { clientOf, payNow, refusal, startDouble } from "./support/stripe.mjs";

const RETURN = "https://shop.example/back";

let double, stripe;
before(async () => {
  double = await startDouble();
  stripe = clientOf(double);
});
after(async () => {
  await double?.stop();
});
const check = () => double.world.books.check(double.world);

describe("a payment intent", () => {
  it("goes from its method over the confirmation to the money", async () => {
    const made = await stripe.paymentIntents.create({ amount: 2000, currency: "gbp", metadata: { order: "o1" }, payment_method_types: ["card"] });
    assert.equal(made.status, "requires_payment_method");
    const chosen = await stripe.paymentIntents.update(made.id, { payment_method: "pm_card_visa", metadata: { more: "1" } });
    assert.equal(chosen.status, "requires_confirmation");
    assert.deepEqual(chosen.metadata, { order: "o1", more: "1" });
    const paid = await stripe.paymentIntents.confirm(made.id, { expand: ["latest_charge.balance_transaction"] });
    assert.equal(paid.status, "succeeded");
    assert.equal(paid.amount_received, 2000);
    const { fee, net } = paid.latest_charge.balance_transaction;
    assert.deepEqual([fee, net], [88, 1912], "2.9% and 30");
    assert.equal(double.taken({ order: "o1" }), 2000);
    assert.equal((await stripe.paymentIntents.retrieve(made.id)).status, "succeeded");
    check();
  });

  it("is captured later, in part, and the rest is let go of", async () => {
    const held = await payNow(stripe, { amount: 5000, capture_method: "manual", metadata: { order: "o2" } });
    assert.deepEqual([held.status, held.amount_capturable, double.taken({ order: "o2" })], ["requires_capture", 5000, 0]);
    assert.equal((await refusal(stripe.paymentIntents.capture(held.id, { amount_to_capture: 5001 }))).code, "amount_too_large");
    const taken = await stripe.paymentIntents.capture(held.id, { amount_to_capture: 3000, expand: ["latest_charge"] });
    assert.deepEqual([taken.status, taken.amount_received, taken.latest_charge.amount_captured, taken.latest_charge.amount_refunded], ["succeeded", 3000, 3000, 2000]);
    assert.equal((await refusal(stripe.paymentIntents.capture(held.id))).code, "payment_intent_unexpected_state");
    assert.equal(double.taken({ order: "o2" }), 3000);
    check();
  });

  it("is canceled by the merchant, or by itself after seven days", async () => {
    const held = await payNow(stripe, { capture_method: "manual", metadata: { order: "o3" } });
    const gone = await stripe.paymentIntents.cancel(held.id, { cancellation_reason: "abandoned" });
    assert.deepEqual([gone.status, gone.cancellation_reason], ["canceled", "abandoned"]);
    const other = await payNow(stripe, { capture_method: "manual", metadata: { order: "o3" } });
    double.advance(8 * 86400);
    const late = await stripe.paymentIntents.retrieve(other.id);
    assert.deepEqual([late.status, late.cancellation_reason, double.taken({ order: "o3" })], ["canceled", "automatic", 0]);
    assert.equal((await refusal(stripe.paymentIntents.cancel(other.id))).code, "payment_intent_unexpected_state");
    check();
  });

  it("waits for the shopper, who agrees or does not", async () => {
    for (const [isApproved, status, taken] of [[true, "succeeded", 1000], [false, "requires_payment_method", 0]]) {
      const order = `3ds-${isApproved}`;
      const asked = await payNow(stripe, { payment_method: "pm_card_authenticationRequired", return_url: RETURN, metadata: { order } });
      assert.deepEqual([asked.status, asked.next_action.redirect_to_url.return_url], ["requires_action", RETURN]);
      const page = await fetch(asked.next_action.redirect_to_url.url, { method: "POST", body: `approved=${isApproved}`, redirect: "manual" });
      assert.match(page.headers.get("location"), new RegExp(`^${RETURN}\\?payment_intent=${asked.id}&.*redirect_status=${isApproved ? "succeeded" : "failed"}`));
      const seen = await stripe.paymentIntents.retrieve(asked.id);
      assert.deepEqual([seen.status, double.taken({ order })], [status, taken]);
    }
    const declined = await payNow(stripe, { payment_method: "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds", return_url: RETURN });
    assert.equal(double.do("act", { id: declined.id, approved: true }).last_payment_error.decline_code, "insufficient_funds");
    assert.equal((await refusal(payNow(stripe, { payment_method: "pm_card_authenticationRequired", off_session: true }))).code, "authentication_required");
    check();
  });

  it("is declined by each test card that declines, and by every code there is", async () => {
    const wanted = [...Object.entries(CARDS).filter(([, card]) => card.decline).map(([name, card]) => [name, card.decline]),
      ...DECLINE_CODES.map((code) => ["pm_card_visa", code])];
    assert.ok(wanted.length > 50);
    for (const [name, code] of wanted) {
      if (name === "pm_card_visa") double.script.on({ match: { path: "/v1/payment_intents" }, decline: code });
      const error = await refusal(payNow(stripe, { payment_method: name, metadata: { order: "declined" } }));
      assert.deepEqual([error.type, error.statusCode, error.decline_code ?? error.code], ["StripeCardError", 402, code]);
      const left = await stripe.paymentIntents.retrieve(error.payment_intent.id);
      assert.deepEqual([left.status, left.last_payment_error.code], ["requires_payment_method", error.code]);
    }
    assert.equal(double.taken({ order: "declined" }), 0);
    check();
  });

  it("is processing until the bank has decided", async () => {
    for (const [decline, status] of [[undefined, "succeeded"], ["do_not_honor", "requires_payment_method"]]) {
      double.script.on({ processing: true });
      const slow = await payNow(stripe);
      assert.equal(slow.status, "processing");
      double.do("settle", { id: slow.id, decline });
      assert.equal((await stripe.paymentIntents.retrieve(slow.id)).status, status);
    }
  });

  it("is listed and searched for", async () => {
    const ids = [];
    for (let i = 0; i < 5; i++) ids.unshift((await payNow(stripe, { metadata: { batch: "list" } })).id);
    const seen = [];
    for await (const one of stripe.paymentIntents.list({ limit: 2 })) if (seen.push(one.id) === 5) break;
    assert.deepEqual(seen, ids);
    const before = await stripe.paymentIntents.list({ limit: 2, ending_before: ids[3] });
    assert.deepEqual([before.data.map((one) => one.id), before.has_more], [ids.slice(1, 3), true]);
    assert.equal((await stripe.paymentIntents.list({ created: { lt: 1 } })).data.length, 0);
    assert.equal((await stripe.paymentIntents.search({ query: "metadata['batch']:'list' AND status:'succeeded'" })).data.length, 5);
    assert.equal((await refusal(stripe.paymentIntents.search({ query: "metadata~x" }))).param, "query");
  });
});

describe("money that goes back", () => {
  it("is refunded in parts, never more than was taken", async () => {
    const paid = await payNow(stripe, { metadata: { order: "r1" } });
    const first = await stripe.refunds.create({ payment_intent: paid.id, amount: 400, reason: "requested_by_customer", metadata: { a: "1" } });
    assert.deepEqual([first.status, (await stripe.refunds.retrieve(first.id)).amount], ["succeeded", 400]);
    assert.match((await refusal(stripe.refunds.create({ payment_intent: paid.id, amount: 601 }))).message, /greater than unrefunded/);
    await stripe.refunds.create({ charge: paid.latest_charge });
    assert.equal((await refusal(stripe.refunds.create({ charge: paid.latest_charge }))).code, "charge_already_refunded");
    assert.equal((await stripe.charges.retrieve(paid.latest_charge)).refunded, true);
    assert.equal((await stripe.refunds.list({ payment_intent: paid.id })).data.length, 2);
    assert.deepEqual((await stripe.refunds.update(first.id, { metadata: { a: "" } })).metadata, {});
    assert.equal(double.taken({ order: "r1" }), 0);
    check();
  });

  it("comes back when the refund fails later, or settles late", async () => {
    const failing = await payNow(stripe, { payment_method: "pm_card_refundFail", metadata: { order: "r2" } });
    const refund = await stripe.refunds.create({ payment_intent: failing.id });
    assert.equal(double.taken({ order: "r2" }), 0);
    assert.equal(double.do("fail_refund", { refund: refund.id }).status, "failed");
    assert.equal(double.taken({ order: "r2" }), 1000);
    const slow = await payNow(stripe, { payment_method: "pm_card_pendingRefund" });
    const pending = await stripe.refunds.create({ payment_intent: slow.id });
    assert.equal(pending.status, "pending");
    assert.equal(double.do("settle_refund", { refund: pending.id }).status, "succeeded");
    assert.match((await refusal(stripe.refunds.create({}))).message, /One of the following params/);
    const held = await payNow(stripe, { capture_method: "manual" });
    assert.equal((await refusal(stripe.refunds.create({ payment_intent: held.id }))).code, "payment_intent_unexpected_state");
    check();
  });

  it("is disputed, answered, won, or given up", async () => {
    const paid = await payNow(stripe, { payment_method: "pm_card_createDispute", metadata: { order: "d1" } });
    const [made] = (await stripe.disputes.list({ payment_intent: paid.id })).data;
    assert.deepEqual([made.status, made.reason, double.taken({ order: "d1" })], ["needs_response", "fraudulent", 0]);
    assert.equal((await refusal(stripe.refunds.create({ payment_intent: paid.id }))).code, "charge_disputed");
    const answered = await stripe.disputes.update(made.id, { evidence: { uncategorized_text: "it was delivered" } });
    assert.equal(answered.status, "under_review");
    double.do("decide", { dispute: made.id, won: true });
    assert.deepEqual([(await stripe.disputes.retrieve(made.id)).status, double.taken({ order: "d1" })], ["won", 1000]);
    const other = await payNow(stripe, { metadata: { order: "d2" } });
    const second = double.do("dispute", { charge: other.latest_charge, amount: 300 });
    assert.equal((await stripe.disputes.close(second.id)).status, "lost");
    assert.equal((await refusal(stripe.disputes.close(second.id))).code, "dispute_already_closed");
    assert.equal(double.taken({ order: "d2" }), 700);
    check();
  });

  it("stands in the balance with its fee", async () => {
    const all = await stripe.balanceTransactions.list({ limit: 100, type: "charge" });
    assert.ok(all.data.length > 5);
    for (const one of all.data) assert.equal(one.net, one.amount - one.fee);
    assert.equal((await stripe.balanceTransactions.retrieve(all.data[0].id)).source, all.data[0].source);
  });
});

describe("customers and their cards", () => {
  it("are made, changed, listed and deleted", async () => {
    const customer = await stripe.customers.create({ email: "ada@example.com", metadata: { shop: "1" } });
    const card = await stripe.paymentMethods.attach("pm_card_visa", { customer: customer.id });
    assert.equal(card.customer, customer.id);
    assert.equal((await stripe.paymentMethods.list({ customer: customer.id, type: "card" })).data[0].id, card.id);
    assert.equal((await stripe.customers.listPaymentMethods(customer.id)).data.length, 1);
    assert.equal((await stripe.paymentMethods.retrieve(card.id)).card.last4, "4242");
    assert.match((await refusal(payNow(stripe, { payment_method: card.id }))).message, /belongs to a Customer/);
    assert.equal((await payNow(stripe, { payment_method: card.id, customer: customer.id })).status, "succeeded");
    assert.equal((await refusal(stripe.paymentMethods.attach("pm_card_visa_chargeDeclined", { customer: customer.id }))).code, "card_declined");
    assert.equal((await stripe.paymentMethods.detach(card.id)).customer, null);
    assert.equal((await stripe.customers.update(customer.id, { name: "Ada" })).name, "Ada");
    assert.equal((await stripe.customers.list({ email: "ada@example.com" })).data.length, 1);
    assert.equal((await stripe.customers.retrieve(customer.id)).name, "Ada");
    assert.equal((await stripe.customers.del(customer.id)).deleted, true);
    assert.equal((await refusal(stripe.customers.retrieve(customer.id))).statusCode, 404);
    assert.equal((await stripe.paymentMethods.create({ type: "card", card: { token: "tok_visa" } })).type, "card");
  });

  it("are set up for later", async () => {
    const customer = await stripe.customers.create({});
    const made = await stripe.setupIntents.create({ customer: customer.id, payment_method_types: ["card"] });
    const done = await stripe.setupIntents.confirm(made.id, { payment_method: "pm_card_visa" });
    assert.equal(done.status, "succeeded");
    assert.equal((await stripe.customers.listPaymentMethods(customer.id)).data[0].id, done.payment_method);
    const asked = await stripe.setupIntents.create({ payment_method: "pm_card_authenticationRequiredOnSetup", confirm: true, return_url: RETURN });
    double.do("act", { id: asked.id, approved: true });
    assert.equal((await stripe.setupIntents.retrieve(asked.id)).status, "succeeded");
    assert.equal((await refusal(stripe.setupIntents.create({ payment_method: "pm_card_visa_chargeDeclined", confirm: true }))).code, "card_declined");
    const dropped = await stripe.setupIntents.cancel((await stripe.setupIntents.create({})).id);
    assert.equal(dropped.status, "canceled");
    assert.ok((await stripe.setupIntents.list()).data.length >= 4);
  });
});

describe("the rest", () => {
  it("a checkout session is paid, declined, expired", async () => {
    const wish = { mode: "payment", success_url: `${RETURN}?s={CHECKOUT_SESSION_ID}`, payment_intent_data: { metadata: { order: "s1" } },
      line_items: [{ quantity: 2, price_data: { currency: "gbp", unit_amount: 700, product_data: { name: "Tea" } } }] };
    const session = await stripe.checkout.sessions.create(wish);
    assert.deepEqual([session.status, session.amount_total], ["open", 1400]);
    assert.throws(() => double.do("pay", { session: session.id, payment_method: "pm_card_visa_chargeDeclined" }), /declined/);
    const page = await fetch(session.url, { method: "POST", body: "payment_method=pm_card_visa", redirect: "manual" });
    assert.equal(page.headers.get("location"), `${RETURN}?s=${session.id}`);
    const paid = await stripe.checkout.sessions.retrieve(session.id, { expand: ["payment_intent"] });
    assert.deepEqual([paid.status, paid.payment_status, paid.payment_intent.status, double.taken({ order: "s1" })], ["complete", "paid", "succeeded", 1400]);
    assert.match((await refusal(stripe.checkout.sessions.expire(session.id))).message, /can be expired/);
    const other = await stripe.checkout.sessions.create(wish);
    assert.equal((await stripe.checkout.sessions.expire(other.id)).status, "expired");
    const old = await stripe.checkout.sessions.create(wish);
    double.advance(86401);
    assert.equal((await stripe.checkout.sessions.retrieve(old.id)).status, "expired");
    assert.ok((await stripe.checkout.sessions.list({ payment_intent: paid.payment_intent.id })).data.length === 1);
    check();
  });

  it("events are listed by type and time, for 30 days", async () => {
    const began = double.world.now();
    const paid = await payNow(stripe);
    const events = await stripe.events.list({ type: "payment_intent.*", created: { gte: began } });
    assert.deepEqual(events.data.map((one) => [one.type, one.data.object.id]), [["payment_intent.succeeded", paid.id], ["payment_intent.created", paid.id]]);
    assert.equal((await stripe.events.list({ types: ["charge.succeeded", "charge.failed"], limit: 1 })).data[0].type, "charge.succeeded");
    assert.equal((await stripe.events.retrieve(events.data[0].id)).request.idempotency_key, null);
    double.advance(31 * 86400);
    assert.equal((await stripe.events.list({ created: { lte: began + 60 } })).data.length, 0);
    assert.equal((await refusal(stripe.events.retrieve(events.data[0].id))).statusCode, 404);
  });

  it("a payout holds what moved until then, arrives, or comes back", async () => {
    const paid = await payNow(stripe, { amount: 2000 });
    const before = double.world.books.balance("balance").gbp;
    assert.equal((await refusal(stripe.payouts.create({ amount: before + 1, currency: "gbp" }))).code, "balance_insufficient");
    const own = await stripe.payouts.create({ amount: 100, currency: "gbp", metadata: { why: "rent" } });
    assert.deepEqual([own.status, own.automatic, own.reconciliation_status], ["pending", false, "not_applicable"]);
    assert.match((await refusal(stripe.balanceTransactions.list({ payout: own.id }))).message, /automatic/);
    assert.equal((await stripe.payouts.update(own.id, { metadata: { why: "wages" } })).metadata.why, "wages");
    assert.equal((await stripe.payouts.cancel(own.id)).status, "canceled");
    assert.match((await refusal(stripe.payouts.cancel(own.id))).message, /pending/);
    const made = double.do("payout");
    assert.equal(made.amount, before, "what was taken back is held as well");
    const held = (await stripe.balanceTransactions.list({ payout: made.id, limit: 100, expand: ["data.source"] })).data;
    assert.equal(held.filter((one) => one.source?.id !== made.id).reduce((sum, one) => sum + one.net, 0), made.amount);
    assert.ok(held.some((one) => one.source?.id === paid.latest_charge) && held.some((one) => one.source?.object === "payout" && one.amount === -made.amount));
    assert.equal((await stripe.balance.retrieve()).available.find((one) => one.currency === "gbp").amount, 0);
    double.do("end_payout", { payout: made.id, status: "paid" });
    double.do("end_payout", { payout: made.id, status: "failed" });
    const back = await stripe.payouts.retrieve(made.id, { expand: ["failure_balance_transaction"] });
    assert.deepEqual([back.status, back.failure_code, back.failure_balance_transaction.type], ["failed", "account_closed", "payout_failure"]);
    assert.throws(() => double.do("end_payout", { payout: made.id, status: "paid" }), /failed already/);
    assert.equal((await stripe.payouts.list({ status: "failed" })).data.length, 1);
    assert.equal(double.world.books.balance("bank").gbp ?? 0, 0);
    check();
  });

  it("charges, the account and endpoints for webhooks", async () => {
    const paid = await payNow(stripe);
    assert.equal((await stripe.charges.update(paid.latest_charge, { description: "Tea" })).description, "Tea");
    assert.equal((await stripe.charges.list({ payment_intent: paid.id })).data.length, 1);
    assert.equal((await stripe.accounts.retrieve()).country, "GB");
    const endpoint = await stripe.webhookEndpoints.create({ url: "http://127.0.0.1:1/hook", enabled_events: ["charge.failed"] });
    assert.match(endpoint.secret, /^whsec_/);
    assert.equal((await stripe.webhookEndpoints.retrieve(endpoint.id)).secret, undefined);
    assert.equal((await stripe.webhookEndpoints.update(endpoint.id, { disabled: true })).status, "disabled");
    assert.equal((await stripe.webhookEndpoints.list()).data.length, 1);
    assert.equal((await stripe.webhookEndpoints.del(endpoint.id)).deleted, true);
  });

  it("no operation was left out, and each was answered as the specification says", () => {
    const all = routesOf(SPEC).map(({ method, path }) => `${method} ${path}`);
    assert.deepEqual(all.filter((one) => !double.answered.has(one)), []);
  });
});

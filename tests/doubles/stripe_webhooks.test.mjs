// Stripe's double as a sender of webhooks: signed so that the official package takes them, and everything that goes wrong
// on the way.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import Stripe from "stripe";
import { sign } from "./stripe/webhooks.mjs";
import { StripeDouble } from "./stripe/double.mjs";
import { Receiver, clientOf, payNow, until } from "./support/stripe.mjs";

const { webhooks } = new Stripe("sk_test_none");
const PAID = ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"];

let receiver, double, stripe, secret, id;
before(async () => {
  receiver = await Receiver.start();
});
beforeEach(async () => {
  double = await StripeDouble.start();
  stripe = clientOf(double);
  receiver.got = [];
  receiver.status = () => 200;
  ({ id, secret } = double.endpoint(receiver.url));
});
afterEach(async () => {
  await double.stop();
});
after(() => receiver?.stop());

const take = ({ text, signature }, with_ = secret) => webhooks.constructEvent(text, signature, with_);
const arrived = (count) => until(`${count} webhooks`, () => receiver.got.length >= count && double.webhooks.isQuiet);

describe("signatures", () => {
  it("of the double are taken by the official package", async () => {
    await payNow(stripe);
    await arrived(3);
    assert.deepEqual(receiver.got.map((one) => take(one).type), PAID);
    const [{ text, signature }] = receiver.got;
    assert.throws(() => take({ text: text.replace("1000", "1001"), signature }), /signature/);
    assert.throws(() => take({ text: JSON.stringify(JSON.parse(text)), signature }), /signature/, "it is of these very bytes");
    assert.throws(() => take({ text, signature }, "whsec_other"), /signature/);
  });

  it("of the official package are those of the double", () => {
    const payload = JSON.stringify({ id: "evt_1", text: "ünïcode\n" });
    const timestamp = Math.floor(Date.now() / 1000);
    const theirs = webhooks.generateTestHeaderString({ payload, secret: "whsec_x", timestamp });
    assert.equal(sign(payload, ["whsec_x"], timestamp).replace(/,v0=.*/, ""), theirs);
  });

  it("are of both secrets while they are rotated, then of the new one alone", async () => {
    const fresh = double.do("rotate", { endpoint: id }).secret;
    await payNow(stripe);
    await arrived(3);
    for (const one of receiver.got) assert.ok(take(one) && take(one, fresh));
    double.do("retire", { endpoint: id });
    await payNow(stripe);
    await arrived(6);
    assert.ok(take(receiver.got.at(-1), fresh));
    assert.throws(() => take(receiver.got.at(-1)), /signature/);
    double.script.onEvent({ secret: "old" }, { secret: "wrong" });
    await payNow(stripe);
    await arrived(9);
    assert.ok(take(receiver.got[6]), "one that was signed before");
    for (const one of [secret, fresh]) assert.throws(() => take(receiver.got[7], one), /signature/);
  });

  it("are too old or from the future where the clocks differ", async () => {
    double.script.onEvent({ skew_s: -301 }, { skew_s: -200 }, { skew_s: 3600 });
    await payNow(stripe);
    await arrived(3);
    assert.throws(() => take(receiver.got[0]), /tolerance/);
    assert.ok(take(receiver.got[1]));
    const at = Number(/t=(\d+)/.exec(receiver.got[2].signature)[1]);
    assert.ok(at > Date.now() / 1000 + 3000, "signed by a clock that is fast");
  });
});

describe("webhooks", () => {
  it("come twice, or not at all, while the list of events has each once", async () => {
    double.script.onEvent({ match: { type: "payment_intent.succeeded" }, duplicate: 2 }, { match: { type: "charge.*" }, drop: true });
    await payNow(stripe);
    await arrived(4);
    assert.deepEqual(receiver.types, ["payment_intent.created", ...Array(3).fill("payment_intent.succeeded")]);
    assert.equal(new Set(receiver.got.map((one) => one.event.id)).size, 2);
    assert.deepEqual((await stripe.events.list({})).data.map((one) => one.type), [...PAID].reverse());
  });

  it("of one request are kept back altogether", async () => {
    double.script.on({ webhooks: false });
    await payNow(stripe, { metadata: { first: "1" } });
    await payNow(stripe);
    await arrived(3);
    assert.ok(receiver.got.every((one) => one.event.data.object.metadata.first === undefined));
    assert.equal((await stripe.events.list({})).data.length, 6);
  });

  it("come in another order, and late", async () => {
    double.script.onEvent({ hold: true, times: 3 });
    await payNow(stripe);
    assert.deepEqual(receiver.types, []);
    assert.deepEqual(await double.do("release", { order: "reversed" }), { sent: 3 });
    assert.deepEqual(receiver.types, [...PAID].reverse());
    double.script.onEvent({ match: { type: "payment_intent.created" }, delay_ms: 3_600_000 });
    await payNow(stripe);
    await until("the others came", () => receiver.got.length === 5);
    assert.deepEqual([receiver.types.slice(3), double.webhooks.isQuiet], [PAID.slice(1), false]);
    assert.deepEqual(await double.do("release"), { sent: 1 }, "before its time");
    assert.deepEqual(receiver.types[5], PAID[0]);
    double.script.onEvent({ delay_ms: 1 });
    await stripe.paymentIntents.create({ amount: 1000, currency: "gbp" });
    await arrived(7);
  });

  it("come before the answer of the request that they tell of", async () => {
    double.script.onEvent({ match: { type: "payment_intent.succeeded" }, early: true });
    let isAnswered = false;
    const seen = [];
    receiver.status = async () => {
      seen.push([receiver.got.at(-1).event.type, isAnswered]);
      return 200;
    };
    const paid = await payNow(stripe);
    isAnswered = true;
    assert.deepEqual(seen[0], ["payment_intent.succeeded", false]);
    assert.equal(receiver.got[0].event.data.object.id, paid.id);
    await arrived(3);
    assert.deepEqual(receiver.types.slice(1), PAID.slice(0, 2));
  });

  it("come although the answer was lost", async () => {
    double.script.on({ reset: "after" });
    await payNow(stripe, {}, { idempotencyKey: "k" }); // the client asks again by itself
    await arrived(3);
    assert.deepEqual(receiver.types, PAID, "of one payment");
  });

  it("are sent again until they are taken, under the same id, signed anew", async () => {
    receiver.status = (count) => (count < 3 ? 500 : 200);
    double.script.onEvent({ match: { type: "charge.succeeded" }, drop: true }, { match: { type: "payment_intent.created" }, drop: true });
    await payNow(stripe);
    await arrived(3);
    assert.deepEqual(double.webhooks.deliveries.map((one) => [one.attempt, one.status]), [[1, 500], [2, 500], [3, 200]]);
    assert.equal(new Set(receiver.got.map((one) => one.event.id)).size, 1);
  });

  it("of old are sent again: by Stripe, signed anew, or by a thief, as they were", async () => {
    await payNow(stripe);
    await arrived(3);
    const [first] = receiver.got;
    double.advance(3600);
    await double.do("replay", { event: first.event.id, original: true });
    assert.deepEqual([receiver.got[3].text, receiver.got[3].signature], [first.text, first.signature]);
    await double.do("replay", { event: first.event.id });
    await arrived(5);
    assert.equal(receiver.got[4].text, first.text);
    assert.notEqual(receiver.got[4].signature, first.signature);
  });

  it("go to those who asked for them, while they are enabled", async () => {
    const made = await stripe.webhookEndpoints.create({ url: receiver.url, enabled_events: ["charge.succeeded"] });
    await stripe.webhookEndpoints.update(id, { disabled: true });
    await payNow(stripe);
    await arrived(1);
    assert.deepEqual(receiver.types, ["charge.succeeded"]);
    assert.ok(take(receiver.got[0], made.secret));
    await stripe.webhookEndpoints.del(made.id);
    await payNow(stripe);
    assert.ok(double.webhooks.isQuiet);
  });
});

// What Stripe tells by itself: each event once into the inbox, in whatever order and however often; what it means is asked
// for; a payment whose shopper never came back becomes his order or goes back to him.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createRequire } from "node:module";
import { after, before, beforeEach, describe, it } from "node:test";
import { StripeDouble } from "../doubles/stripe/double.mjs";
import { Shop, idem, makeCart, makeProduct, newKey, tempDir, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";
import { assertInvariants, bin, query, value } from "./support/db.mjs";
import { control } from "./support/process.mjs";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";

const SECRET = "whsec_of_the_tests", OLD = "whsec_of_before";
const Stripe = createRequire(new URL("../doubles/package.json", import.meta.url))("stripe");

let shop, stripe, relay, signer, variant;
before(async () => {
  stripe = await StripeDouble.start();
  signer = await Signer.start();
  const options = { secret_key: stripe.key, base_url: stripe.url, webhook_secret: SECRET, webhook_secret_old: OLD, timeout_ms: 5000,
    return_url: "https://shop.example/back?cart={cart}" };
  shop = await Shop.start({ env: { TILL_FAULTS: "" }, args: ["--no-demo", "--set", "cart.completion_claim_ms=5000", "--set", "idem.lease_ms=5000",
    ...signer.plugin(), ...Object.entries(options).flatMap(([name, one]) => ["--set", `plugins.payment-stripe.${name}=${one}`])] });
  ({ variant } = await makeProduct(shop, { stock: 1000 }));
  relay = await relayToShop();
  stripe.endpoint(relay.url, { secret: SECRET });
});
beforeEach(() => {
  stripe.script.clear();
  relay.statuses.length = 0;
});
after(async () => {
  stripe?.webhooks.close();
  relay?.stop();
  signer?.stop();
  await shop?.stop();
  await stripe?.stop();
});

/** The shop's certificate is of its own authority, which nobody else believes: what comes here goes on to it. */
async function relayToShop() {
  const statuses = [];
  const server = http.createServer(async (request, answer) => {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const status = await post(Buffer.concat(pieces), request.headers["stripe-signature"]).catch(() => 503);
    statuses.push(status);
    answer.writeHead(status).end();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { statuses, url: `http://127.0.0.1:${server.address().port}/`, stop: () => server.close(server.closeAllConnections()) };
}

/** A plugin that signs what it is given with the shop's own primitives and sends it on, and who takes it there: Stripe's package. */
class Signer {
  static async start() {
    const signer = new Signer();
    signer.taken = [];
    signer.dir = tempDir("signer");
    fs.chmodSync(signer.dir, 0o755); // workers that are nobody read plugins there
    signer.server = http.createServer(async (request, answer) => {
      const pieces = [];
      for await (const piece of request) pieces.push(piece);
      const verdict = theirVerdict(Buffer.concat(pieces), request.headers["stripe-signature"], [SECRET]);
      signer.taken.push(verdict.event);
      answer.writeHead(verdict.isTaken ? 200 : 400).end();
    });
    await new Promise((resolve) => signer.server.listen(0, "127.0.0.1", resolve));
    return signer;
  }

  plugin() {
    const folder = path.join(this.dir, "notify-signer");
    fs.mkdirSync(folder);
    fs.writeFileSync(path.join(folder, "plugin.lua"), `return { name = "notify-signer", version = "1.0.0", api = 1, hooks = { "webhook.receive" },
  capabilities = { "http:127.0.0.1" }, config = {} }\n`);
    fs.writeFileSync(path.join(folder, "handler.lua"), `local crypto = require "till.prim.crypto"
local http = require "till.prim.http"
return { ["webhook.receive"] = function(_, request)
  local at = request.headers["x-at"]
  local mac = crypto.hex(crypto.hmac_sha256("${SECRET}", at .. "." .. request.body))
  local got = http.request { method = "POST", url = "http://127.0.0.1:${this.server.address().port}/", timeout_ms = 5000,
    headers = { ["stripe-signature"] = ("t=%s,v1=%s"):format(at, mac) }, body = request.body }
  return { status = got and got.status or 503 }
end }\n`);
    return ["--plugins", this.dir];
  }

  async send(body, at = nowS()) {
    const { status } = await shop.h2("POST", "/hooks/v1/notify-signer", { key: null, body, headers: { "content-type": "application/json", "x-at": String(at) } });
    return { status, event: this.taken.at(-1) };
  }

  stop() {
    this.server.close(this.server.closeAllConnections());
    fs.rmSync(this.dir, { recursive: true, force: true });
  }
}

/** What Stripe's package makes of it, as somebody with these secrets would ask it. */
function theirVerdict(body, signature, secrets) {
  for (const secret of secrets) {
    try {
      return { isTaken: true, event: new Stripe("sk_test_x").webhooks.constructEvent(body, signature, secret) };
    } catch { /* perhaps the next one */ }
  }
  return { isTaken: false };
}

const nowS = () => Math.floor(Date.now() / 1000);
const post = async (body, signature) => (await shop.h2("POST", "/hooks/v1/payment-stripe", { key: null, body,
  headers: { "content-type": "application/json", "stripe-signature": signature } })).status;
const signed = (body, secret, timestamp) => new Stripe("sk_test_x").webhooks.generateTestHeaderString({ payload: body, secret, timestamp });
const complete = (cart, key, body = {}) => shop.store("POST", `/carts/${cart.id}/complete`, { headers: idem(key), body });
const cartOf = async (cart) => assertOk(await shop.store("GET", `/carts/${cart.id}`), 200).cart;
const orderOf = async (id) => assertOk(await shop.admin("GET", `/orders/${id}`), 200).order;
const intentsOf = (cart) => stripe.world.all("payment_intent").filter((one) => one.metadata.cart === cart.id);
const inbox = async (query) => assertOk(await shop.admin("GET", `/webhooks?limit=100${query}`), 200).data;
const alerts = async (kind, state = "open") => assertOk(await shop.admin("GET", `/alerts?kind=${kind}${state === "any" ? "" : `&state=${state}`}`), 200).data;
const about = async (id) => (await inbox("")).filter((one) => one.subject === id);

async function ready(method = "pm_card_visa", of = variant) {
  const cart = await makeCart(shop, of.id, { quantity: 1 });
  assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "stripe", data: { payment_method: method } } }), 201);
  return cart;
}

const outcome = (cart, key = newKey(), body = {}) => until("the outcome is known", async () => {
  const answer = await complete(cart, key, body);
  return answer.status !== 202 && !["completion_in_progress", "idempotency_in_flight"].includes(answer.body.code) && answer;
}, 60_000);

const settled = (subject) => until("all of it is applied", async () => {
  const rows = await about(subject);
  return stripe.webhooks.isQuiet && rows.length > 0 && rows.every((one) => one.state !== "received") && rows;
}, 60_000);

async function bought(method) {
  const cart = await ready(method);
  const { order } = assertOk(await outcome(cart), 200);
  await until("it is captured", async () => (await orderOf(order.id)).payment_status === "captured", 60_000);
  const [intent] = intentsOf(cart);
  await settled(intent.id);
  return { cart, order: await orderOf(order.id), intent };
}

/** Waits at the bank; `back` is what the bank's page does. */
async function atTheBank(of) {
  const cart = await ready("pm_card_authenticationRequired", of);
  const asked = assertOk(await outcome(cart), 200);
  assert.equal(asked.error.code, "payment_requires_action");
  return { cart, back: () => fetch(asked.error.action.url, { method: "POST", body: "approved=true", redirect: "manual" }) };
}

const ordersOf = async (cart) => Number(await value(shop, `SELECT COUNT(*) FROM orders WHERE cart_id = ${bin(cart.id)}`));

describe("webhooks of Stripe", () => {
  for (const [why, rules] of [["twice", [{ match: {}, times: 20, duplicate: 1 }]], ["late and in reversed order", [{ match: {}, times: 20, hold: true }]],
    ["before the answers", [{ match: {}, times: 20, early: true }]]])
    it(`change nothing of a payment that is done: ${why}`, async () => {
      stripe.script.onEvent(...rules);
      const cart = await ready();
      const { order } = assertOk(await outcome(cart), 200);
      await until("it is captured", async () => (await orderOf(order.id)).payment_status === "captured", 60_000);
      stripe.script.clear();
      await stripe.do("release", { order: "reversed" });
      const [intent] = intentsOf(cart);
      const rows = await settled(intent.id);
      assert.deepEqual([...new Set(rows.map((one) => one.state))], ["applied"], JSON.stringify(rows));
      assert.deepEqual([...new Set(relay.statuses)], [200]);
      assert.equal(await value(shop, `SELECT SUM(amount) FROM ledger_entries WHERE order_id = ${bin(order.id)} AND account IN ('cash:stripe', 'fees:stripe')`), String(order.total.amount));
      const fees = stripe.world.all("balance_transaction").filter((one) => one.source === intent.latest_charge && one.type !== "refund").map((one) => one.fee);
      assert.equal(await value(shop, `SELECT GROUP_CONCAT(amount) FROM ledger_entries WHERE order_id = ${bin(order.id)} AND account = 'fees:stripe'`), String(fees), "once");
      assert.equal(await value(shop, `SELECT GROUP_CONCAT(reference) FROM payment_events WHERE kind = 'captured' AND payment_id = ${bin(intent.metadata.payment)}`), intent.latest_charge);
      stripe.check();
      await assertInvariants(shop);
    });

  it("are taken with both secrets, signed by Stripe's own package, and each is kept once", async () => {
    const body = JSON.stringify({ id: `evt_${newKey()}`, object: "event", type: "invoice.created", created: 1700000000, livemode: false, data: { object: { id: "in_1" } } });
    for (const secret of [SECRET, OLD, SECRET]) assert.equal(await post(body, signed(body, secret)), 200);
    const rows = (await inbox("&type=invoice.created")).filter((one) => one.event_id === JSON.parse(body).id);
    assert.deepEqual(rows.map((one) => [one.state, one.via]), [["ignored", "webhook"]]);
    assert.equal(assertOk(await shop.admin("GET", `/webhooks/${rows[0].id}`), 200).webhook.body.type, "invoice.created");
    const { key } = assertOk(await shop.admin("POST", "/keys", { headers: idem(), body: { name: "Viewer", kind: "secret", roles: ["viewer"] } }), 201);
    const seen = assertOk(await shop.h2("GET", `/admin/v1/webhooks/${rows[0].id}`, { key: key.key }), 200).webhook;
    assert.deepEqual([seen.type, "body" in seen], ["invoice.created", false], "people stand in it");
  });

  it("are refused and counted when they are not ours", async () => {
    const now = Math.floor(Date.now() / 1000);
    const make = (more) => JSON.stringify({ id: "evt_refused", object: "event", type: "charge.captured", created: now, livemode: false,
      data: { object: { id: "ch_1" } }, ...more });
    const live = make({ livemode: true }), connected = make({ account: "acct_other" }), good = make({});
    const cases = [[good, signed(good, "whsec_wrong"), "no_match"], [good, "", "malformed"], [good, signed(good, SECRET, now - 600), "stale"],
      [good, signed(good, SECRET, now + 600), "stale"], [live, signed(live, SECRET), "foreign"], [connected, signed(connected, SECRET), "foreign"],
      ["[1", signed("[1", SECRET), "no_event"]];
    for (const [body, signature, why] of cases) assert.equal(await post(body, signature), 400, why);
    assert.equal((await inbox("")).filter((one) => one.event_id === "evt_refused").length, 0);
  });

  describe("and Stripe's package", () => {
    const make = (more) => JSON.stringify({ id: `evt_${newKey()}`, object: "event", type: "invoice.created", created: 1700000000, livemode: false,
      data: { object: { id: "in_1" } }, ...more });
    const mac = (body, at, secret = SECRET) => createHmac("sha256", secret).update(`${at}.`).update(body).digest("hex");
    const bodies = { plain: make(), "letters of all kinds": make({ text: "ünïcode \u2028 \ud83c\udf75 \u0416 \"quoted\" \\\\" }), "blanks around": ` \r\n${make()}\n\t `,
      "line ends of its own": JSON.stringify(JSON.parse(make()), null, 2).replaceAll("\n", "\r\n"), "escapes of letters": make().replace("invoice", "\\u0069nvoice"),
      long: make({ text: "x".repeat(100_000) }) };

    for (const [why, body] of Object.entries(bodies)) {
      it(`take each other's signatures of a body: ${why}`, async () => {
        assert.equal(await post(body, signed(body, SECRET)), 200, "theirs");
        const ours = await signer.send(body);
        assert.equal(ours.status, 200, "ours");
        assert.deepEqual(ours.event, JSON.parse(body));
        assert.equal((await signer.send(body, nowS() - 400)).status, 400, "too old for both");
      });
    }

    // [header, body]: at is now, good the right signature of the body
    const at = nowS, Z = "0".repeat(64);
    const same = {
      "two signatures, the first one right": (b, t, good) => [`t=${t},v1=${good},v1=${Z}`, b],
      "two signatures, the second one right": (b, t, good) => [`t=${t},v1=${Z},v1=${good}`, b],
      "two signatures, none right": (b, t) => [`t=${t},v1=${Z},v1=${"f".repeat(64)}`, b],
      "of both secrets": (b, t, good) => [`t=${t},v1=${mac(b, t, OLD)},v1=${good}`, b],
      "of the former secret": (b, t) => [`t=${t},v1=${mac(b, t, OLD)}`, b],
      "of another secret": (b, t) => [`t=${t},v1=${mac(b, t, "whsec_other")}`, b],
      "of a secret with a blank behind it": (b, t) => [`t=${t},v1=${mac(b, t, `${SECRET} `)}`, b],
      "of the test scheme alone": (b, t, good) => [`t=${t},v0=${good}`, b],
      "of the test scheme beside a right one": (b, t, good) => [`t=${t},v0=${Z},v1=${good}`, b],
      "of a scheme to come alone": (b, t, good) => [`t=${t},v2=${good}`, b],
      "of a scheme that begins alike": (b, t, good) => [`t=${t},v11=${good}`, b],
      "of a scheme in capitals": (b, t, good) => [`t=${t},V1=${good}`, b],
      "the signature first": (b, t, good) => [`v1=${good},t=${t}`, b],
      "a blank behind the comma": (b, t, good) => [`t=${t}, v1=${good}`, b],
      "a blank before the signature": (b, t, good) => [`t=${t},v1= ${good}`, b],
      "half of the signature": (b, t, good) => [`t=${t},v1=${good.slice(0, 32)}`, b],
      "a digit more": (b, t, good) => [`t=${t},v1=${good}0`, b],
      "no signature": (b, t) => [`t=${t},v1=`, b],
      "no time": (b, t, good) => [`v1=${good}`, b],
      "an empty time": (b, t, good) => [`t=,v1=${good}`, b],
      "a time in words": (b) => [`t=now,v1=${mac(b, "now")}`, b],
      "a time before 1970": (b) => [`t=-1,v1=${mac(b, "-1")}`, b],
      "another time than was signed": (b, t, good) => [`t=${t - 1},v1=${good}`, b],
      "almost too old": (b, t) => [`t=${t - 290},v1=${mac(b, t - 290)}`, b],
      "too old": (b, t) => [`t=${t - 310},v1=${mac(b, t - 310)}`, b],
      "of years ago": (b) => [`t=1500000000,v1=${mac(b, 1500000000)}`, b],
      "a clock that is a little ahead": (b, t) => [`t=${t + 60},v1=${mac(b, t + 60)}`, b],
      "no header": (b) => [undefined, b],
      "an empty header": (b) => ["", b],
      "nonsense": (b) => ["=,=,,", b],
      "a body with a blank behind it": (b, t, good) => [`t=${t},v1=${good}`, `${b} `],
      "a body with another line end": (b, t) => [`t=${t},v1=${mac(`${b}\n`, t)}`, `${b}\r\n`],
      "a body with another letter": (b, t, good) => [`t=${t},v1=${good}`, b.replace("in_1", "in_2")],
      "a body whose letters were composed anew": (_, t) => [`t=${t},v1=${mac(make({ id: "evt_nfc", text: "\u00e9" }), t)}`, make({ id: "evt_nfc", text: "e\u0301" })],
      "a body that was written anew": (b, t, good) => [`t=${t},v1=${good}`, JSON.stringify(JSON.parse(b), null, 1)],
      "a body with a mark of its order of bytes": (b, t) => [`t=${t},v1=${mac(`\ufeff${b}`, t)}`, `\ufeff${b}`],
      "a body that is no UTF-8": (_, t) => broken(t),
      "no body": (_, t) => [`t=${t},v1=${mac("", t)}`, ""],
      "a body of blanks": (_, t) => [`t=${t},v1=${mac("  ", t)}`, "  "],
      "a body that is no JSON": (_, t) => [`t=${t},v1=${mac("{", t)}`, "{"],
    };
    function broken(t) {
      const bytes = Buffer.from(make({ text: "?" }));
      bytes[bytes.lastIndexOf("?")] = 0xff;
      return [`t=${t},v1=${mac(bytes, t)}`, bytes];
    }
    async function verdicts(makeCase) {
      const t = at(), body = make();
      const [header, sent] = makeCase(body, t, mac(body, t));
      const ours = await post(sent, header);
      return { ours, theirs: theirVerdict(Buffer.from(sent), header, [SECRET, OLD]).isTaken };
    }
    for (const [why, makeCase] of Object.entries(same)) {
      it(`say the same: ${why}`, async () => {
        const { ours, theirs } = await verdicts(makeCase);
        assert.equal(ours, theirs ? 200 : 400);
      });
    }

    // Stripe sends none of these. Where we are stricter, nothing that it sends is lost; where we take more, it bears its secret.
    const differs = {
      "a clock that is ahead by more than the tolerance: kept, it could be sent again for as long": [400, (b, t) => [`t=${t + 600},v1=${mac(b, t + 600)}`, b]],
      "a signature of another length beside a right one: what is no HMAC-SHA256 was not made by Stripe": [400, (b, t, good) => [`t=${t},v1=abc,v1=${good}`, b]],
      "something behind the signature": [400, (b, t, good) => [`t=${t},v1=${good}=x`, b]],
      "something behind the time, which they leave out of what is signed": [400, (b, t, good) => [`t=${t}x,v1=${good}`, b]],
      "a sign before the time": [400, (b, t, good) => [`t=+${t},v1=${good}`, b]],
      "two times: which of them was signed is a guess": [400, (b, t, good) => [`t=${t - 1},t=${t},v1=${good}`, b]],
      "an item without a value": [400, (b, t, good) => [`t=${t},v1=${good},x`, b]],
      "a comma at the end": [400, (b, t, good) => [`t=${t},v1=${good},`, b]],
      "more signatures than there are secrets anywhere: each costs a comparison": [400, (b, t, good) => [`t=${t},${`v1=${Z},`.repeat(16)}v1=${good}`, b]],
      "the same digits in capitals: we compare bytes, they compare letters": [200, (b, t, good) => [`t=${t},v1=${good.toUpperCase()}`, b]],
      "a zero before the time that was signed with it: they sign the number, we the digits": [200, (b, t) => [`t=0${t},v1=${mac(b, `0${t}`)}`, b]],
    };
    for (const [why, [status, makeCase]] of Object.entries(differs)) {
      it(`differ about ${why}`, async () => {
        const { ours, theirs } = await verdicts(makeCase);
        assert.deepEqual([ours, theirs], [status, status !== 200]);
      });
    }
  });

  it("of a payment that is not ours are parked, told to staff, and can be replayed", async () => {
    const client = new Stripe(stripe.key, { host: "127.0.0.1", port: new URL(stripe.url).port, protocol: "http", apiVersion: "2023-08-16" });
    const made = await client.paymentIntents.create({ amount: 500, currency: "gbp", payment_method: "pm_card_visa", confirm: true,
      return_url: "https://x.example/", payment_method_types: ["card"], metadata: { payment: "pay_01ARZ3NDEKTSV4RRFFQ69G5FAV", cart: "cart_x" } });
    const rows = await settled(made.id);
    const mine = rows.filter((one) => one.state === "parked");
    assert.ok(mine.length > 0, JSON.stringify(rows));
    assert.match(mine[0].reason, /no payment/);
    assert.ok((await alerts("webhook.parked")).some((one) => one.subject === `payment-stripe:${made.id}`));
    assertOk(await shop.admin("POST", `/webhooks/${mine[0].id}/replay`, { headers: idem(), body: { reason: "looked at it" } }), 200);
    await settled(made.id);
    assert.equal((await shop.admin("POST", "/webhooks/999999999/replay", { headers: idem(), body: { reason: "x" } })).status, 404);
  });
});

describe("events that never came", () => {
  it("are read from Stripe, and the payment is an order all the same", async () => {
    stripe.script.onEvent({ match: {}, times: 50, drop: true });
    const { cart, back } = await atTheBank();
    await back();
    assertOk(await shop.admin("POST", "/jobs/schedules/server:poll-webhooks/run", { headers: idem(), body: {} }), 202);
    const seen = await until("it is bought", async () => {
      const now = await cartOf(cart);
      return now.state === "completed" && now;
    }, 60_000);
    assert.equal(await ordersOf(cart), 1);
    const rows = await settled(intentsOf(cart)[0].id);
    assert.ok(rows.some((one) => one.via === "poll"), JSON.stringify(rows));
    await until("it is captured", async () => (await orderOf(seen.order_id)).payment_status === "captured", 60_000);
  });
});

describe("a shopper who paid at his bank", () => {
  it("and never came back has his order", async () => {
    const { cart, back } = await atTheBank();
    await back();
    const seen = await until("it is bought", async () => {
      const now = await cartOf(cart);
      return now.state === "completed" && now;
    }, 60_000);
    await until("it is captured", async () => (await orderOf(seen.order_id)).payment_status === "captured", 60_000);
    assert.equal(stripe.taken({ cart: cart.id }), (await orderOf(seen.order_id)).total.amount);
    await assertInvariants(shop);
  });

  it("with two cards has his order with the second, and none before", async () => {
    const cart = await makeCart(shop, variant.id, { quantity: 1 });
    const amount = { amount: 100, currency: cart.total.currency }, data = { payment_method: "pm_card_authenticationRequired" };
    for (const more of [{ amount }, {}])
      assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "stripe", data, ...more } }), 201);
    const back = async () => fetch(assertOk(await outcome(cart), 200).error.action.url, { method: "POST", body: "approved=true", redirect: "manual" });
    await back();
    assert.deepEqual((await settled(intentsOf(cart)[0].id)).map((one) => one.state).filter((state) => state !== "applied"), []);
    assert.equal(await ordersOf(cart), 0);
    await back();
    const seen = await until("it is bought", async () => {
      const now = await cartOf(cart);
      return now.state === "completed" && now;
    }, 60_000);
    const order = await until("both are captured", async () => {
      const now = await orderOf(seen.order_id);
      return now.payment_status === "captured" && now;
    }, 60_000);
    assert.equal(order.payments.length, 2);
    assert.equal(stripe.taken({ cart: cart.id }), order.total.amount);
    stripe.check();
    await assertInvariants(shop);
  });

  it("and comes back at the same moment has one order", async () => {
    const { cart, back } = await atTheBank();
    await back();
    const answers = await Promise.all(Array.from({ length: 4 }, () => outcome(cart, newKey(), { data: { returned: true } })));
    assert.deepEqual(new Set(answers.map((one) => one.body.type)), new Set(["order"]), JSON.stringify(answers.map((one) => one.body)));
    assert.equal(new Set(answers.map((one) => one.body.order.id)).size, 1);
    await settled(intentsOf(cart)[0].id);
    assert.equal(await ordersOf(cart), 1);
    stripe.check();
  });

  /** Sent to Stripe's own page; he has not paid there yet. */
  async function atThePage() {
    const cart = await makeCart(shop, variant.id, { quantity: 1 });
    assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "stripe", data: { checkout: true } } }), 201);
    assert.equal(assertOk(await outcome(cart), 200).error.code, "payment_requires_action");
    return { cart, page: stripe.world.all("checkout.session").find((one) => one.metadata.cart === cart.id) };
  }

  it("on Stripe's own page, after a card that was declined there, and shut it, has his order", async () => {
    const { cart, page } = await atThePage();
    await Promise.resolve().then(() => stripe.do("pay", { session: page.id, payment_method: "pm_card_visa_chargeDeclined" })).catch(() => {});
    const [intent] = intentsOf(cart);
    assert.deepEqual(new Set((await settled(intent.id)).map((one) => one.state)), new Set(["applied"]), "a card that was declined fits");
    stripe.do("pay", { session: page.id });
    const seen = await until("it is bought", async () => {
      const now = await cartOf(cart);
      return now.state === "completed" && now;
    }, 60_000);
    await until("it is captured", async () => (await orderOf(seen.order_id)).payment_status === "captured", 60_000);
    assert.equal(stripe.taken({ cart: cart.id }), (await orderOf(seen.order_id)).total.amount);
    for (const one of intentsOf(cart)) assert.deepEqual(new Set((await settled(one.id)).map((row) => row.state)), new Set(["applied"]));
  });

  it("has his order with that payment, whatever else he chose meanwhile and did not confirm", async () => {
    const { cart, page } = await atThePage();
    const { body } = await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "stripe", data: { payment_method: "pm_card_visa" } } });
    stripe.do("pay", { session: page.id });
    const seen = await until("it is bought", async () => {
      const now = await cartOf(cart);
      return now.state === "completed" && now;
    }, 60_000);
    const states = await query(shop, `SELECT state, order_id IS NOT NULL FROM payments WHERE cart_id = ${bin(cart.id)} ORDER BY id`);
    assert.equal(states[1][0], "voided", JSON.stringify([states, body]));
    assert.equal(String(states[0][1]), "1", JSON.stringify(states));
    assert.equal(intentsOf(cart).length, 1, "Stripe never heard of the other");
    await until("it is captured", async () => (await orderOf(seen.order_id)).payment_status === "captured", 60_000);
    stripe.check();
  });

  it("has his money back where there is nothing left", async () => {
    const last = (await makeProduct(shop, { stock: 1 })).variant;
    const { cart, back } = await atTheBank(last);
    await shop.admin("POST", `/inventory/${encodeURIComponent(last.sku)}/counts`, { headers: idem(), body: { quantity: 0, taken_at: new Date().toISOString(), location: "main", reason: "lost" } });
    await value(shop, `DELETE FROM reservations WHERE cart_id = ${bin(cart.id)}`).catch(() => {});
    await back();
    const [intent] = intentsOf(cart);
    await settled(intent.id);
    const told = (await alerts("payment.given_back", "any")).find((one) => one.detail.cart_id === cart.id);
    assert.ok(told, JSON.stringify([await about(intent.id), await cartOf(cart)]));
    assert.equal(stripe.taken({ cart: cart.id }), 0);
    assert.equal((await cartOf(cart)).state, "open");
    assert.equal(await ordersOf(cart), 0);
    const row = await value(shop, `SELECT reason FROM payments WHERE cart_id = ${bin(cart.id)}`);
    assert.equal(row, told.detail.reason);
    await shop.admin("POST", `/inventory/${encodeURIComponent(last.sku)}/counts`, { headers: idem(), body: { quantity: 5, taken_at: new Date().toISOString(), location: "main", reason: "found" } });
    const asked = assertOk(await outcome(cart), 200);
    assert.equal(asked.error?.code, "payment_declined", JSON.stringify(asked));
    assert.ok(asked.error.detail.includes(row), asked.error.detail);
    stripe.check();
  });
});

// Last: the look at the books (support/db.mjs) knows of no dispute, and of no money that was given back without a cancellation.
const ledger = (order, account) => value(shop, `SELECT COALESCE(SUM(amount), 0) FROM ledger_entries WHERE order_id = ${bin(order.id)} AND account = '${account}'`).then(Number);

const gross = async (order) => (await ledger(order, "cash:stripe")) + (await ledger(order, "fees:stripe"));

describe("what happens at Stripe alone", () => {
  for (const won of [true, false])
    it(`is booked: a dispute that is ${won ? "won" : "lost"}`, async () => {
      const { order, intent, cart } = await bought();
      const total = order.total.amount;
      const dispute = await stripe.do("dispute", { charge: intent.latest_charge });
      await until("it is told", async () => (await alerts("payment.disputed")).some((one) => one.detail.order_id === order.id), 60_000);
      assert.equal(await ledger(order, "disputed:stripe"), total);
      await stripe.do("decide", { dispute: dispute.id, won });
      await until("it is decided", async () => (await ledger(order, "disputed:stripe")) === 0, 60_000);
      await settled(intent.id);
      assert.equal(await ledger(order, "losses:stripe"), won ? 0 : total);
      assert.equal((await alerts("payment.disputed")).filter((one) => one.detail.order_id === order.id).length, 0);
      await stripe.do("replay", { event: stripe.webhooks.deliveries.find((one) => one.type === "charge.dispute.created" && one.body.includes(dispute.id)).event });
      await settled(intent.id);
      assert.equal(await ledger(order, "disputed:stripe"), 0);
      assert.equal((await ordersOf(cart)), 1);
    });

  it("is booked: a refund of the dashboard, once", async () => {
    const { order, intent } = await bought();
    const client = new Stripe(stripe.key, { host: "127.0.0.1", port: new URL(stripe.url).port, protocol: "http", apiVersion: "2023-08-16" });
    await client.refunds.create({ payment_intent: intent.id, amount: 100 });
    await until("it is booked", async () => (await gross(order)) === order.total.amount - 100, 60_000);
    await client.refunds.create({ payment_intent: intent.id, amount: 100 });
    await until("the second is booked", async () => (await gross(order)) === order.total.amount - 200, 60_000);
    await settled(intent.id);
    assert.equal(await gross(order), order.total.amount - 200);
    assert.equal((await orderOf(order.id)).payment_status, "partially_refunded");
  });

  /** An order whose own capture is never heard at Stripe; somebody there does `act` instead. */
  async function notCaptured(act) {
    const cart = await ready();
    const { total } = await cartOf(cart);
    stripe.script.on({ match: { method: "POST", path: "/v1/payment_intents/[^/]+/capture", params: { amount_to_capture: total.amount } }, times: 1000, reset: "before" });
    const { order } = assertOk(await outcome(cart), 200);
    const [intent] = intentsOf(cart);
    const client = new Stripe(stripe.key, { host: "127.0.0.1", port: new URL(stripe.url).port, protocol: "http", apiVersion: "2023-08-16" });
    await act(client.paymentIntents, intent.id);
    return { order, intent, rows: await settled(intent.id) };
  }

  it("is told to staff: an authorization that is cancelled there while its order waits for the money", async () => {
    const { order } = await notCaptured((intents, id) => intents.cancel(id));
    assert.equal((await orderOf(order.id)).payment_status, "voided");
    assert.equal((await alerts("payment.lost_authorization")).filter((one) => one.detail.order_id === order.id).length, 1);
  });

  it("pays for nothing where another amount is captured there", async () => {
    const { order, rows } = await notCaptured((intents, id) => intents.capture(id, { amount_to_capture: 100 }));
    assert.match(rows.find((one) => one.state === "parked")?.reason ?? "", /captured with 100/, JSON.stringify(rows));
    assert.equal((await orderOf(order.id)).payment_status, "authorized");
    assert.equal(await gross(order), 0);
  });

  it("is asked about once, refunds and all, and once more where there are more than come with the charge", async () => {
    const { intent, order } = await bought();
    const client = new Stripe(stripe.key, { host: "127.0.0.1", port: new URL(stripe.url).port, protocol: "http", apiVersion: "2023-08-16" });
    const lists = () => stripe.calls.filter((one) => one.method === "GET" && one.path === "/v1/refunds" && one.query.includes(intent.id)).length;
    await settled(intent.id);
    const before = lists();
    await client.refunds.create({ payment_intent: intent.id, amount: 30 });
    await settled(intent.id);
    assert.equal(await gross(order), order.total.amount - 30);
    assert.equal(lists(), before);
    for (let i = 0; i < 11; i++) await client.refunds.create({ payment_intent: intent.id, amount: 10 + i });
    await settled(intent.id);
    assert.equal(await gross(order), order.total.amount - 30 - 165);
    assert.ok(lists() > before);
  });

  const failedOf = async (order) => (await alerts("refund.failed")).filter((one) => one.detail.order_id === order.id);

  it("is taken back in the books: a refund of the shop's that failed late, and is given again once", async () => {
    const { intent, order } = await bought();
    const total = order.total.amount;
    const { refund } = assertOk(await shop.admin("POST", `/orders/${order.id}/refunds`, { headers: idem(), body: { amount: { amount: 150, currency: "GBP" },
      reason: "a scratch" } }));
    const now = async () => assertOk(await shop.admin("GET", `/refunds/${refund.id}`), 200).refund.state;
    await until("it is back", async () => (await now()) === "done", 60_000);
    const refunds = () => stripe.world.allOf("refund", intent.id).filter((one) => one.metadata.refund);
    await settled(intent.id);
    await stripe.do("fail_refund", { refund: refunds()[0].id });
    await until("staff are told", async () => (await failedOf(order)).length === 1, 60_000);
    for (const { event } of stripe.webhooks.deliveries.filter((one) => one.body.includes(refunds()[0].id))) await stripe.do("replay", { event });
    await settled(intent.id);
    const seen = await orderOf(order.id);
    assert.deepEqual([seen.payment_status, seen.refunds[0].state, seen.refunds[0].failure.reference, await now()],
      ["captured", "pending", refunds()[0].id, "failed"]);
    assert.match(seen.refunds[0].failure.reason, /lost_or_stolen_card/);
    assert.deepEqual([await gross(order), await ledger(order, "receivable"), await ledger(order, "goodwill")], [total, -150, 150]);
    const [saga] = assertOk(await shop.admin("GET", `/sagas?aggregate=${refund.id}`), 200).data;
    assertOk(await shop.admin("POST", `/sagas/${saga.id}/retry`, { headers: idem(), body: { reason: "he has another card" } }), 200);
    await until("it is given again", async () => (await now()) === "done", 60_000);
    await settled(intent.id);
    assert.deepEqual(refunds().map((one) => one.status).sort(), ["failed", "succeeded"]);
    assert.equal(new Set(refunds().map((one) => one.metadata.refund)).size, 2);
    assert.deepEqual([await gross(order), await ledger(order, "receivable"), (await failedOf(order)).length], [total - 150, 0, 0]);
    assert.equal((await orderOf(order.id)).payment_status, "partially_refunded");
    stripe.check();
  });

  it("is taken back in the books: a refund of the dashboard that failed, told in any order, or polled", async () => {
    const { intent, order } = await bought();
    const total = order.total.amount;
    const client = new Stripe(stripe.key, { host: "127.0.0.1", port: new URL(stripe.url).port, protocol: "http", apiVersion: "2023-08-16" });
    stripe.script.onEvent({ match: {}, times: 50, hold: true });
    const first = await client.refunds.create({ payment_intent: intent.id, amount: 100 });
    await stripe.do("fail_refund", { refund: first.id });
    await client.refunds.create({ payment_intent: intent.id, amount: 50 });
    stripe.script.clear();
    await stripe.do("release", { order: "reversed" });
    const rows = await settled(intent.id);
    assert.ok(rows.every((one) => one.state === "applied"), JSON.stringify(rows));
    assert.deepEqual([await gross(order), (await failedOf(order)).map((one) => one.detail.reference)], [total - 50, [first.id]]);
    const second = await client.refunds.create({ payment_intent: intent.id, amount: 70 });
    await until("it is booked", async () => (await gross(order)) === total - 120, 60_000);
    assert.equal((await failedOf(order)).length, 1, "that is less than what failed");
    stripe.script.onEvent({ match: {}, times: 50, drop: true });
    await stripe.do("fail_refund", { refund: second.id });
    assertOk(await shop.admin("POST", "/jobs/schedules/server:poll-webhooks/run", { headers: idem(), body: {} }), 202);
    await until("it is polled", async () => (await failedOf(order)).length === 2, 60_000);
    assert.equal(await gross(order), total - 50);
    stripe.script.clear();
    await client.refunds.create({ payment_intent: intent.id, amount: 100 });
    await until("what failed is given again", async () => (await failedOf(order)).length === 0, 60_000);
    assert.equal(await gross(order), total - 150);
  });

  it("is booked: two disputes of one payment at once, each by itself", async () => {
    const { intent, order } = await bought();
    const one = await stripe.do("dispute", { charge: intent.latest_charge, amount: 100 });
    const two = await stripe.do("dispute", { charge: intent.latest_charge, amount: 250 });
    await until("both are told", async () => (await ledger(order, "disputed:stripe")) === 350, 60_000);
    await stripe.do("decide", { dispute: two.id, won: false });
    await until("one is lost", async () => (await ledger(order, "losses:stripe")) === 250, 60_000);
    assert.equal(await ledger(order, "disputed:stripe"), 100);
    assert.equal((await orderOf(order.id)).payments[0].state, "disputed");
    await stripe.do("decide", { dispute: one.id, won: true });
    await until("the other is won", async () => (await ledger(order, "disputed:stripe")) === 0, 60_000);
    const rows = await settled(intent.id);
    assert.ok(rows.every((row) => row.state === "applied"), JSON.stringify(rows));
    assert.deepEqual([await ledger(order, "losses:stripe"), (await orderOf(order.id)).payments[0].state], [250, "lost"]);
  });

  for (const point of ["after_claim", "before_commit", "after_commit"])
    it(`is booked once, though the worker is killed at webhook.${point}`, async () => {
      const { order, intent } = await bought();
      const fault = async (n) => (await control(shop, `fault webhook.${point}=${n}`)).left;
      await fault(1);
      const client = new Stripe(stripe.key, { host: "127.0.0.1", port: new URL(stripe.url).port, protocol: "http", apiVersion: "2023-08-16" });
      await client.refunds.create({ payment_intent: intent.id, amount: 100 });
      const booked = async () => (await gross(order)) === order.total.amount - 100;
      await until("it is booked", async () => {
        await value(shop, "UPDATE webhook_events SET next_at = NOW(3) WHERE state = 'received' AND next_at > NOW(3) + INTERVAL 110 SECOND"); // leases
        return (await booked()) && (await about(intent.id)).every((one) => one.state === "applied");
      }, 60_000);
      assert.equal(await fault(0), 0, "it was killed");
      assert.ok(await booked());
      assert.equal(await value(shop, `SELECT COUNT(*) FROM order_events WHERE order_id = ${bin(order.id)} AND type = 'refunded'`), "1");
    });
});

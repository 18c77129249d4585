// Flows that cannot go on: they wait, are parked, and staff retry or resolve them. Nobody pays twice, no paid order is lost.
import assert from "node:assert/strict";
import fs from "node:fs";
import { after, before, describe, it } from "node:test";
import { Shop, idem, makeCart, makeProduct, newKey, tempDir, until } from "./support/shop.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";
import { assertInvariants, bin, count, query, value } from "./support/db.mjs";
import { Provider } from "./support/provider.mjs";

const MINUTE = 60_000;

let shop, provider, plugins, tea;
before(async () => {
  provider = await Provider.start();
  plugins = tempDir("plugins");
  shop = await Shop.start({ args: ["--no-demo", "--set", "cart.completion_claim_ms=1000", "--set", "idem.lease_ms=1000",
    "--set", "jobs.park_attempts=2", ...provider.plugin(plugins)] });
  tea = await makeProduct(shop, { stock: 1000, price: 999 });
});
after(async () => {
  provider?.stop();
  await shop?.stop();
  if (plugins) fs.rmSync(plugins, { recursive: true, force: true });
});

const complete = (cart, key = newKey()) => shop.store("POST", `/carts/${cart.id}/complete`, { headers: idem(key), body: {} });
const sagasOf = async (aggregate) => assertOk(await shop.admin("GET", `/sagas?aggregate=${aggregate}`), 200).data;
const act = (saga, what, body, key) => shop.admin("POST", `/sagas/${saga.id}/${what}`, { headers: idem(key), body });
const isParked = (aggregate) => until("it is parked", async () => {
  const [saga] = await sagasOf(aggregate);
  return saga?.state === "parked" && saga;
}, MINUTE);

/** A cart whose completion has no outcome: the provider has the money (`lost`) or never heard of it (`never`), and is silent. */
async function stuck(token, quantity = 2) {
  const cart = await makeCart(shop, tea.variant.id, { quantity });
  assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "probe", data: { token } } }), 201);
  const waits = complete(cart);
  await until("the provider was asked", () => provider.calls.some((c) => c.order === cart.id));
  provider.isSilent = true;
  const first = await waits;
  if (first.status !== 202) assert.equal(first.body.type, "order", first.text);
  return { cart, isOrder: first.status !== 202 };
}

/** The same, surely without an outcome: lookups are silent from the start. */
async function parkedCheckout(token) {
  for (;;) {
    provider.isSilent = false;
    const { cart, isOrder } = await stuck(token);
    if (!isOrder && (await sagasOf(cart.id))[0]?.state !== "done") return { cart, saga: await isParked(cart.id) };
  }
}

const metric = async (name) => (await shop.ops("/metrics")).text.split("\n").find((line) => line.startsWith(name));

describe("a checkout that has no outcome", () => {
  it("is parked, seen and counted, and is an order once it is retried", async () => {
    const { cart, saga } = await parkedCheckout("lost");
    assert.deepEqual([saga.name, saga.step], ["checkout", "authorize"]);
    assert.match(saga.error, /unknown_outcome/);
    assert.ok(!JSON.stringify(saga).includes("Lovelace"), "no name, no address");
    await until("it is counted", async () => / [1-9]/.test(await metric('till_sagas{name="checkout",state="parked"}') ?? ""), MINUTE);
    assert.equal((await complete(cart)).status, 202);
    const { history } = assertOk(await shop.admin("GET", `/sagas/${saga.id}`), 200).saga;
    assert.deepEqual([history[0].type, history.at(-1).type], ["attempt", "parked"]);

    provider.isSilent = false;
    const key = newKey();
    const reason = { reason: "they answer again" };
    assertOk(await act(saga, "retry", reason, key), 200);
    assert.equal((await act(saga, "retry", reason, key)).headers["idempotent-replayed"], "true");
    const { order } = await until("it is an order", async () => {
      const answer = await complete(cart);
      return answer.status === 200 && answer.body;
    }, MINUTE);
    await until("it is captured", async () => provider.chargesOf(cart.id)[0].state === "captured", MINUTE);
    assert.equal(provider.chargesOf(cart.id).length, 1);
    const events = assertOk(await shop.admin("GET", `/orders/${order.id}/timeline`), 200).data.map((e) => e.type);
    assert.deepEqual(events.filter((type) => type !== "captured"), ["checkout_attempt", "checkout_parked", "checkout_retried", "placed"]);
    await until("the books are written", async () => (await count(shop, "outbox", "state = 'pending'")) === 0, MINUTE);
    await assertInvariants(shop);
  });

  it("cannot be talked away where the provider has the money", async () => {
    const { cart, saga } = await parkedCheckout("lost");
    const payment = assertOk(await shop.admin("GET", "/payments?limit=1"), 200).data[0];
    assert.equal(payment.cart_id, cart.id);
    const undone = { as: "undone", reason: "nobody pays", payments: [{ id: payment.id, outcome: "not_found" }] };
    assertProblem(await act(saga, "resolve", { ...undone, payments: [] }), 409, "conflict");
    assertProblem(await act(saga, "resolve", { as: "done", reason: "it is there" }), 409, "conflict");
    provider.isSilent = false;
    assertProblem(await act(saga, "resolve", undone), 409, "conflict");
    assertOk(await act(saga, "retry", { reason: "it is paid" }), 200);
    await until("it is an order", async () => (await count(shop, "orders", `cart_id = ${bin(cart.id)}`)) === 1, MINUTE);
    await until("the books are written", async () => (await count(shop, "outbox", "state = 'pending'")) === 0, MINUTE);
    await assertInvariants(shop);
  });

  it("is undone by hand where nobody was charged, and the shopper buys with another payment", async () => {
    const { cart, saga } = await parkedCheckout("never");
    const before = await value(shop, "SELECT SUM(reserved) FROM stock");
    const payment = assertOk(await shop.admin("GET", "/payments?limit=1"), 200).data[0];
    const undone = { as: "undone", reason: "not in their pages", payments: [{ id: payment.id, outcome: "not_found" }] };
    const all = await Promise.all([1, 2, 3].map(() => act(saga, "resolve", undone)));
    assert.deepEqual(all.map((a) => a.status).sort(), [200, 409, 409], all.map((a) => a.text).join("\n"));
    assert.equal(Number(before) - Number(await value(shop, "SELECT SUM(reserved) FROM stock")), 2);
    provider.isSilent = false;
    const audit = assertOk(await shop.admin("GET", `/audit?subject=saga:${saga.id}`), 200).data;
    assert.deepEqual(audit.map((entry) => [entry.action, entry.detail.reason]), [["saga.resolve", "not in their pages"]]);
    assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "probe", data: { token: "ok" } } }), 201);
    assert.equal(assertOk(await complete(cart), 200).type, "order");
    await until("the books are written", async () => (await count(shop, "outbox", "state = 'pending'")) === 0, MINUTE);
    await assertInvariants(shop);
  });

  it("is retried and resolved at the same time by one of the two", async () => {
    const { cart, saga } = await parkedCheckout("never");
    const payment = assertOk(await shop.admin("GET", "/payments?limit=1"), 200).data[0];
    const [retried, resolved] = await Promise.all([act(saga, "retry", { reason: "once more" }),
      act(saga, "resolve", { as: "undone", reason: "gone", payments: [{ id: payment.id, outcome: "not_found" }] })]);
    assert.deepEqual([retried.status, resolved.status].sort(), [200, 409], `${retried.text}\n${resolved.text}`);
    provider.isSilent = false;
    if (retried.status === 200) await until("it is over", async () => (await sagasOf(cart.id))[0].state === "undone", MINUTE);
    await assertInvariants(shop);
  });
});

describe("moontill sagas", () => {
  const sagas = (...args) => shop.cli("sagas", ...args);
  const asking = (...args) => shop.cli("sagas", ...args, ...provider.plugin(plugins));
  const refused = (done, code, why) => {
    assert.equal(done.code, code, done.stdout + done.stderr);
    assert.match(done.stderr, why);
  };

  it("lists what is parked with its reason, and is used as it says", async () => {
    const { cart, saga } = await parkedCheckout("never");
    const listed = await sagas();
    assert.equal(listed.code, 0, listed.stderr);
    assert.match(listed.stdout, new RegExp(`^${saga.id}  parked   checkout     authorize  since \\S+  ${cart.id}\\n    unknown_outcome`, "m"));
    const [row] = JSON.parse((await sagas("list", "--json")).stdout).data.filter((one) => one.id === saga.id);
    assert.deepEqual([row.state, row.step, row.aggregate], ["parked", "authorize", cart.id]);
    assert.ok(!JSON.stringify(row).includes("Lovelace"), "no name, no address");
    for (const [wrong, why] of [[["sell"], /list, retry or resolve/], [["retry", saga.id], /--reason/], [["resolve", "--reason", "x"], /number/],
      [["resolve", saga.id, "--reason", "x", "--as", "gone"], /done or undone/], [["retry", saga.id, "--reason"], /needs a value/],
      [["resolve", saga.id, "--reason", "x", "--payment", "pay_1=paid"], /not_found/], [["retry", saga.id, "--reason", "x".repeat(256)], /255/]])
      refused(await sagas(...wrong.map(String)), 2, why);
    refused(await sagas("retry", "999999999", "--reason", "x"), 1, /no such saga/);
    refused(await sagas("resolve", String(saga.id), "--reason", "x"), 1, /--as done/);

    const payment = assertOk(await shop.admin("GET", "/payments?limit=1"), 200).data[0];
    const undone = ["resolve", String(saga.id), "--as", "undone", "--reason", "not in their pages", "--author", "ada"];
    refused(await sagas(...undone, "--payment", `${payment.id}=not_found`), 1, /payment-probe is not loaded/);
    refused(await asking(...undone), 1, /nobody knows/);
    const done = await asking(...undone, "--payment", `${payment.id}=not_found`);
    assert.equal(done.code, 0, done.stderr);
    assert.equal((await sagasOf(cart.id))[0].state, "undone");
    const audit = assertOk(await shop.admin("GET", `/audit?subject=saga:${saga.id}`), 200).data;
    assert.deepEqual(audit.map((entry) => [entry.action, entry.actor, entry.detail.reason]),
      [["saga.resolve", "command:ada", "not in their pages"]]);
    refused(await asking(...undone), 1, /only a parked one/);
    provider.isSilent = false;
    await assertInvariants(shop);
  });

  it("talks no money away, and goes on with what is paid", async () => {
    const { cart, saga } = await parkedCheckout("lost");
    const payment = assertOk(await shop.admin("GET", "/payments?limit=1"), 200).data[0];
    provider.isSilent = false;
    refused(await asking("resolve", String(saga.id), "--as", "undone", "--reason", "x", "--payment", `${payment.id}=not_found`), 1,
      /authorized at its provider/);
    const done = await sagas("retry", String(saga.id), "--reason", "they answer again");
    assert.equal(done.code, 0, done.stderr);
    await until("it is an order", async () => (await count(shop, "orders", `cart_id = ${bin(cart.id)}`)) === 1, MINUTE);
    await until("the books are written", async () => (await count(shop, "outbox", "state = 'pending'")) === 0, MINUTE);
    await assertInvariants(shop);
  });
});

describe("a refund that the provider refuses", () => {
  async function refusedRefund() {
    const cart = await makeCart(shop, tea.variant.id, { quantity: 3 });
    assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "probe", data: { token: "ok" } } }), 201);
    const { order } = assertOk(await complete(cart), 200);
    const charge = await until("it is captured", async () => {
      const [one] = provider.chargesOf(cart.id);
      return one.state === "captured" && (await value(shop, `SELECT payment_status FROM orders WHERE id = ${bin(order.id)}`)) === "captured" && one;
    }, MINUTE);
    charge.state = "disputed";
    const answer = await shop.admin("POST", `/orders/${order.id}/cancel`, { headers: idem(), body: { reason: "out of print" } });
    assert.deepEqual([answer.status, answer.body.cancellation.state], [202, "pending"], answer.text);
    return { order, charge, saga: await isParked(answer.body.cancellation.id) };
  }

  it("is given back in another way, and never again by the provider", async () => {
    const { order, charge, saga } = await refusedRefund();
    assert.match(saga.error, /disputed/);
    assertProblem(await act(saga, "resolve", { as: "undone", reason: "sell it" }), 409, "conflict");
    assertOk(await act(saga, "resolve", { as: "done", reason: "bank transfer 4711" }), 200);
    charge.state = "captured";
    assertProblem(await act(saga, "retry", { reason: "again" }), 409, "conflict");
    assert.equal(charge.refunded, undefined);
    const { data } = assertOk(await shop.admin("GET", `/orders/${order.id}/timeline?limit=100`), 200);
    const last = data.at(-2);
    assert.deepEqual([last.type, last.data.by_hand, last.data.reason, last.actor_kind], ["refunded", true, "bank transfer 4711", "key"]);
    assert.equal(data.at(-1).type, "cancellation_resolved");
    await assertInvariants(shop);
  });

  it("goes on when it is retried", async () => {
    const { order, charge, saga } = await refusedRefund();
    charge.state = "captured";
    assertOk(await act(saga, "retry", { reason: "the dispute is over" }), 200);
    await until("it is given back", async () =>
      (await value(shop, `SELECT payment_status FROM orders WHERE id = ${bin(order.id)}`)) === "refunded", MINUTE);
    assert.equal(charge.refunded, order.total.amount);
    assert.deepEqual(await query(shop, `SELECT COUNT(*) FROM cancellations WHERE state = 'pending'`), [["0"]]);
    await assertInvariants(shop);
  });
});

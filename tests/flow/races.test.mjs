// Many at once: what is there is sold once, what is asked twice happens once.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Shop, buy, idem, makeCart, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";
import * as crowd from "./support/crowd.mjs";
import { completeOnce as complete, connections, many, payOnce as session, settled } from "./support/crowd.mjs";
import { assertInvariants, bin, query } from "./support/db.mjs";

let shop, pool, asked = 0;
before(async () => {
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=2"] });
  pool = connections(shop, 12);
});
after(async () => {
  pool?.close();
  await shop?.stop();
});

const client = () => pool.ask(asked++); // over one connection after the other
const stockOf = (sku) => crowd.stockOf(shop, sku);

describe("stock", () => {
  it("is sold to who completes without a payment session only where that costs nothing", async () => {
    const { variant, sku } = await makeProduct(shop, { stock: 3 });
    const cart = await makeCart(shop, variant.id);
    assertProblem(await complete(client(), cart), 422, "cart_incomplete");
    assert.equal((await stockOf(sku)).reserved, 0, "nothing stays held");
  });

  it("of several products is held whole or not at all", async () => {
    const plenty = await makeProduct(shop, { stock: 100 });
    const few = await makeProduct(shop, { stock: 3 });
    const carts = [];
    for (let i = 0; i < 10; ++i) {
      const cart = await makeCart(shop, plenty.variant.id, { quantity: 2 });
      assertOk(await shop.store("POST", `/carts/${cart.id}/lines`, { body: { variant_id: few.variant.id, quantity: 1 } }));
      carts.push(cart);
    }
    const answers = await many(10, (i) => settled(() => session(client(), carts[i])));
    assert.equal(answers.filter((a) => a.status === 201).length, 3, answers.map((a) => a.text).join("\n"));
    assert.equal((await stockOf(plenty.sku)).reserved, 6);
    assert.equal((await stockOf(few.sku)).reserved, 3);
    await assertInvariants(shop);
  });

  it("is changed by as much as all adjustments together", async () => {
    const { sku } = await makeProduct(shop, { stock: 100 });
    const answers = await many(20, (i) => settled(() => shop.admin("POST", `/inventory/${encodeURIComponent(sku)}/adjustments`,
      { headers: idem(`${sku}-${i}`), body: { delta: i % 2 ? 3 : -2, reason: "race" } })));
    for (const a of answers) assertOk(a, 201);
    assert.equal((await stockOf(sku)).on_hand, 110);
    await assertInvariants(shop);
  });
});

describe("one cart", () => {
  it("completed twenty times under one key is one effect", async () => {
    const { variant, sku } = await makeProduct(shop, { stock: 10 });
    const cart = await makeCart(shop, variant.id);
    assertOk(await session(client(), cart), 201);
    const key = newKey();
    const asks = await many(4, client);
    const answers = await many(20, (i) => complete(asks[i % 4], cart, key));
    const codes = answers.map((a) => a.body.type ?? a.body.code);
    for (const [i, a] of answers.entries()) {
      if (a.body.type === "order") continue;
      assertProblem(a, 409, "idempotency_in_flight");
      assert.ok(Number(a.headers["retry-after"]) >= 1, codes[i]);
    }
    assert.ok(codes.includes("order"), codes.join());
    const fresh = answers.filter((a) => a.body.type === "order" && !a.headers["idempotent-replayed"]);
    assert.equal(fresh.length, 1, "one ran, the others were told of it");
    const replay = await complete(client(), cart, key);
    assert.equal(replay.headers["idempotent-replayed"], "true");
    assert.deepEqual(replay.body, fresh[0].body);
    assert.equal((await stockOf(sku)).on_hand, 9);
    await assertInvariants(shop);
  });

  it("takes all lines that are put into it at once", async () => {
    const products = [];
    for (let i = 0; i < 6; ++i) products.push(await makeProduct(shop));
    const { cart } = assertOk(await shop.store("POST", "/carts", { body: {} }), 201);
    const answers = await many(12, (i) => {
      const ask = client();
      return settled(() => ask("POST", `/carts/${cart.id}/lines`, { body: { variant_id: products[i % 6].variant.id, quantity: 1 } }));
    });
    for (const a of answers) assertOk(a);
    const seen = assertOk(await shop.store("GET", `/carts/${cart.id}`), 200).cart;
    assert.deepEqual(seen.lines.map((l) => l.quantity), [2, 2, 2, 2, 2, 2]);
    assert.equal(seen.subtotal.amount, 12 * 1000);
  });

  it("of one version is changed by one of two", async () => {
    const { cart } = assertOk(await shop.store("POST", "/carts", { body: {} }), 201);
    const { headers } = await shop.store("GET", `/carts/${cart.id}`);
    const answers = await many(10, (i) => client()("PATCH", `/carts/${cart.id}`,
      { headers: { "if-match": headers.etag }, body: { email: `a${i}@example.com` } }));
    const won = answers.filter((a) => a.status === 200);
    assert.equal(won.length, 1, answers.map((a) => a.status).join());
    for (const a of answers) if (a.status !== 200) assertProblem(a, 412, "precondition_failed");
    assert.equal((await shop.store("GET", `/carts/${cart.id}`)).body.cart.email, won[0].body.cart.email);
  });

});

describe("an Idempotency-Key", () => {
  it("used twenty times at once makes one product and one adjustment", async () => {
    const key = newKey();
    const body = { title: "Once", handle: key.toLowerCase(), variants: [{ sku: key }] };
    const made = await many(20, () => settled(() => shop.admin("POST", "/products", { headers: idem(key), body })));
    for (const a of made) assertOk(a, 201);
    assert.equal(new Set(made.map((a) => a.body.product.id)).size, 1);
    const adjusted = await many(20, () => settled(() => shop.admin("POST", `/inventory/${key}/adjustments`,
      { headers: idem(`${key}-2`), body: { delta: 7, reason: "received" } })));
    for (const a of adjusted) assertOk(a, 201);
    assert.equal((await stockOf(key)).on_hand, 7);
    assert.deepEqual(await query(shop, `SELECT COUNT(*) FROM stock_events e JOIN variants v ON v.id = e.variant_id WHERE v.sku = '${key}'`), [["1"]]);
  });
});

describe("an order that is cancelled and sent at once", () => {
  it("is one of the two: what was sent is paid, what was cancelled is refunded", async () => {
    const { variant } = await makeProduct(shop, { stock: 20 });
    for (let i = 0; i < 6; ++i) {
      const bought = await buy(shop, await makeCart(shop, variant.id), { provider: "test", data: { token: "tok_ok" } });
      const { id } = assertOk(bought, 200).order;
      const status = async () => assertOk(await shop.admin("GET", `/orders/${id}`), 200).order;
      await until("the money is captured", async () => (await status()).payment_status === "captured");
      const ask = (what) => settled(() => shop.admin("POST", `/orders/${id}/${what}`, { headers: idem(), body: {} }));
      const [cancelled, sent] = await Promise.all([ask("cancel"), ask("fulfilments")]);
      assert.equal([cancelled, sent].filter((a) => a.status < 300).length, 1, `${cancelled.text}\n${sent.text}`);
      const order = await status();
      const atProvider = await query(shop, `SELECT t.state FROM payment_test_attempts t JOIN payments p USING (idem_key)
        WHERE p.order_id = ${bin(id)}`);
      const wanted = sent.status < 300 ? ["captured", "captured"] : ["refunded", "refunded"];
      assert.deepEqual([order.payment_status, atProvider[0][0]], wanted);
    }
    await assertInvariants(shop);
  });
});

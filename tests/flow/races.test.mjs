// Many at once: what is there is sold once, what is asked twice happens once.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Shop, buy, idem, makeCart, makeProduct, newKey, until } from "./support/shop.mjs";
import { buyersOf, complete, many, session, settled } from "./support/buyers.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";
import { assertInvariants, bin, count, query } from "./support/db.mjs";

let shop, buyers;
before(async () => {
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=2"] });
  buyers = buyersOf(shop);
});
after(async () => {
  buyers?.close();
  await shop?.stop();
});

const client = () => buyers.client();
const stockOf = (sku) => buyers.stockOf(sku);

describe("stock", () => {
  it("of five is sold to five of forty", async () => {
    const { variant, sku } = await makeProduct(shop, { stock: 5 });
    const carts = [];
    for (let i = 0; i < 40; ++i) carts.push(await makeCart(shop, variant.id));
    const asks = await many(8, client);
    const answers = await many(40, async (i) => {
      const ask = asks[i % 8];
      const held = await settled(() => session(ask, carts[i]));
      if (held.status !== 201) return held;
      const key = newKey();
      return settled(() => complete(ask, carts[i], key));
    });
    const orders = answers.filter((a) => a.body.type === "order");
    const refused = answers.filter((a) => a.body.type !== "order");
    assert.equal(orders.length, 5, answers.map((a) => a.status).join());
    for (const a of refused) {
      const code = a.body.type === "cart" ? a.body.error.code : assertProblem(a, 409, "sold_out").code;
      assert.equal(code, "sold_out", a.text);
    }
    assert.equal(refused.length, 35);
    const stock = await stockOf(sku);
    assert.deepEqual([stock.on_hand, stock.reserved, stock.available], [0, 0, 0]);
    assert.equal(new Set(orders.map((a) => a.body.order.number)).size, 5);
    await assertInvariants(shop);
  });

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
  it("completed with different keys at once is one order", async () => {
    const { variant, sku } = await makeProduct(shop, { stock: 10 });
    const cart = await makeCart(shop, variant.id, { quantity: 2 });
    assertOk(await session(client(), cart), 201);
    const answers = await many(8, () => {
      const ask = client();
      const key = newKey();
      return settled(() => complete(ask, cart, key));
    });
    for (const a of answers) assert.equal(assertOk(a, 200).type, "order");
    assert.equal(new Set(answers.map((a) => a.body.order.id)).size, 1);
    assert.equal(await count(shop, "orders", `cart_id = ${bin(cart.id)}`), 1);
    assert.equal((await stockOf(sku)).on_hand, 8);
    await assertInvariants(shop);
  });

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

  it("is not changed while it is bought, nor afterwards", async () => {
    const { variant } = await makeProduct(shop, { stock: 1000 });
    for (let round = 0; round < 10; ++round) {
      const cart = await makeCart(shop, variant.id);
      assertOk(await session(client(), cart), 201);
      const [ask, edit] = [client(), client()];
      const [bought, ...edits] = await Promise.all([complete(ask, cart),
        ...Array.from({ length: 4 }, () => edit("POST", `/carts/${cart.id}/lines`, { body: { variant_id: variant.id, quantity: 1 } }))]);
      for (const a of edits) {
        if (a.status >= 300) assert.ok(["completion_in_progress", "cart_completed", "busy"].includes(a.body.code), a.text);
      }
      if (bought.body.type !== "order") continue; // an edit came first: the price or the version has changed
      const seen = assertOk(await shop.store("GET", `/carts/${cart.id}`), 200).cart;
      assert.equal(seen.state, "completed");
      assert.deepEqual(seen.total, bought.body.order.total, "what was bought is what the cart shows");
      const late = await edit("POST", `/carts/${cart.id}/lines`, { body: { variant_id: variant.id, quantity: 1 } });
      assertProblem(late, 409, "cart_completed");
      assertProblem(await edit("PATCH", `/carts/${cart.id}`, { body: { email: "b@example.com" } }), 409, "cart_completed");
    }
    await assertInvariants(shop);
  });
});

describe("a promotion code", () => {
  it("that may be used once is used once by ten carts", async () => {
    const code = newKey();
    const promo = assertOk(await shop.admin("POST", "/promotions", { headers: idem(), body: { code, name: "Last one", status: "active",
      usage_limit: 1, terms: { level: "order", type: "percent", value: "50" } } }), 201).promotion;
    const { variant } = await makeProduct(shop, { stock: 100 });
    const carts = [];
    for (let i = 0; i < 10; ++i) {
      const cart = await makeCart(shop, variant.id);
      carts.push(assertOk(await shop.store("POST", `/carts/${cart.id}/promotions`, { body: { code } })).cart);
      assertOk(await session(shop.store.bind(shop), cart), 201);
    }
    const answers = await many(10, (i) => {
      const ask = client();
      const key = newKey();
      return settled(() => complete(ask, carts[i], key));
    });
    const orders = answers.filter((a) => a.body.type === "order");
    assert.equal(orders.filter((a) => a.body.order.discount_total.amount > 0).length, 1, answers.map((a) => a.text.slice(0, 200)).join("\n"));
    for (const a of answers) {
      if (a.body.type === "order") continue;
      const codeOf = a.body.type === "cart" ? a.body.error.code : a.body.code;
      assert.ok(["promotion_refused", "price_changed"].includes(codeOf), a.text);
    }
    assert.equal(assertOk(await shop.admin("GET", `/promotions/${promo.id}`), 200).promotion.used, 1);
    await assertInvariants(shop);
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

// What workers keep of the catalogue: who writes sees it at once, whoever asks next sees it with any worker.
import assert from "node:assert/strict";
import http2 from "node:http2";
import { after, before, describe, it } from "node:test";
import { Shop, idem, makeCart, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";

const CONNECTIONS = 8; // enough that two workers both have some

let shop;
const sessions = [];
before(async () => {
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=2"] });
  for (let i = 0; i < CONNECTIONS; ++i) {
    const session = http2.connect(shop.dev.url, { ca: shop.ca });
    session.on("error", () => {});
    sessions.push(session);
  }
});
after(async () => {
  for (const session of sessions) session.destroy();
  await shop?.stop();
});

/** The same question over each connection. */
const all = (method, target, body) => Promise.all(sessions.map(async (session) =>
  assertOk(await shop.store(method, target, { session, body }))));
const each = (values, wanted) => values.every((value) => value === wanted);

async function setPrice(session, variant, amount) {
  assertOk(await shop.admin("PUT", `/variants/${variant.id}/prices`,
    { session, body: { prices: [{ currency: "GBP", amount }] } }), 200);
}

describe("a price that was changed", () => {
  it("is shown at once by the worker that wrote it, and by all others", async () => {
    const { product, variant } = await makeProduct(shop, { price: 1000 });
    const prices = async () =>
      (await all("GET", `/products/${product.id}`)).map((body) => body.product.price.amount);
    assert.ok(each(await prices(), 1000));
    for (let round = 1; round <= 4; ++round) {
      const writer = sessions[round];
      await setPrice(writer, variant, 1000 + round);
      const own = assertOk(await shop.store("GET", `/products/${product.id}`, { session: writer }), 200);
      assert.equal(own.product.price.amount, 1000 + round);
      await until("the others show it", async () => each(await prices(), 1000 + round), 2000);
    }
  });

  it("is what a cart costs with any worker", async () => {
    const { variant } = await makeProduct(shop, { price: 1000 });
    const carts = await Promise.all(sessions.map(() => makeCart(shop, variant.id)));
    await setPrice(sessions[0], variant, 400);
    await until("all carts cost less", async () => {
      const shown = await Promise.all(sessions.map(async (session, i) =>
        assertOk(await shop.store("PATCH", `/carts/${carts[i].id}`, { session, body: { email: "ada@example.com" } }), 200)));
      return each(shown.map((body) => body.cart.subtotal.amount), 400);
    }, 2000);
  });
});

describe("a product that was added", () => {
  it("is in the list of any worker", async () => {
    await all("GET", "/products");
    const { product } = await makeProduct(shop);
    await until("it is the first everywhere", async () =>
      each((await all("GET", "/products")).map((body) => body.data[0]?.id), product.id), 2000);
  });

  it("is found by any worker that has looked for it in vain", async () => {
    const word = `w${newKey().replaceAll(/\W/g, "")}`;
    const found = async () => (await all("GET", `/search?q=${word}`)).map((body) => body.data.length);
    assert.ok(each(await found(), 0));
    assertOk(await shop.admin("POST", "/products", { headers: idem(), body: {
      title: `A ${word}`, handle: word, status: "active", variants: [{ sku: word, prices: [] }] } }), 201);
    await until("it is found everywhere", async () => each(await found(), 1), 10_000);
  });
});

describe("a page that many ask for in one moment", () => {
  const hits = async () => Number((await shop.ops("/metrics")).text
    .match(/^till_cache_reads_total\{kind="page",result="hit"\} (\d+)/m)?.[1] ?? 0);

  it("is made once, and for nobody without a key", async () => {
    const { product } = await makeProduct(shop);
    const before = await hits();
    for (let round = 0; round < 20; ++round) {
      for (const body of await all("GET", `/products/${product.id}`)) assert.equal(body.product.id, product.id);
    }
    assert.ok(await hits() > before, "some were given again");
    for (const key of [null, "mtp_unknown"]) {
      const refused = await shop.store("GET", `/products/${product.id}`, { key, session: sessions[0] });
      assert.equal(refused.status, 401);
    }
  });
});

describe("stock", () => {
  it("that a payment session took is shown by any worker", async () => {
    const { product, variant } = await makeProduct(shop, { stock: 7 });
    const shown = async () =>
      (await all("GET", `/products/${product.id}`)).map((body) => body.product.variants[0].available);
    assert.ok(each(await shown(), 7));
    const cart = await makeCart(shop, variant.id, { quantity: 2 });
    assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "manual" } }), 201);
    await until("it is shown everywhere", async () => each(await shown(), 5), 2000);
  });
});

describe("a cart that all workers change", () => {
  it("has every change, in any order, and shows it with any worker", async () => {
    const made = await Promise.all(sessions.map(() => makeProduct(shop)));
    const { cart } = assertOk(await shop.store("POST", "/carts", { body: {} }), 201);
    const add = async (i) => assertOk(await shop.store("POST", `/carts/${cart.id}/lines`,
      { session: sessions[i], body: { variant_id: made[i].variant.id, quantity: 1 } }), 200).cart;
    for (let i = 0; i < CONNECTIONS; ++i) {
      assert.equal((await add(i)).lines.length, i + 1);
      for (const body of await all("GET", `/carts/${cart.id}`)) assert.equal(body.cart.version, i + 2);
    }
    for (let i = 0; i < CONNECTIONS; i += 2) await Promise.all([add(i), add(i + 1)]);
    const [{ cart: last }] = await all("GET", `/carts/${cart.id}`);
    assert.deepEqual(last.lines.map((line) => line.quantity), made.map(() => 2));
    assert.equal(last.version, 1 + 2 * CONNECTIONS);
  });
});

describe("promotions for everybody", () => {
  it("count with any worker", async () => {
    const { variant } = await makeProduct(shop, { price: 1000 });
    const carts = await Promise.all(sessions.map(() => makeCart(shop, variant.id)));
    assertOk(await shop.admin("POST", "/promotions", { headers: idem(), body: {
      name: "Tenth", terms: { level: "line", type: "percent", value: "10" } } }), 201);
    await until("all carts cost less", async () => {
      const shown = await Promise.all(sessions.map(async (session, i) =>
        assertOk(await shop.store("PATCH", `/carts/${carts[i].id}`, { session, body: { email: "ada@example.com" } }), 200)));
      return each(shown.map((body) => body.cart.discount_total.amount), 100);
    }, 2000);
  });
});

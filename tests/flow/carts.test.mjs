// One cart in many hands: lines added at once, stale writes, and the guest's cart that becomes the customer's.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Shop, buy, idem, makeCart, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";
import { assertInvariants, bin, count, ownerSession, transactions, value } from "./support/db.mjs";
import { sse1 } from "./support/live.mjs";
import { workers } from "./support/process.mjs";

let shop;
const products = [];
before(async () => {
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=2", "--set", "cart.max_quantity=100",
    "--set", "cart.max_lines=30", "--set", "auth.max_attempts=1000"] });
  for (let i = 0; i !== 24; ++i) products.push(await makeProduct(shop, { stock: 1000 }));
});
after(async () => shop?.stop());

/** Each on a connection of its own, so that both workers have some. */
const apart = (method, target, options = {}) => shop.h1(method, `/store/v1${target}`, { agent: false, ...options });
const lines = (cart) => Object.fromEntries(cart.lines.map((line) => [line.variant_id, line.quantity]));
const read = async (id, options) => assertOk(await shop.store("GET", `/carts/${id}`, options)).cart;
const begin = async (options) => assertOk(await shop.store("POST", "/carts", { body: {}, ...options })).cart;
const add = (id, i, quantity = 1, options = {}) => apart("POST", `/carts/${id}/lines`, {
  body: { variant_id: products[i].variant.id, quantity }, ...options });
const put = async (id, i, quantity, options) => assertOk(await add(id, i, quantity, options)).cart;
const expected = (pairs) => Object.fromEntries(pairs.map(([i, quantity]) => [products[i].variant.id, quantity]));

let people = 0;
async function register() {
  const email = `someone-${process.pid}-${++people}@example.com`, password = "correct horse battery";
  assertOk(await shop.h2("POST", "/auth/v1/customers", { body: { email, password } }));
  return { login: (body = {}) => shop.h1("POST", "/auth/v1/customers/sessions", { agent: false, body: { email, password, ...body } }) };
}

describe("a cart that two change at once", () => {
  it("has all that both have added", async () => {
    const cart = await begin();
    const answers = await Promise.all(products.map((_, i) => add(cart.id, i)));
    answers.forEach((answer) => assertOk(answer, 200));
    const now = await read(cart.id);
    assert.deepEqual(lines(now), expected(products.map((_, i) => [i, 1])));
    assert.equal(now.version, cart.version + products.length);
  });

  it("adds up what both add of one product", async () => {
    const cart = await begin();
    const answers = await Promise.all(Array.from({ length: 30 }, (_, i) => add(cart.id, i % 2, 1 + (i % 3))));
    answers.forEach((answer) => assertOk(answer, 200));
    assert.deepEqual(lines(await read(cart.id)), expected([[0, 30], [1, 30]]));
  });

  it("does once what was asked for twice under one key", async () => {
    const cart = await begin(), keys = Array.from({ length: 8 }, () => newKey());
    const ask = (key, i) => until("it is answered", async () => {
      const answer = await add(cart.id, i, 2, { headers: idem(key) });
      return answer.status !== 409 && answer;
    });
    const answers = await Promise.all(keys.flatMap((key, i) => [ask(key, i), ask(key, i), ask(key, i)]));
    answers.forEach((answer) => assertOk(answer, 200));
    assert.deepEqual(lines(await read(cart.id)), expected(keys.map((_, i) => [i, 2])));
  });

  it("refuses who has seen an older one, and changes nothing for him", async () => {
    const cart = await put((await begin()).id, 0, 1);
    const set = (quantity, version) => apart("PATCH", `/carts/${cart.id}/lines/${cart.lines[0].id}`, {
      body: { quantity }, headers: version ? { "if-match": `"${version}"` } : {} });
    const both = await Promise.all([set(5, cart.version), set(7, cart.version)]);
    assert.deepEqual(both.map((a) => a.status).sort(), [200, 412]);
    assertProblem(both.find((a) => a.status === 412), 412, "precondition_failed");
    const won = both.find((a) => a.status === 200).body.cart;
    assert.deepEqual(lines(await read(cart.id)), lines(won));
    assertOk(await set(9, won.version), 200);
    assertOk(await set(3), 200); // without a version: the last word counts
    assert.deepEqual(lines(await read(cart.id)), expected([[0, 3]]));
  });

  it("keeps a line that comes while another is taken out, an address given or a code entered", async () => {
    for (let round = 0; round !== 5; ++round) {
      let cart = await put((await begin()).id, 0, 1);
      cart = await put(cart.id, 1, 1);
      const answers = await Promise.all([add(cart.id, 2), apart("DELETE", `/carts/${cart.id}/lines/${cart.lines[0].id}`),
        apart("PATCH", `/carts/${cart.id}`, { body: { email: "ada@example.com" } }), add(cart.id, 3, 4)]);
      answers.forEach((answer) => assertOk(answer, 200));
      const now = await read(cart.id);
      assert.deepEqual(lines(now), expected([[1, 1], [2, 1], [3, 4]]));
      assert.equal(now.email, "ada@example.com");
    }
  });

  it("is told to both within the second", async () => {
    const cart = await begin();
    const devices = await Promise.all([1, 2].map(() => sse1(shop, `/store/v1/carts/${cart.id}/events`)));
    await Promise.all([0, 1, 2, 3, 4, 5].map((i) => put(cart.id, i, 1)));
    const now = await read(cart.id);
    for (const device of devices) {
      await device.event("the last version", (e) => e.data.cart?.version === now.version);
      assert.equal(device.cart.lines.length, 6);
      device.close();
    }
  });

  it("loses nothing that was answered when workers are killed meanwhile", async () => {
    const cart = await begin(), done = new Set();
    let stop = false;
    const shoppers = products.slice(0, 8).map(async (_, i) => {
      const answer = await add(cart.id, i, 1, { headers: idem(`kill-${cart.id}-${i}`) }).catch(() => null);
      if (answer?.status === 200) done.add(i);
    });
    const killer = (async () => {
      while (!stop) {
        for (const w of await workers(shop)) if (w.name.startsWith("web") && w.pid > 0) process.kill(w.pid, "SIGKILL");
        await new Promise((go) => setTimeout(go, 40));
      }
    })().catch(() => {});
    await Promise.all(shoppers);
    stop = true;
    await killer;
    for (let i = 0; i !== 8; ++i) await until("it is taken", async () =>
      (await add(cart.id, i, 1, { headers: idem(`kill-${cart.id}-${i}`) }).catch(() => null))?.status === 200, 60_000);
    const now = await until("it is read", () => read(cart.id).catch(() => null));
    assert.deepEqual(lines(now), expected(Array.from({ length: 8 }, (_, i) => [i, 1])));
  });
});

describe("a guest's cart at login", () => {
  it("becomes the customer's where he has none", async () => {
    const { login } = await register();
    const guest = await put((await begin()).id, 0, 2);
    const got = assertOk(await login({ cart_id: guest.id }), 201);
    assert.equal(got.cart.id, guest.id);
    assert.deepEqual(lines(got.cart), expected([[0, 2]]));
    assert.deepEqual(got.left_out, []);
    assertProblem(await shop.store("GET", `/carts/${guest.id}`), 404, "not_found"); // the shop's key alone sees it no more
    assert.equal((await read(guest.id, { key: got.token })).customer_id, got.customer.id);
  });

  it("goes into the one that he has: quantities add up, codes unite, what was typed in last wins", async () => {
    const codes = ["MERGEA", "MERGEB", "MERGEC"];
    for (const code of codes) assertOk(await shop.admin("POST", "/promotions", { body: { code, name: code, status: "active",
      terms: { level: "order", type: "percent", value: "5" } } }));
    const enter = async (cart, code) => assertOk(await shop.store("POST", `/carts/${cart.id}/promotions`, { body: { code } }));
    const { login } = await register();
    const his = await put((await begin()).id, 0, 2);
    await put(his.id, 1, 1);
    assertOk(await shop.store("PATCH", `/carts/${his.id}`, { body: { email: "old@example.com" } }));
    await enter(his, codes[0]);
    await enter(his, codes[1]);
    assertOk(await login({ cart_id: his.id }), 201);
    const guest = await put((await begin()).id, 0, 3);
    await put(guest.id, 2, 4);
    await enter(guest, codes[1]);
    await enter(guest, codes[2]);
    assertOk(await shop.store("PATCH", `/carts/${guest.id}`, { body: { email: "new@example.com" } }));
    const got = assertOk(await login({ cart_id: guest.id }), 201);
    assert.equal(got.cart.id, his.id);
    assert.deepEqual(lines(got.cart), expected([[0, 5], [1, 1], [2, 4]]));
    assert.deepEqual(got.cart.codes, codes);
    assert.equal(got.cart.email, "new@example.com");
    assert.ok(got.cart.total.amount > 0);
    const old = await read(guest.id, { key: got.token });
    assert.equal(old.state, "merged");
    assert.equal(old.merged_into, his.id);
    assertProblem(await add(guest.id, 1, 1, { key: got.token }), 409, "cart_merged");
  });

  it("comes to the same when the login is repeated, on whatever device", async () => {
    const { login } = await register();
    const his = await put((await begin()).id, 0, 1);
    assertOk(await login({ cart_id: his.id }), 201);
    const guest = await put((await begin()).id, 0, 2);
    for (let i = 0; i !== 3; ++i) {
      const got = assertOk(await login({ cart_id: guest.id }), 201);
      assert.equal(got.cart.id, his.id);
      assert.deepEqual(lines(got.cart), expected([[0, 3]]));
    }
    assert.equal(assertOk(await login(), 201).cart.id, his.id);
    const { token } = assertOk(await login(), 201);
    const cookie = { cookie: `till_session=${token}`, origin: shop.dev.url };
    assert.equal(assertOk(await apart("POST", `/carts/${guest.id}/merge`, { headers: cookie })).cart.id, his.id);
  });

  // All wait at the customer's row, where they have been given the same view of the carts, and go on together.
  it("loses and doubles nothing when many come to the same point at once", async () => {
    for (let round = 0; round !== 4; ++round) {
      const { login } = await register();
      const { token, customer } = assertOk(await login(), 201);
      const cookie = { cookie: `till_session=${token}`, origin: shop.dev.url };
      const guests = await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map(async (i) => put((await begin()).id, i, i + 1)));
      await Promise.all(guests.map((cart) => put(cart.id, 9, 1)));
      const owner = ownerSession(shop);
      await owner.ask(`USE ${shop.dev.database}; BEGIN; SELECT email FROM customers WHERE id = ${bin(customer.id)} FOR UPDATE`);
      const merging = Promise.all(guests.map((cart) => apart("POST", `/carts/${cart.id}/merge`, { headers: cookie })));
      await transactions(shop, 9); // as many as one worker has connections, and ours
      await owner.ask("COMMIT");
      owner.close();
      for (const answer of await merging) assertOk(answer, 200);
      const { cart } = assertOk(await login(), 201);
      assert.deepEqual(lines(cart), expected([...guests.map((_, i) => [i, i + 1]), [9, 8]]));
      assert.equal(await count(shop, "carts", `customer_id = ${bin(customer.id)} AND state = 'open'`), 1);
    }
  });

  it("loses and doubles nothing when many devices log in at once", async () => {
    for (let round = 0; round !== 6; ++round) {
      const { login } = await register();
      const guests = await Promise.all([0, 1, 2, 3].map(async (i) => put((await begin()).id, i, i + 1)));
      await Promise.all(guests.map((cart) => put(cart.id, 9, 1)));
      // each twice, as a client that has lost the answer does
      const got = await Promise.all([...guests, ...guests].map((cart) => login({ cart_id: cart.id })));
      got.forEach((answer) => assert.equal(assertOk(answer, 201).cart_error, undefined, answer.text));
      const { cart, token, customer } = assertOk(await login(), 201);
      assert.deepEqual(lines(cart), expected([[0, 1], [1, 2], [2, 3], [3, 4], [9, 4]]));
      assert.equal(await count(shop, "carts", `customer_id = ${bin(customer.id)} AND state = 'open'`), 1);
      assert.equal(await count(shop, "carts", `merged_into = ${bin(cart.id)} AND state = 'merged'`), 3);
      for (const guest of guests) if (guest.id !== cart.id)
        assert.equal((await read(guest.id, { key: token })).merged_into, cart.id);
    }
  });

  it("keeps what is added to either cart meanwhile, or says that it did not take it", async () => {
    for (let round = 0; round !== 5; ++round) {
      const { login } = await register();
      const his = await put((await begin()).id, 0, 1);
      const { token } = assertOk(await login({ cart_id: his.id }), 201);
      const guest = await put((await begin()).id, 1, 1);
      const [late, mine, got] = await Promise.all([add(guest.id, 2), add(his.id, 3, 1, { key: token }), login({ cart_id: guest.id })]);
      assertOk(mine, 200);
      assertOk(got, 201);
      const taken = [[0, 1], [1, 1], [3, 1]];
      if (late.status === 200) taken.push([2, 1]);
      else assertProblem(late, 404, "not_found"); // it is a customer's by then
      assert.deepEqual(lines(await read(his.id, { key: token })), expected(taken));
    }
  });

  it("says what has no room, and what is not sold any more", async () => {
    const { login } = await register();
    const his = await put((await begin()).id, 0, 98);
    for (let i = 1; i !== 24; ++i) await put(his.id, i, 1);
    assertOk(await login({ cart_id: his.id }), 201);
    const gone = await makeProduct(shop), extra = await Promise.all(Array.from({ length: 7 }, () => makeProduct(shop)));
    const guest = await put((await begin()).id, 0, 5);
    for (const p of [gone, ...extra]) assertOk(await apart("POST", `/carts/${guest.id}/lines`, { body: { variant_id: p.variant.id, quantity: 2 } }));
    const product = assertOk(await shop.admin("GET", `/products/${gone.product.id}`)).product;
    assertOk(await shop.admin("PATCH", `/products/${gone.product.id}`, { body: { status: "archived" }, headers: { "if-match": `"${product.version}"` } }));
    const got = assertOk(await login({ cart_id: guest.id }), 201);
    assert.equal(got.cart_error, undefined);
    assert.equal(got.cart.lines.length, 30);
    assert.equal(lines(got.cart)[products[0].variant.id], 100);
    assert.deepEqual(got.left_out.map((l) => [l.variant_id, l.quantity, l.reason]).sort(), [
      [products[0].variant.id, 3, "max_quantity"], [gone.variant.id, 2, "not_sold"], [extra[6].variant.id, 2, "max_lines"]].sort());
  });

  it("lets go of what was reserved for it, and is not bought any more", async () => {
    const scarce = await makeProduct(shop, { stock: 1 });
    const { login } = await register();
    const his = await put((await begin()).id, 0, 1);
    assertOk(await login({ cart_id: his.id }), 201);
    const guest = await makeCart(shop, scarce.variant.id);
    assertOk(await shop.store("POST", `/carts/${guest.id}/payment-sessions`, { body: { provider: "manual" } }));
    const got = assertOk(await login({ cart_id: guest.id }), 201);
    assert.equal(await value(shop, `SELECT SUM(reserved) FROM stock WHERE variant_id = ${bin(scarce.variant.id)}`), "0");
    assertProblem(await shop.store("POST", `/carts/${guest.id}/complete`, { key: got.token, headers: idem(), body: {} }), 409, "cart_merged");
    const other = await makeCart(shop, scarce.variant.id);
    assert.equal(assertOk(await buy(shop, other)).type, "order");
    await assertInvariants(shop);
  });

  it("stays a guest's where it is not for this login: of another currency, bought, or somebody else's", async () => {
    const { login } = await register(), { login: stranger } = await register();
    const his = await put((await begin()).id, 0, 1);
    assertOk(await login({ cart_id: his.id }), 201);
    const theirs = assertOk(await stranger({ cart_id: his.id }), 201);
    assert.equal(theirs.cart_error.code, "not_found");
    assert.equal(theirs.cart, null);
    const bought = await makeCart(shop, products[5].variant.id);
    assert.equal(assertOk(await buy(shop, bought)).type, "order");
    const got = assertOk(await login({ cart_id: bought.id }), 201);
    assert.equal(got.cart_error.code, "cart_completed");
    assert.equal(got.cart.id, his.id);
    const euro = assertOk(await shop.store("POST", "/carts", { body: { currency: "EUR" } })).cart;
    assert.equal(assertOk(await login({ cart_id: euro.id }), 201).cart.id, euro.id);
    assertProblem(await apart("POST", `/carts/${euro.id}/merge`), 403, "forbidden");
  });

  it("is whole or untouched when workers are killed at any moment", async () => {
    for (let round = 0; round !== 4; ++round) {
      const { login } = await register();
      const his = await put((await begin()).id, 0, 1);
      await until("he has it", async () => (await login({ cart_id: his.id }).catch(() => null))?.body?.cart);
      const guest = await put((await begin()).id, 1, 1);
      const first = login({ cart_id: guest.id }).catch(() => null);
      await new Promise((go) => setTimeout(go, 20 + 40 * round));
      for (const w of await workers(shop)) if (w.name.startsWith("web") && w.pid > 0) process.kill(w.pid, "SIGKILL");
      await first;
      const got = await until("he logs in", async () => {
        const answer = await login({ cart_id: guest.id }).catch(() => null);
        return answer?.status === 201 && answer.body.cart && !answer.body.cart_error && answer.body;
      }, 60_000);
      assert.equal(got.cart.id, his.id);
      assert.deepEqual(lines(got.cart), expected([[0, 1], [1, 1]]));
    }
  });
});

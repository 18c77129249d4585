// What the staff does: catalogue, stock, promotions, orders; and what shoppers see of it.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Shop, buy, idem, makeCart, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk, assertPointsAt, assertProblem } from "./support/checks.mjs";
import { assertInvariants, count } from "./support/db.mjs";

let shop;
before(async () => {
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=2"] });
});
after(() => shop?.stop());

const get = (path) => shop.admin("GET", path);
const post = (path, body, key) => shop.admin("POST", path, { headers: idem(key), body });
/** Changes what has an ETag, as it is now. */
async function change(method, path, body) {
  const seen = await get(path);
  assertOk(seen, 200);
  return shop.admin(method, path, { headers: { "if-match": seen.headers.etag }, body });
}
const handle = () => newKey().toLowerCase();
const stockOf = async (sku) => assertOk(await get(`/inventory/${encodeURIComponent(sku)}`), 200).inventory;

/** What the store API says of a product, each time over a connection of its own. */
async function seenByAll(target, is) {
  return until(`every worker shows ${target} anew`, async () => {
    const answers = await Promise.all(Array.from({ length: 12 }, () => shop.h1("GET", `/store/v1${target}`, { agent: false })));
    return answers.every(is);
  }, 10_000);
}

describe("products", () => {
  it("are made with options, variants and prices, and shown", async () => {
    const sku = newKey();
    const made = await post("/products", {
      title: "A shirt", handle: handle(), description: "Of cotton.", status: "active", tags: ["cotton", "summer"],
      options: ["size", "colour"],
      variants: ["S", "M"].map((size, i) => ({
        sku: `${sku}-${size}`, title: size, options: { size, colour: "blue" }, weight_g: 200,
        prices: [{ currency: "GBP", amount: 1500 + 100 * i }, { currency: "JPY", amount: 3000 }],
      })),
    });
    const { product } = assertOk(made, 201);
    assert.equal(made.headers.location, `/admin/v1/products/${product.id}`);
    const shown = assertOk(await shop.store("GET", `/products/${product.handle}`), 200).product;
    assert.deepEqual(shown.variants.map((v) => [v.sku, v.options.size, v.price]), [
      [`${sku}-S`, "S", { amount: 1500, currency: "GBP" }], [`${sku}-M`, "M", { amount: 1600, currency: "GBP" }]]);
    assert.deepEqual(shown.tags, ["cotton", "summer"]);
    const yen = assertOk(await shop.store("GET", `/products/${product.id}?currency=JPY`), 200).product;
    assert.deepEqual(yen.variants[0].price, { amount: 3000, currency: "JPY" });
  });

  it("have a handle and SKUs that nobody else has", async () => {
    const { product, variant } = await makeProduct(shop);
    const products = await count(shop, "products");
    const sameHandle = await post("/products", { title: "x", handle: product.handle, variants: [{ sku: newKey() }] });
    assertProblem(sameHandle, 409, "duplicate");
    const sameSku = await post("/products", { title: "x", handle: handle(), variants: [{ sku: variant.sku }] });
    assertProblem(sameSku, 409, "duplicate");
    const twice = newKey();
    const inItself = await post("/products", { title: "x", handle: handle(), variants: [{ sku: twice }, { sku: twice }] });
    assertProblem(inItself, 409, "duplicate");
    assert.equal(await count(shop, "products"), products);
  });

  it("change under If-Match only as they were read", async () => {
    const { product } = await makeProduct(shop);
    const path = `/products/${product.id}`;
    const seen = await get(path);
    const headers = { "if-match": seen.headers.etag };
    assertProblem(await shop.admin("PATCH", path, { body: { title: "No" } }), 428, "precondition_required");
    const first = await shop.admin("PATCH", path, { headers, body: { title: "First" } });
    assertOk(first, 200);
    assert.notEqual(first.headers.etag, seen.headers.etag);
    assertProblem(await shop.admin("PATCH", path, { headers, body: { title: "Second" } }), 412, "precondition_failed");
    assert.equal((await get(path)).body.product.title, "First");
    assert.equal((await shop.admin("GET", path, { headers: { "if-none-match": first.headers.etag } })).status, 304);
    assert.equal((await shop.admin("GET", path, { headers: { "if-none-match": seen.headers.etag } })).status, 200);
  });

  it("of which one version is changed by many change once", async () => {
    const { product } = await makeProduct(shop);
    const path = `/products/${product.id}`;
    const headers = { "if-match": (await get(path)).headers.etag };
    const answers = await Promise.all(Array.from({ length: 8 }, (_, i) => shop.admin("PATCH", path, { headers, body: { title: `T${i}` } })));
    const statuses = answers.map((a) => a.status);
    assert.equal(statuses.filter((s) => s === 200).length, 1, statuses.join());
    assert.equal(statuses.filter((s) => s === 412).length, 7, statuses.join());
  });

  it("are shown anew by every worker once they are changed", async () => {
    const { product, variant } = await makeProduct(shop, { price: 1000 });
    await seenByAll(`/products/${product.handle}`, (a) => a.status === 200 && a.body.product.variants[0].price.amount === 1000);
    assertOk(await change("PATCH", `/products/${product.id}`, { title: "Renamed" }), 200);
    await seenByAll(`/products/${product.id}`, (a) => a.body.product.title === "Renamed");
    assertOk(await shop.admin("PUT", `/variants/${variant.id}/prices`, { body: { prices: [{ currency: "GBP", amount: 1234 }] } }), 200);
    await seenByAll(`/products/${product.handle}`, (a) => a.body.product.variants[0].price.amount === 1234);
    assertOk(await change("DELETE", `/products/${product.id}`));
    await seenByAll(`/products/${product.id}`, (a) => a.status === 404);
    const cart = assertOk(await shop.store("POST", "/carts", { body: {} }), 201).cart;
    assert.equal((await shop.store("POST", `/carts/${cart.id}/lines`, { body: { variant_id: variant.id, quantity: 1 } })).status, 404);
  });

  it("that are drafts are not sold", async () => {
    const made = assertOk(await post("/products", { title: "Draft", handle: handle(), status: "draft",
      variants: [{ sku: newKey(), prices: [{ currency: "GBP", amount: 1 }] }] }), 201).product;
    assertProblem(await shop.store("GET", `/products/${made.id}`), 404, "not_found");
    const cart = assertOk(await shop.store("POST", "/carts", { body: {} }), 201).cart;
    const added = await shop.store("POST", `/carts/${cart.id}/lines`, { body: { variant_id: made.variants[0].id, quantity: 1 } });
    assertProblem(added, 404, "not_found");
  });

  it("are listed page by page, in both directions, each once", async () => {
    for (let i = 0; i < 5; ++i) await makeProduct(shop);
    const seen = [];
    let page = assertOk(await get("/products?limit=3"), 200);
    for (;;) {
      seen.push(...page.data.map((p) => p.id));
      if (!page.has_more) break;
      page = assertOk(await get(`/products?limit=3&after=${encodeURIComponent(page.next_cursor)}`), 200);
    }
    assert.equal(new Set(seen).size, seen.length);
    assert.equal(seen.length, await count(shop, "products"));
    const back = assertOk(await get(`/products?limit=3&before=${encodeURIComponent(page.prev_cursor)}`), 200);
    const at = seen.indexOf(page.data[0].id);
    assert.deepEqual(back.data.map((p) => p.id), seen.slice(at - 3, at));
  });
});

describe("categories", () => {
  it("make a tree, hold products, and are removed", async () => {
    const top = assertOk(await post("/categories", { handle: handle(), title: "Lights" }), 201).category;
    const below = assertOk(await post("/categories", { handle: handle(), title: "Lamps", parent_id: top.id }), 201).category;
    const { product } = await makeProduct(shop);
    assertOk(await change("PATCH", `/products/${product.id}`, { category_ids: [below.id] }), 200);
    await until("the category holds the product", async () =>
      (await shop.store("GET", `/products?category=${below.handle}`)).body.data?.some((p) => p.id === product.id));
    const tree = assertOk(await shop.store("GET", "/categories"), 200).data;
    assert.equal(tree.find((c) => c.id === top.id)?.children[0]?.id, below.id);
    const itself = await change("PATCH", `/categories/${top.id}`, { parent_id: below.id });
    assert.ok(itself.status >= 400 && itself.status < 500, `a category below itself: ${itself.status} ${itself.text}`);
    assertProblem(await shop.admin("PATCH", `/categories/${below.id}`, { body: { title: "x" } }), 428, "precondition_required");
    assertOk(await change("PATCH", `/categories/${below.id}`, { title: "Lanterns" }), 200);
    await seenByAll("/categories", (a) => a.text.includes("Lanterns"));
    assertOk(await change("DELETE", `/categories/${below.id}`), 204);
    assertProblem(await get(`/categories/${below.id}`), 404, "not_found");
    await seenByAll(`/products?category=${below.handle}`, (a) => a.status === 404);
    assertOk(await get(`/products/${product.id}`), 200);
  });
});

describe("stock", () => {
  it("is changed by and set to, as it was expected to be", async () => {
    const { sku } = await makeProduct(shop, { stock: 10 });
    const path = `/inventory/${encodeURIComponent(sku)}/adjustments`;
    const moved = await post(path, { delta: 5, reason: "received" });
    assert.equal(assertOk(moved, 201).adjustment.on_hand, 15);
    assert.equal(assertOk(await post(path, { delta: -3, reason: "broken" }), 201).adjustment.on_hand, 12);
    assert.equal(assertOk(await post(path, { set_to: 7, expected_quantity: 12, reason: "counted" }), 201).adjustment.on_hand, 7);
    const stale = await post(path, { set_to: 99, expected_quantity: 12, reason: "counted" });
    assertProblem(stale, 412, "precondition_failed");
    const seen = await stockOf(sku);
    assert.equal(seen.on_hand, 7);
    assert.equal(seen.available, 7);
    await assertInvariants(shop);
  });

  it("moves once for one Idempotency-Key", async () => {
    const { sku } = await makeProduct(shop, { stock: 10 });
    const path = `/inventory/${encodeURIComponent(sku)}/adjustments`;
    const key = newKey();
    const first = await post(path, { delta: 1, reason: "received" }, key);
    const again = await post(path, { delta: 1, reason: "received" }, key);
    assert.equal(again.headers["idempotent-replayed"], "true");
    assert.deepEqual(again.body, first.body);
    assert.equal((await stockOf(sku)).on_hand, 11);
    assertProblem(await shop.admin("POST", path, { body: { delta: 1, reason: "x" } }), 400, "idempotency_key_missing");
  });

  it("that is held for a cart cannot be taken away, nor more than is there", async () => {
    const { sku, variant } = await makeProduct(shop, { stock: 10 });
    const cart = await makeCart(shop, variant.id, { quantity: 4 });
    assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "manual" } }), 201);
    const held = await stockOf(sku);
    assert.deepEqual([held.on_hand, held.reserved, held.available], [10, 4, 6]);
    const path = `/inventory/${encodeURIComponent(sku)}/adjustments`;
    for (const body of [{ delta: -7 }, { set_to: 3 }, { set_to: 0 }, { delta: -11 }]) {
      const answer = await post(path, { ...body, reason: "x" });
      assertProblem(answer, 409, "conflict");
    }
    assert.deepEqual(await stockOf(sku), held);
    assertOk(await post(path, { set_to: 4, reason: "x" }), 201);
    assert.equal((await stockOf(sku)).available, 0);
    await assertInvariants(shop);
  });

  it("can be asked for as it was", async () => {
    const { sku } = await makeProduct(shop, { stock: 10 });
    const answer = await get(`/inventory/${encodeURIComponent(sku)}?as_of=2020-01-01T00:00:00Z`);
    assert.equal(assertOk(answer, 200).inventory.on_hand, 0);
    const now = new Date(Date.now() + 3_600_000).toISOString();
    assert.equal(assertOk(await get(`/inventory/${encodeURIComponent(sku)}?as_of=${now}`), 200).inventory.on_hand, 10);
    assertPointsAt(await get(`/inventory/${encodeURIComponent(sku)}?as_of=yesterday`), "/query/as_of");
  });
});

describe("promotions", () => {
  const terms = { level: "order", type: "percent", value: "10" };
  const use = async (cart, code) => shop.store("POST", `/carts/${cart.id}/promotions`, { body: { code } });

  it("are made, changed, paused and archived", async () => {
    const code = newKey().toUpperCase();
    const made = assertOk(await post("/promotions", { code, name: "Ten off", terms, status: "active" }), 201).promotion;
    const { variant } = await makeProduct(shop, { price: 1000 });
    const cart = await makeCart(shop, variant.id);
    assert.equal(assertOk(await use(cart, code)).cart.discount_total.amount, 100);
    assertOk(await change("PATCH", `/promotions/${made.id}`, { terms: { ...terms, value: "20" } }), 200);
    assert.equal(assertOk(await shop.store("DELETE", `/carts/${cart.id}/promotions/${code}`)).cart.discount_total.amount, 0);
    assert.equal(assertOk(await use(cart, code)).cart.discount_total.amount, 200);
    assertOk(await change("PATCH", `/promotions/${made.id}`, { status: "paused" }), 200);
    const another = await makeCart(shop, variant.id);
    assertProblem(await use(another, code), 422, "promotion_unknown");
    assertOk(await change("DELETE", `/promotions/${made.id}`), 204);
    assert.equal((await get(`/promotions/${made.id}`)).body.promotion.status, "archived");
  });

  it("have terms that make sense, and a code of their own", async () => {
    for (const wrong of [{}, { ...terms, value: "-5" }, { ...terms, value: "ten" }, { ...terms, level: "all" }, { ...terms, type: "gift" },
      { level: "order", type: "amount", value: 500 }, { ...terms, value: "101" }, { ...terms, unknown: 1 }]) {
      const answer = await post("/promotions", { code: newKey(), name: "x", terms: wrong });
      assertProblem(answer, 422, "invalid_request");
      assert.ok(answer.body.errors.every((e) => e.pointer.startsWith("/terms")), answer.text);
    }
    const code = newKey();
    assertOk(await post("/promotions", { code, name: "x", terms }), 201);
    assertProblem(await post("/promotions", { code: code.toUpperCase(), name: "y", terms }), 409, "duplicate");
  });

  it("that are over or have not begun are refused with a reason", async () => {
    const { variant } = await makeProduct(shop);
    const cart = await makeCart(shop, variant.id);
    const codes = { expired: { ends_at: "2020-01-01T00:00:00Z" }, not_started: { starts_at: "2999-01-01T00:00:00Z" } };
    for (const [reason, fields] of Object.entries(codes)) {
      const code = newKey();
      assertOk(await post("/promotions", { code, name: reason, terms, status: "active", ...fields }), 201);
      assertProblem(await use(cart, code), 422, "promotion_refused");
    }
    const code = newKey();
    assertOk(await post("/promotions", { code, name: "min", status: "active",
      terms: { ...terms, currency: "GBP", conditions: { min_subtotal: 999999 } } }), 201);
    assertProblem(await use(cart, code), 422, "promotion_refused");
    assert.equal((await shop.store("GET", `/carts/${cart.id}`)).body.cart.discount_total.amount, 0);
  });
});

describe("orders", () => {
  const order = async (options) => {
    const made = await makeProduct(shop, options);
    const cart = await makeCart(shop, made.variant.id, { quantity: options?.quantity ?? 3 });
    const placed = await buy(shop, cart);
    assert.equal(placed.body?.type, "order", placed.text);
    return { ...made, order: placed.body.order };
  };

  it("are listed newest first, filtered, and page by page", async () => {
    const made = [];
    for (let i = 0; i < 5; ++i) made.unshift((await order()).order.id);
    const all = [];
    let page = assertOk(await get("/orders?limit=2"), 200);
    for (;;) {
      all.push(...page.data);
      if (!page.has_more) break;
      page = assertOk(await get(`/orders?limit=2&after=${encodeURIComponent(page.next_cursor)}`), 200);
    }
    assert.deepEqual(all.slice(0, 5).map((o) => o.id), made);
    assert.equal(all.length, await count(shop, "orders"));
    const back = assertOk(await get(`/orders?limit=2&before=${encodeURIComponent(page.prev_cursor)}`), 200);
    const at = all.findIndex((o) => o.id === page.data[0].id);
    assert.deepEqual(back.data.map((o) => o.id), all.slice(at - 2, at).map((o) => o.id));
    const one = assertOk(await get(`/orders?number=${all[2].number}`), 200).data;
    assert.deepEqual(one.map((o) => o.id), [all[2].id]);
    assert.equal(assertOk(await get("/orders?email=nobody@example.com"), 200).data.length, 0);
    assert.equal(assertOk(await get("/orders?email=ADA@example.com&limit=100"), 200).data.length, all.length);
    assert.equal(assertOk(await get("/orders?status=cancelled"), 200).data.length, 0);
    assert.equal(assertOk(await get("/orders?placed_before=2020-01-01T00:00:00Z"), 200).data.length, 0);
    assertPointsAt(await get("/orders?status=lost"), "/query/status");
  });

  it("have an ETag, and 304", async () => {
    const { order: o } = await order();
    const path = `/orders/${o.id}`;
    const seen = await until("its money is settled", async () => {
      const a = await get(path);
      const b = await get(path);
      return a.headers.etag === b.headers.etag && a;
    });
    const again = await shop.admin("GET", path, { headers: { "if-none-match": seen.headers.etag } });
    assert.equal(again.status, 304);
    assert.equal(again.text, "");
    const own = await shop.store("GET", path);
    assert.equal((await shop.store("GET", path, { headers: { "if-none-match": own.headers.etag } })).status, 304);
  });

  it("are sent in parts, whole, and never more than was bought", async () => {
    const { order: o } = await order({ quantity: 3 });
    const line_id = o.lines[0].id;
    const path = `/orders/${o.id}/fulfilments`;
    const part = await post(path, { lines: [{ line_id, quantity: 1 }], tracking_number: "AB123", carrier: "post" });
    assert.equal(assertOk(part, 201).order.fulfilment_status, "partial");
    for (const lines of [[{ line_id, quantity: 3 }], [{ line_id, quantity: 1 }, { line_id, quantity: 2 }],
      [{ line_id: line_id.slice(0, -1) + (line_id.endsWith("0") ? "1" : "0"), quantity: 1 }]]) {
      const answer = await post(path, { lines });
      assertProblem(answer, 409, "conflict");
    }
    assertPointsAt(await post(path, { lines: [{ line_id, quantity: 0 }] }), "/lines/0/quantity");
    assert.equal(assertOk(await get(`/orders/${o.id}`), 200).order.lines[0].fulfilled_quantity, 1);
    const rest = await post(path, {});
    assert.equal(assertOk(rest, 201).order.fulfilment_status, "fulfilled");
    assertProblem(await post(path, {}), 409, "conflict");
    const done = assertOk(await get(`/orders/${o.id}`), 200).order;
    assert.equal(done.lines[0].fulfilled_quantity, 3);
    assert.equal(done.fulfilments.length, 2);
    assert.equal(done.fulfilments[0].tracking_number, "AB123");
    assertProblem(await post(`/orders/${o.id}/cancel`, {}), 409, "conflict");
  });

  it("are sent once for one Idempotency-Key, also when asked at once", async () => {
    const { order: o } = await order({ quantity: 5 });
    const key = newKey();
    const body = { lines: [{ line_id: o.lines[0].id, quantity: 1 }] };
    await Promise.all(Array.from({ length: 6 }, () => post(`/orders/${o.id}/fulfilments`, body, key)));
    const again = await post(`/orders/${o.id}/fulfilments`, body, key);
    assert.equal(again.headers["idempotent-replayed"], "true", again.text);
    assert.equal(assertOk(await get(`/orders/${o.id}`), 200).order.lines[0].fulfilled_quantity, 1);
  });

  it("give their stock and promotion back when they are cancelled", async () => {
    const code = newKey();
    const promo = assertOk(await post("/promotions", { code, name: "Once", status: "active", usage_limit: 1,
      terms: { level: "order", type: "percent", value: "10" } }), 201).promotion;
    const made = await makeProduct(shop, { stock: 10 });
    const cart = await makeCart(shop, made.variant.id, { quantity: 3 });
    const { cart: reduced } = assertOk(await shop.store("POST", `/carts/${cart.id}/promotions`, { body: { code } }));
    const o = assertOk(await buy(shop, reduced), 200).order;
    assert.equal((await stockOf(made.sku)).on_hand, 7);
    assert.equal((await get(`/promotions/${promo.id}`)).body.promotion.used, 1);
    const key = newKey();
    const cancelled = await post(`/orders/${o.id}/cancel`, {}, key);
    assert.equal(assertOk(cancelled, 200).order.status, "cancelled");
    assert.equal((await post(`/orders/${o.id}/cancel`, {}, key)).headers["idempotent-replayed"], "true");
    const again = await post(`/orders/${o.id}/cancel`, {});
    assertProblem(again, 409, "conflict");
    const seen = await stockOf(made.sku);
    assert.deepEqual([seen.on_hand, seen.reserved, seen.available], [10, 0, 10]);
    assert.equal((await get(`/promotions/${promo.id}`)).body.promotion.used, 0);
    assertProblem(await post(`/orders/${o.id}/fulfilments`, {}), 409, "conflict");
    await assertInvariants(shop);
  });

  it("tell how they came about", async () => {
    const { order: o } = await order();
    const timeline = assertOk(await get(`/orders/${o.id}/timeline`), 200).data;
    assert.equal(timeline[0].type, "placed");
    const trace = assertOk(await get(`/orders/${o.id}/price-trace`), 200).price_trace;
    assert.equal(trace.result.order.grand_total, o.total.amount);
  });
});

describe("people", () => {
  it("log in, may what their roles say, and are thrown out", async () => {
    const email = `${newKey()}@example.com`;
    const password = "correct horse battery";
    const person = assertOk(await post("/staff", { email, name: "Viewer", password, roles: ["viewer"] }), 201).staff;
    const login = await shop.h2("POST", "/auth/v1/staff/sessions", { key: null, body: { email, password } });
    const { token } = assertOk(login, 201);
    assert.match(token, /^mtses_/);
    const ask = (method, path, body) => shop.admin(method, path, { key: token, headers: idem(), body });
    assertOk(await ask("GET", "/orders"), 200);
    assertProblem(await ask("POST", "/products", { title: "x", handle: handle(), variants: [{ sku: newKey() }] }), 403, "forbidden");
    assertProblem(await ask("POST", "/keys", { kind: "secret", name: "x", roles: ["owner"] }), 403, "forbidden");
    const wrong = await shop.h2("POST", "/auth/v1/staff/sessions", { key: null, body: { email, password: "wrong wrong wrong" } });
    assertProblem(wrong, 401, "unauthorized");
    const nobody = await shop.h2("POST", "/auth/v1/staff/sessions", { key: null, body: { email: `x${email}`, password } });
    assertProblem(nobody, 401, "unauthorized");
    assert.equal(nobody.body.detail, wrong.body.detail, "it does not tell who has an account");
    assertOk(await shop.admin("DELETE", `/staff/${person.id}`), 204);
    await until("the session is over", async () => (await ask("GET", "/orders")).status === 401);
  });

  it("end nobody who may do more than they, and never the last owner", async () => {
    const secret = async (...roles) => assertOk(await post("/keys", { kind: "secret", name: "Ends", roles }), 201).key;
    const join = async (...roles) => assertOk(await post("/staff", { email: `${newKey()}@example.com`, name: "Ends", password: "correct horse battery", roles }), 201).staff;
    const { key } = await secret("staff.*", "keys.*");
    const end = (path) => shop.admin("DELETE", path, { key });
    const [first] = assertOk(await get("/staff?limit=100"), 200).data.filter((one) => one.email === shop.dev.admin_email);
    const second = await join("owner"), support = await join("support"), clerk = await join("staff.read");
    for (const one of [first, second, support]) assertProblem(await end(`/staff/${one.id}`), 403, "forbidden");
    assertOk(await end(`/staff/${clerk.id}`), 204);
    assertProblem(await end(`/keys/${(await secret("owner")).id}`), 403, "forbidden");
    assertOk(await end(`/keys/${(await secret("keys.read")).id}`), 204);
    assertProblem(await end(`/staff/${clerk.id}`), 404, "not_found");
    assertOk(await shop.admin("DELETE", `/staff/${second.id}`), 204);
    assertProblem(await shop.admin("DELETE", `/staff/${first.id}`), 409, "conflict");
    assertOk(await shop.h2("POST", "/auth/v1/staff/sessions", { key: null, body: { email: shop.dev.admin_email, password: shop.dev.admin_password } }), 201);
  });

  it("with keys of few roles do little", async () => {
    const made = assertOk(await post("/keys", { kind: "secret", name: "Stock", roles: ["stock"] }), 201).key;
    const { sku } = await makeProduct(shop);
    const key = made.key;
    assertOk(await shop.admin("GET", `/inventory/${encodeURIComponent(sku)}`, { key }), 200);
    assertProblem(await shop.admin("GET", "/orders", { key }), 403, "forbidden");
    assertProblem(await shop.admin("POST", "/keys", { key, headers: idem(), body: { kind: "secret", name: "More", roles: ["owner"] } }), 403, "forbidden");
    const listed = await get("/keys?limit=100");
    assert.ok(listed.body.data.some((k) => k.id === made.id));
    assert.ok(!listed.text.includes(key), "a key is shown once");
  });
});

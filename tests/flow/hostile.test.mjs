// Statements of SQL, patterns and markup in every text of every body: stored to the letter, or refused.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { ADDRESS, Shop, buy, idem, makeCart, makeProduct, newKey } from "./support/shop.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";
import { assertInvariants, count, query } from "./support/db.mjs";

const HOSTILE = ["'; DROP TABLE orders; --", "%_\\", "`id` OR `1`=`1`", "\" OR \"\"=\"", "\\' OR 1=1 #", "x' UNION SELECT 1, 2, 3 -- ",
  "${7*7}{{7*7}}<script>alert(1)</script>", "../../../etc/passwd", "\u2028\u202e💥é", "%s%n%d"];

let shop, place, openapi;
before(async () => {
  shop = await Shop.start();
  const made = await makeProduct(shop, { stock: 100000 });
  const cart = await makeCart(shop, made.variant.id);
  const { order } = assertOk(await buy(shop, await makeCart(shop, made.variant.id, { quantity: 1000 })), 200);
  const category = assertOk(await shop.admin("POST", "/categories", { body: { handle: "walked", title: "Walked" } }), 201).category;
  const promotion = assertOk(await shop.admin("POST", "/promotions", { headers: idem(), body: PROMOTION() }), 201).promotion;
  const changed = await makeProduct(shop);
  const { rule } = assertOk(await shop.admin("POST", "/rules", { headers: idem(), body: RULE() }), 201);
  place = { cart, order, category, promotion, product: made.product, variant: made.variant, changed, rule };
  openapi = (await shop.h2("GET", "/openapi.json", { key: null })).body;
});
after(() => shop?.stop());

const TERMS = { level: "order", type: "percent", value: "10", group: "all", filter: { skus: ["A"], tags: ["b"], exclude_skus: ["c"], exclude_tags: ["d"] } };
const PROMOTION = () => ({ code: newKey(), name: "Walked", terms: TERMS, status: "active", starts_at: "2020-01-01T00:00:00Z", ends_at: "2999-01-01T00:00:00Z" });
const PRODUCT = () => ({
  title: "Walked", handle: newKey().toLowerCase(), description: "Of a walk.", status: "active", tax_class: "standard", tags: ["walk"],
  image: "/static/pictures/none.svg", external_ref: newKey(), options: ["size"],
  variants: [{ sku: newKey(), title: "One", options: { size: "S" }, external_ref: newKey(),
    prices: [{ currency: "GBP", amount: 100, list: "default", kind: "base", customer_group: "trade", starts_at: "2020-01-01T00:00:00Z" }] }],
});

const TEXT = 'return function(args, cart) return { { level = "order", type = "percent", value = "1" } } end';
const RULE = () => ({ name: `walk-${newKey()}`, hook: "promo.evaluate", title: "Walked", text: TEXT, schema: { word: { type: "string", default: "x" } },
  args: { word: "x" }, when: { currency: "GBP", any_tag: ["tea"] }, reason: "walk", starts_at: "2020-01-01T00:00:00Z", ends_at: "2999-01-01T00:00:00Z" });

const CART = { currency: "GBP", country: "GB", codes: ["A"], customer_group: "trade", lines: [{ sku: "MADE-UP", title: "Walked", unit_price: 100, quantity: 1,
  tags: ["tea"], tax_class: "standard" }] };

// A body that is good, for each route that takes texts.
const WALK = {
  "POST /store/v1/carts": () => ({ currency: "GBP", country: "GB" }),
  "PATCH /store/v1/carts/{id}": () => ({ email: "ada@example.com", shipping_address: ADDRESS, billing_address: ADDRESS, shipping_option_id: place.cart.shipping_option_id }),
  "POST /store/v1/carts/{id}/lines": () => ({ variant_id: place.variant.id, quantity: 1 }),
  "POST /store/v1/carts/{id}/promotions": () => ({ code: "NONE" }),
  "POST /store/v1/carts/{id}/payment-sessions": () => ({ provider: "test", data: { token: "tok_ok" } }),
  "POST /store/v1/orders/{id}/payment-sessions": () => ({ provider: "test", data: { token: "tok_ok" } }),
  "POST /store/v1/carts/{id}/complete": () => ({ data: { note: "x" } }),
  "POST /admin/v1/products": PRODUCT,
  "PATCH /admin/v1/products/{id}": () => {
    const { variants, ...rest } = PRODUCT();
    return { ...rest, variants: [{ ...variants[0], id: place.changed.variant.id }] };
  },
  "PUT /admin/v1/variants/{id}/prices": () => ({ prices: PRODUCT().variants[0].prices }),
  "POST /admin/v1/categories": () => ({ handle: newKey().toLowerCase(), title: "Walked", parent_id: place.category.id }),
  "PATCH /admin/v1/categories/{id}": () => ({ handle: "walked", title: "Walked" }),
  "POST /admin/v1/inventory/{sku}/adjustments": () => ({ delta: 1, reason: "walk", location: "main" }),
  "POST /admin/v1/inventory/{sku}/counts": () => ({ quantity: 100000, taken_at: new Date().toISOString(), location: "main", reason: "walk" }),
  "POST /admin/v1/inventory/{sku}/transfers": () => ({ from: "main", to: "walked", quantity: 1, reason: "walk" }),
  "PUT /admin/v1/inventory/{sku}/backorders": () => ({ policy: "preorder", limit: 5, available_at: "2999-01-01T00:00:00Z" }),
  "PUT /admin/v1/variants/{id}/parts": () => ({ parts: [{ variant_id: place.variant.id, quantity: 2 }] }),
  "POST /admin/v1/locations": () => ({ code: newKey().toLowerCase(), name: "Walked" }),
  "PATCH /admin/v1/locations/{code}": () => ({ name: "Walked" }),
  "POST /admin/v1/jobs/replay": () => ({ type: "no.such" }),
  "POST /admin/v1/jobs/discard": () => ({ type: "no.such", reason: "walk" }),
  "POST /admin/v1/jobs/{id}/discard": () => ({ reason: "walk" }),
  "POST /admin/v1/webhooks/{id}/replay": () => ({ reason: "walk" }),
  "POST /admin/v1/sagas/{id}/retry": () => ({ reason: "walk" }),
  "POST /admin/v1/sagas/{id}/resolve": () => ({ as: "undone", reason: "walk", order_id: place.order.id,
    payments: [{ id: place.order.id.replace("ord", "pay"), outcome: "voided" }] }),
  "POST /admin/v1/promotions": PROMOTION,
  "PATCH /admin/v1/promotions/{id}": PROMOTION,
  "POST /admin/v1/orders/{id}/fulfilments": () => ({ tracking_number: "AB1", carrier: "post", lines: [{ line_id: place.order.lines[0].id, quantity: 1 }] }),
  "PATCH /admin/v1/orders/{id}/fulfilments/{fulfilment_id}": () => ({ tracking_number: "AB2", carrier: "post" }),
  "POST /admin/v1/orders/{id}/fulfilments/{fulfilment_id}/ship": () => ({ tracking_number: "AB2", carrier: "post" }),
  "POST /admin/v1/orders/{id}/fulfilments/{fulfilment_id}/cancel": () => ({ reason: "walk" }),
  "POST /admin/v1/orders/{id}/notes": () => ({ text: "walk" }),
  "POST /admin/v1/orders/{id}/payment-request": () => ({ reason: "walk" }),
  "POST /admin/v1/orders/{id}/returns": () => ({ lines: [{ line_id: place.order.lines[0].id, quantity: 1, location: "main" }], reason: "walk" }),
  "POST /admin/v1/orders/{id}/refunds": () => ({ amount: { amount: 1, currency: "GBP" }, reason: "walk" }),
  "POST /admin/v1/refunds/{id}/approve": () => ({ reason: "walk" }),
  "POST /admin/v1/refunds/{id}/reject": () => ({ reason: "walk" }),
  "PUT /admin/v1/refund-limits": () => ({ limits: [{ role: "support", currency: "*", amount: 10000 }] }),
  "POST /admin/v1/settlements": () => ({ provider: "stripe", from: "2020-01-01T00:00:00Z", to: "2020-01-02T00:00:00Z" }),
  "POST /admin/v1/payments/{id}/capture": () => ({ amount: { amount: 1, currency: "GBP" } }),
  "POST /admin/v1/payments/{id}/void": () => ({ reason: "walk" }),
  "POST /admin/v1/payments/{id}/resolve": () => ({ as: "voided", reason: "walk" }),
  "POST /admin/v1/alerts/{id}/close": () => ({ reason: "walk" }),
  "POST /admin/v1/orders/{id}/cancel": () => ({ lines: [{ line_id: place.order.lines[0].id, quantity: 1 }], reason: "walk" }),
  "POST /admin/v1/staff": () => ({ email: `${newKey()}@example.com`, name: "Walked", password: "long enough to be one", roles: ["viewer"] }),
  "POST /admin/v1/keys": () => ({ name: "Walked", kind: "secret", roles: ["viewer"] }),
  "POST /admin/v1/rules": RULE,
  "PATCH /admin/v1/rules/{id}": () => {
    const { name, hook, ...rest } = RULE();
    return rest;
  },
  "POST /admin/v1/rules/validate": () => ({ name: "walk", hook: "promo.evaluate", text: TEXT }),
  "POST /admin/v1/rules/try": () => ({ rule: { name: "walk", hook: "promo.evaluate", text: TEXT }, cart: CART, at: "2030-01-01T00:00:00Z" }),
  "POST /admin/v1/rules/{id}/try": () => ({ cart: CART }),
  "POST /admin/v1/rules/{id}/publish": () => ({ reason: "walk" }),
  "POST /admin/v1/rules/{id}/schedule": () => ({ reason: "walk", starts_at: "2020-01-01T00:00:00Z", ends_at: "2999-01-01T00:00:00Z" }),
  "POST /admin/v1/rules/{id}/restore": () => ({ reason: "walk" }),
  "POST /admin/v1/rules/{id}/unpublish": () => ({ reason: "walk" }),
  "POST /admin/v1/generations/reload": () => ({ reason: "walk" }),
  "POST /admin/v1/generations/{hash}/activate": () => ({ reason: "walk" }),
  "POST /auth/v1/staff/sessions": () => ({ email: "nobody@example.com", password: "nobody's password" }),
  "POST /auth/v1/customers": () => ({ email: `${newKey()}@example.com`, password: "long enough to be one", first_name: "Ada", last_name: "L", phone: "1" }),
  "POST /auth/v1/customers/sessions": () => ({ email: "nobody@example.com", password: "nobody's password" }),
};

const IDS = { carts: () => place.cart.id, products: () => place.changed.product.id, variants: () => place.changed.variant.id, categories: () => place.category.id,
  promotions: () => place.promotion.id, orders: () => place.order.id, rules: () => place.rule.id, generations: () => "live", inventory: () => encodeURIComponent(place.variant.sku),
  alerts: () => "1", locations: () => "main", refunds: () => place.order.id.replace("ord", "rfnd"), payments: () => place.order.id.replace("ord", "pay"), fulfilments: () => place.order.id.replace("ord", "ful"), jobs: () => "1", sagas: () => "1", webhooks: () => "1", settlements: () => "1", payouts: () => "1" };

function send(route, body) {
  const [method, template] = route.split(" ");
  const target = template.replace(/\/(\w+)\/\{\w+\}/g, (_, noun) => `/${noun}/${IDS[noun]()}`);
  return shop.h2(method, target, { body, headers: { ...idem(), ...(target.startsWith("/admin") && method !== "POST" ? { "if-match": "*" } : {}) },
    key: target.startsWith("/admin") ? shop.dev.admin_key : shop.dev.store_key });
}

/** Paths to all texts in `value`. */
function texts(value, at = []) {
  if (typeof value === "string") return [at];
  if (value === null || typeof value !== "object") return [];
  return Object.entries(value).flatMap(([key, inner]) => texts(inner, [...at, key]));
}

function withText(body, at, text) {
  const copy = structuredClone(body);
  const last = at[at.length - 1];
  at.slice(0, -1).reduce((inner, key) => inner[key], copy)[last] = text;
  return copy;
}

const literal = (text) => `CONVERT(x'${Buffer.from(text).toString("hex")}' USING utf8mb4)`;

const hasTexts = (schema, seen = new Set()) => {
  if (schema?.$ref) {
    if (seen.has(schema.$ref)) return false;
    seen.add(schema.$ref);
    return hasTexts(schema.$ref.slice(2).split("/").reduce((at, name) => at[name], openapi), seen);
  }
  if (!schema) return false;
  if ([schema.type].flat().includes("string")) return true;
  const inner = [...Object.values(schema.properties ?? {}), schema.items, ...(schema.anyOf ?? []),
    typeof schema.additionalProperties === "object" ? schema.additionalProperties : undefined];
  return inner.some((s) => hasTexts(s, seen));
};

describe("a hostile text", () => {
  it("is tried in every route that takes texts", () => {
    const routes = [];
    for (const [at, methods] of Object.entries(openapi.paths)) {
      if (!/^\/(store|admin|auth)\/v1\//.test(at)) continue;
      for (const [method, operation] of Object.entries(methods))
        if (hasTexts(operation.requestBody?.content?.["application/json"]?.schema)) routes.push(`${method.toUpperCase()} ${at}`);
    }
    assert.ok(routes.length > 10);
    assert.deepEqual(routes.filter((route) => !WALK[route]), []);
  });

  for (const route of Object.keys(WALK)) {
    it(`does no harm in ${route}`, async () => {
      const tables = await query(shop, "SHOW TABLES");
      const orders = await count(shop, "orders");
      for (const at of texts(WALK[route]())) {
        for (const text of HOSTILE) {
          const answer = await send(route, withText(WALK[route](), at, text));
          const what = `${at.join(".")} = ${text}: ${answer.status} ${answer.text}`;
          assert.ok(answer.status < 500, what);
          if (answer.status >= 400) assertProblem(answer, answer.status, answer.body.code);
        }
      }
      assert.deepEqual(await query(shop, "SHOW TABLES"), tables);
      assert.ok(await count(shop, "orders") <= orders + 1);
    });
  }

  it("is kept to the letter where texts are free", async () => {
    for (const text of HOSTILE) {
      const made = assertOk(await shop.admin("POST", "/products", { headers: idem(), body: { ...PRODUCT(), title: text, description: text, tags: [text] } }), 201).product;
      const shown = assertOk(await shop.store("GET", `/products/${made.id}`), 200).product;
      assert.deepEqual([shown.title, shown.description, shown.tags], [text, text, [text]]);
      const { cart } = assertOk(await shop.store("POST", "/carts", { body: {} }), 201);
      const address = { ...ADDRESS, first_name: text, city: text, address1: text };
      assertOk(await shop.store("PATCH", `/carts/${cart.id}`, { body: { shipping_address: address } }), 200);
      const kept = assertOk(await shop.store("GET", `/carts/${cart.id}`), 200).cart.shipping_address;
      assert.deepEqual([kept.first_name, kept.city, kept.address1], [text, text, text]);
    }
  });

  it("is a text also in paths and queries", async () => {
    const seen = (await shop.admin("GET", "/orders?limit=100")).body.data.length;
    assert.ok(seen > 0);
    for (const text of HOSTILE) {
      const e = encodeURIComponent(text);
      for (const target of [`/store/v1/products/${e}`, `/store/v1/products?category=${e}`, `/store/v1/carts/${e}`, `/store/v1/search?q=x&category=${e}`,
        `/store/v1/carts/${place.cart.id}/promotions/${e}`]) {
        const answer = await shop.h2(target.includes("/promotions/") ? "DELETE" : "GET", target);
        assert.ok([400, 404, 422].includes(answer.status), `${target}: ${answer.status} ${answer.text}`);
      }
      const inventory = await shop.admin("GET", `/inventory/${e}`); // there may be such a SKU by now
      assert.equal(inventory.status, (await count(shop, "variants", `sku = ${literal(text)}`)) === 1 ? 200 : 404, text);
      assertOk(await shop.store("GET", `/search?q=${e}`), 200);
      const byMail = await shop.admin("GET", `/orders?email=${e}`);
      assert.ok(byMail.status === 422 || byMail.body.data.length === 0, byMail.text);
      const byState = await shop.admin("GET", `/orders?payment_status=${e}`);
      assert.ok(byState.status === 422 || byState.body.data.length === 0, byState.text);
    }
  });

  it("has left the shop as it was", async () => {
    assertOk(await shop.store("GET", `/products/${place.product.id}`), 200);
    assertOk(await shop.admin("GET", `/orders/${place.order.id}`), 200);
    await assertInvariants(shop);
  });
});

// The shopper's journey of docs/api.md, from the list to the order, over HTTP/2 and HTTP/1.1.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { ADDRESS, Shop, SLICE, idem, newKey } from "./support/shop.mjs";

let shop;
before(async () => {
  shop = await Shop.start();
  const imported = await shop.cli("import", "products", SLICE);
  assert.equal(imported.code, 0, imported.stderr);
});
after(() => shop?.stop());

for (const protocol of ["h2", "h1"]) {
  describe(`the journey over ${protocol}`, () => {
    const ask = (method, target, options) => shop[protocol](method, target, options);
    let product, variant, cart, order;

    it("lists products and categories", async () => {
      const list = await ask("GET", "/store/v1/products?limit=24");
      assert.equal(list.status, 200, list.text);
      assert.equal(list.body.data.length, 24);
      assert.equal(list.body.has_more, true);
      const next = await ask("GET", `/store/v1/products?limit=24&after=${encodeURIComponent(list.body.next_cursor)}`);
      assert.equal(next.status, 200, next.text);
      const seen = new Set(list.body.data.map((p) => p.id));
      assert.ok(next.body.data.every((p) => !seen.has(p.id)), "the next page repeats nothing");
      const categories = await ask("GET", "/store/v1/categories");
      assert.ok(categories.body.data.some((c) => c.handle === "lights"), categories.text);
      const lights = await ask("GET", "/store/v1/products?limit=5&category=lights");
      assert.equal(lights.body.data.length, 5);
    });

    it("finds the hanging heart t-light holder, misspelt", async () => {
      const found = await ask("GET", "/store/v1/search?q=hart%20t-lite");
      assert.equal(found.status, 200, found.text);
      product = found.body.data.find((p) => p.title === "White Hanging Heart T-Light Holder");
      assert.ok(product, found.text);
    });

    it("shows a product by id and by handle, with ETag and 304", async () => {
      const byId = await ask("GET", `/store/v1/products/${product.id}`);
      const byHandle = await ask("GET", `/store/v1/products/${product.handle}`);
      assert.equal(byId.status, 200, byId.text);
      assert.deepEqual(byId.body, byHandle.body);
      variant = byId.body.product.variants[0];
      const again = await ask("GET", `/store/v1/products/${product.id}`, { headers: { "if-none-match": byId.headers.etag } });
      assert.equal(again.status, 304);
      assert.equal(again.text, "");
    });

    it("fills a cart", async () => {
      const made = await ask("POST", "/store/v1/carts", { body: { currency: "GBP", country: "GB" } });
      assert.equal(made.status, 201, made.text);
      const id = made.body.cart.id;
      const added = await ask("POST", `/store/v1/carts/${id}/lines`, { body: { variant_id: variant.id, quantity: 2 } });
      assert.ok(added.status < 300, added.text);
      const line = added.body.cart.lines[0];
      assert.equal(line.quantity, 2);
      assert.equal(line.subtotal.amount, 2 * line.unit_price.amount);
      const changed = await ask("PATCH", `/store/v1/carts/${id}/lines/${line.id}`, { body: { quantity: 3 } });
      assert.equal(changed.body.cart.lines[0].quantity, 3);
      const detailed = await ask("PATCH", `/store/v1/carts/${id}`, {
        body: { email: "ada@example.com", shipping_address: ADDRESS, billing_address: ADDRESS },
      });
      assert.equal(detailed.status, 200, detailed.text);
      const options = await ask("GET", `/store/v1/carts/${id}/shipping-options`);
      assert.ok(options.body.data.length > 0, options.text);
      const shipped = await ask("PATCH", `/store/v1/carts/${id}`, { body: { shipping_option_id: options.body.data[0].id } });
      cart = shipped.body.cart;
      assert.equal(cart.total.amount,
        cart.subtotal.amount - cart.discount_total.amount + cart.shipping_total.amount +
          (cart.prices_include_tax ? 0 : cart.tax_total.amount));
    });

    it("takes a promotion code, in any case of letters, and gives it back", async () => {
      const code = `TENOFF${protocol}`.toUpperCase();
      const made = await shop.admin("POST", "/promotions", {
        headers: idem(), body: { code, name: "Ten off", terms: { level: "order", type: "percent", value: "10" }, status: "active" },
      });
      assert.equal(made.status, 201, made.text);
      const taken = await ask("POST", `/store/v1/carts/${cart.id}/promotions`, { body: { code: ` ${code.toLowerCase()} ` } });
      assert.ok(taken.status < 300, taken.text);
      assert.ok(taken.body.cart.discount_total.amount > 0, taken.text);
      const without = await ask("DELETE", `/store/v1/carts/${cart.id}/promotions/${code}`);
      assert.equal(without.body.cart.discount_total.amount, 0, without.text);
      const again = await ask("POST", `/store/v1/carts/${cart.id}/promotions`, { body: { code } });
      cart = again.body.cart;
      const unknown = await ask("POST", `/store/v1/carts/${cart.id}/promotions`, { body: { code: "NO-SUCH" } });
      assert.equal(unknown.status, 422);
      assert.equal(unknown.body.code, "promotion_unknown");
    });

    it("pays and places the order, once however often it is asked", async () => {
      const session = await ask("POST", `/store/v1/carts/${cart.id}/payment-sessions`, { body: { provider: "manual" } });
      assert.ok(session.status < 300, session.text);
      const key = newKey();
      const placed = await ask("POST", `/store/v1/carts/${cart.id}/complete`, { headers: idem(key), body: {} });
      assert.equal(placed.status, 200, placed.text);
      assert.equal(placed.body.type, "order");
      order = placed.body.order;
      assert.equal(order.total.amount, cart.total.amount);
      const replayed = await ask("POST", `/store/v1/carts/${cart.id}/complete`, { headers: idem(key), body: {} });
      assert.equal(replayed.headers["idempotent-replayed"], "true");
      assert.deepEqual(replayed.body, placed.body);
      const twice = await ask("POST", `/store/v1/carts/${cart.id}/complete`, { headers: idem(), body: {} });
      assert.equal(twice.body.order.id, order.id, "another key, the same order");
    });

    it("shows the order to the shopper and to staff, who fulfils it", async () => {
      const shown = await ask("GET", `/store/v1/orders/${order.id}`);
      assert.equal(shown.status, 200, shown.text);
      assert.equal(shown.body.order.lines[0].quantity, 3);
      const listed = await shop.admin("GET", "/orders?limit=5");
      assert.ok(listed.body.data.some((o) => o.id === order.id), listed.text);
      const fulfilled = await shop.admin("POST", `/orders/${order.id}/fulfilments`, { headers: idem(), body: {} });
      assert.ok(fulfilled.status < 300, fulfilled.text);
      const done = await shop.admin("GET", `/orders/${order.id}`);
      assert.equal(done.body.order.fulfilment_status, "fulfilled", done.text);
    });
  });
}

// What is wrong is refused, in one form, with a code that says why, and changes nothing.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { ADDRESS, Shop, idem, makeCart, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk, assertPointsAt, assertProblem } from "./support/checks.mjs";
import { count } from "./support/db.mjs";

const NOBODY = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

let shop, product, variant, cart, otherKey;
before(async () => {
  shop = await Shop.start({ args: ["--set", "auth.max_attempts=4"] });
  ({ product, variant } = await makeProduct(shop, { stock: 50 }));
  cart = await makeCart(shop, variant.id);
  otherKey = (await makeKey("Another window")).key;
});
after(() => shop?.stop());

const makeKey = async (name) => assertOk(await shop.admin("POST", "/keys",
  { headers: idem(), body: { kind: "publishable", name } }), 201).key;

const cartPath = (rest = "") => `/carts/${cart.id}${rest}`;
const readCart = async () => (await shop.store("GET", cartPath())).body;

/** Runs `ask`, and fails if the cart is another one afterwards. */
async function withoutEffect(ask) {
  const seen = await readCart();
  const answer = await ask();
  assert.deepEqual(await readCart(), seen, "a refused request changed the cart");
  return answer;
}

describe("the body", () => {
  const malformed = {
    "cut short": '{"quantity":', "a comma too much": '{"quantity":1,}', "single quotes": "{'quantity':1}",
    "something after it": '{"quantity":1} x', "no JSON at all": "quantity=1", "a key twice": '{"quantity":1,"quantity":2}',
    "an unknown word": '{"quantity":nul}', "a bare control character": '{"variant_id":"a\u0001b"}',
    "half a surrogate": '{"variant_id":"\\ud800"}', "a number out of range": '{"quantity":1e400}',
    "too deep": "[".repeat(5000) + "]".repeat(5000),
    "broken UTF-8": Buffer.concat([Buffer.from('{"variant_id":"'), Buffer.from([0xc3, 0x28]), Buffer.from('"}')]),
  };
  for (const [name, body] of Object.entries(malformed)) {
    it(`is refused when it has ${name}`, async () => {
      for (const protocol of ["h2", "h1"]) {
        const answer = await withoutEffect(() => shop[protocol]("POST", `/store/v1${cartPath("/lines")}`, { body }));
        assertProblem(answer, 400, "malformed_json");
      }
    });
  }

  it("points at each wrong type", async () => {
    const answer = await withoutEffect(() => shop.store("PATCH", cartPath(), {
      body: { email: 5, shipping_address: { ...ADDRESS, city: ["London"], country: true }, shipping_option_id: {} },
    }));
    for (const pointer of ["/email", "/shipping_address/city", "/shipping_address/country", "/shipping_option_id"])
      assertPointsAt(answer, pointer);
  });

  // As of headers below: a worker that is at one body for seconds is ended, and there is no answer.
  it("is read in the time that its length takes, whatever it holds that nobody expects", async () => {
    const many = (of) => Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [`${of}${i.toString(26)}`, 1]));
    const login = await shop.h1("POST", "/auth/v1/staff/sessions", { key: null, body: many("emai") });
    assertProblem(login, 422, "invalid_request");
    assert.equal(login.body.errors.length, 50);
    assertProblem(await withoutEffect(() => shop.store("PATCH", cartPath(), { body: { shipping_address: many("addres") } })), 422, "invalid_request");
    const lines = Array.from({ length: 400 }, () => Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`quantit${i}`, 1])));
    assertProblem(await shop.admin("POST", "/rules/try", { body: { cart: { currency: "GBP", lines } } }), 422, "invalid_request");
  });

  it("points at what it does not know and at what is missing", async () => {
    const unknown = await withoutEffect(() => shop.store("POST", cartPath("/lines"),
      { body: { variant_id: variant.id, quantity: 1, price: 1 } }));
    assertPointsAt(unknown, "/price");
    assertPointsAt(await shop.store("POST", cartPath("/lines"), { body: { quantity: 1 } }), "/variant_id");
    const escaped = await shop.store("POST", cartPath("/lines"), { body: { variant_id: variant.id, quantity: 1, "a/b~c": 1 } });
    assertPointsAt(escaped, "/a~1b~0c");
  });

  it("must be an object", async () => {
    for (const body of ["[]", '"text"', "5", "null", "true"])
      assertProblem(await withoutEffect(() => shop.store("PATCH", cartPath(), { body })), 422, "invalid_request");
  });

  it("must be JSON by its name", async () => {
    const answer = await withoutEffect(() => shop.store("POST", cartPath("/lines"), {
      body: JSON.stringify({ variant_id: variant.id, quantity: 1 }), headers: { "content-type": "text/plain" },
    }));
    assertProblem(answer, 415, "unsupported_media_type");
  });

  it("may not be larger than allowed, over both protocols", async () => {
    const body = JSON.stringify({ email: "a".repeat(1100000) });
    for (const protocol of ["h2", "h1"]) {
      const answer = await withoutEffect(() => shop[protocol]("PATCH", `/store/v1${cartPath()}`, { body }));
      assertProblem(answer, 413, "body_too_large");
    }
  });

  it("may be as large as allowed", async () => {
    const body = JSON.stringify({ email: "a".repeat(900000) });
    assertPointsAt(await shop.store("PATCH", cartPath(), { body }), "/email");
  });

  it("has no NUL and no overlong text", async () => {
    assertProblem(await withoutEffect(() => shop.store("PATCH", cartPath(),
      { body: { shipping_address: { ...ADDRESS, city: "Lon\u0000don" } } })), 400, "malformed_json");
    assertPointsAt(await withoutEffect(() => shop.store("PATCH", cartPath(),
      { body: { shipping_address: { ...ADDRESS, city: "L".repeat(5000) } } })), "/shipping_address/city");
  });
});

describe("the address", () => {
  it("is 404 where there is nothing", async () => {
    for (const target of ["/store/v1/nothing", "/nothing", "/store/v2/products", "/store/v1/products/a/b/c", "//", "/store/v1/"])
      assertProblem(await shop.h2("GET", target), 404, "not_found");
  });

  it("is 405 with Allow where the method does not fit", async () => {
    const answer = await shop.store("DELETE", "/products");
    assertProblem(answer, 405, "method_not_allowed");
    assert.match(answer.headers.allow, /\bGET\b/);
    const carts = await shop.h1("PUT", `/store/v1${cartPath()}`, { body: {} });
    assertProblem(carts, 405, "method_not_allowed");
    for (const method of ["GET", "PATCH", "HEAD"]) assert.ok(carts.headers.allow.split(", ").includes(method), carts.headers.allow);
  });

  it("may hold anything without harm", async () => {
    const broken = ["%00", "%ff", "%c3%28", "%zz"]; // no UTF-8 without NUL: no path at all
    const odd = [...broken, "%2e%2e%2f%2e%2e", "'%20OR%201=1--", "a".repeat(3000), "%F0%9F%92%A9", "{id}"];
    for (const text of odd) {
      for (const protocol of ["h2", "h1"]) {
        const answer = await shop[protocol]("GET", `/store/v1/products/${text}`);
        assert.equal(answer.status, broken.includes(text) ? 400 : 404, `${text}: ${answer.text}`);
        assertProblem(answer, answer.status, answer.status === 400 ? "bad_request" : "not_found");
      }
    }
  });

  it("takes only parameters that it knows, in their form", async () => {
    assertPointsAt(await shop.store("GET", "/products?limitt=5"), "/query/limitt");
    for (const limit of ["0", "101", "-1", "1.5", "x", "", "9007199254740993", "1e400"]) {
      const answer = await shop.store("GET", `/products?limit=${limit}`);
      assert.equal(answer.status, 422, `limit=${limit}: ${answer.text}`);
    }
    assertProblem(await shop.store("GET", "/products?limit=1%00"), 400, "bad_request");
    assertPointsAt(await shop.store("GET", "/products?limit=5&limit=6"), "/query/limit");
    for (const bad of ["%ff", "%c3%28", "%00"]) {
      assertProblem(await shop.store("GET", `/products?category=${bad}`), 400, "bad_request");
    }
  });

  it("takes only cursors of its own", async () => {
    for (const target of ["/store/v1/products", "/admin/v1/orders", "/admin/v1/products"]) {
      for (const cursor of ["x", "AAAA", "0", "eyJhIjoxfQ", "%27%3B--", "A".repeat(900)]) {
        for (const name of ["after", "before"]) {
          const answer = await shop.h2("GET", `${target}?${name}=${cursor}`,
            { key: target.startsWith("/admin") ? shop.dev.admin_key : shop.dev.store_key });
          assertProblem(answer, 400, "invalid_cursor");
        }
      }
    }
  });

  it("takes no cursor that somebody has changed, nor one of another list", async () => {
    await makeProduct(shop);
    const list = assertOk(await shop.admin("GET", "/products?limit=1"), 200);
    const cursor = list.next_cursor;
    const middle = Math.floor(cursor.length / 2);
    const forged = cursor.slice(0, middle) + (cursor[middle] === "A" ? "B" : "A") + cursor.slice(middle + 1);
    assertProblem(await shop.admin("GET", `/products?after=${forged}`), 400, "invalid_cursor");
    assertOk(await shop.admin("GET", `/products?after=${cursor}`), 200);
  });

  it("has headers of a bounded size", async () => {
    const ask = (protocol) => shop[protocol]("GET", "/store/v1/products", { headers: { "x-filler": "a".repeat(60000) } });
    assertProblem(await ask("h1"), 431, "headers_too_large");
    await assert.rejects(ask("h2"), "headers that take more than a frame end the connection");
    for (const protocol of ["h2", "h1"]) assertOk(await shop[protocol]("GET", "/store/v1/products?limit=1"), 200);
  });

  // A worker that is at one request for seconds is ended, with all that it has in flight: then there is no answer here.
  it("is read in the time that its length takes, by whomever it is sent", async () => {
    const many = 28_000, blanks = " ".repeat(many), order = `/store/v1/orders/ord_${NOBODY}`;
    const cookies = [`till_session=x${blanks}b`, `x;${blanks}y`, `${";".repeat(many)}`, `till_session=${"a".repeat(many)}`, `${"=".repeat(many)}`];
    for (const cookie of cookies) assertProblem(await shop.h1("GET", order, { key: null, headers: { cookie } }), 401, "unauthorized");
    for (const authorization of [`Bearer x${blanks}y`, `Bearer ${blanks}x`])
      assertProblem(await shop.h1("GET", order, { key: null, headers: { authorization } }), 401, "unauthorized");
    assertProblem(await shop.h1("GET", `/store/v1/products?limit=${"1".repeat(many)}x`), 422, "invalid_request");
    const type = `multipart/form-data; boundary=a${blanks}b`;
    const form = await shop.h1("POST", "/admin/v1/imports", { key: shop.dev.admin_key, headers: { ...idem(), "content-type": type }, body: Buffer.from("x") });
    assertProblem(form, 400, "bad_request");
  });

  it("is read in that time whichever header is long, and whatever it is full of", async () => {
    const names = ["authorization", "cookie", "idempotency-key", "if-match", "if-none-match", "origin", "accept", "content-type",
      "x-request-id", "x-forwarded-for", "stripe-signature", "last-event-id", "user-agent"];
    const headers = (name, fill) => ({ ...idem(), [name]: `x${fill.repeat(Math.floor(28_000 / fill.length))}y` });
    for (const name of names)
      for (const fill of [" ", "1", "=", ";", ",", '"', "-", 'W/"a", ', "charset"])
        for (const [method, path] of [["POST", "/store/v1/carts"], ["GET", "/store/v1/products"]]) {
          const answer = await shop.h1(method, path, { headers: headers(name, fill), body: method === "POST" ? { currency: "GBP" } : undefined });
          assert.ok(answer.status >= 200 && answer.status < 500, `${method} ${path}, ${name} of ${fill}: ${answer.status} ${answer.text}`);
        }
  });

  it("is refused at once where there are many parameters that nobody knows", async () => {
    const query = Array.from({ length: 100 }, (_, i) => `limi${i}=1`).join("&");
    const answer = assertProblem(await shop.store("GET", `/products?${query}`), 422, "invalid_request");
    assert.equal(answer.errors.filter((e) => e.detail.includes("meant")).length, 10);
  });
});

describe("an unknown id", () => {
  it("is 404, whatever it is of and however it looks", async () => {
    const store = [
      ["GET", "/products/prod_*"], ["GET", "/products/no-such-handle"], ["GET", "/carts/cart_*"], ["GET", "/orders/ord_*"],
      ["PATCH", "/carts/cart_*", { email: "a@example.com" }], ["POST", "/carts/cart_*/lines", { variant_id: "var_*", quantity: 1 }],
      ["GET", "/carts/cart_*/shipping-options"], ["POST", "/carts/cart_*/promotions", { code: "X" }],
      ["POST", "/carts/cart_*/payment-sessions", { provider: "manual" }], ["POST", "/carts/cart_*/complete", {}],
      ["PATCH", "/carts/CART/lines/line_*", { quantity: 1 }], ["DELETE", "/carts/CART/lines/line_*"],
      ["DELETE", "/carts/CART/promotions/NOPE"], ["POST", "/carts/CART/lines", { variant_id: "var_*", quantity: 1 }],
    ];
    for (const [method, path, body] of store) {
      const fill = (text) => text.replace("CART", cart.id).replace("_*", `_${NOBODY}`);
      const answer = await withoutEffect(() => shop.store(method, fill(path),
        { headers: idem(), body: body && JSON.parse(fill(JSON.stringify(body))) }));
      assertProblem(answer, 404, "not_found");
    }
    const admin = [
      ["GET", "/products/prod_*"], ["GET", "/orders/ord_*"], ["GET", "/inventory/no-such-sku"], ["GET", "/categories/cat_*"],
      ["POST", "/orders/ord_*/fulfilments", {}], ["POST", "/inventory/no-such-sku/adjustments", { delta: 1, reason: "x" }],
      ["GET", "/promotions/promo_*"],
    ];
    for (const [method, path, body] of admin)
      assertProblem(await shop.admin(method, path.replace("*", NOBODY), { headers: idem(), body }), 404, "not_found");
  });

  it("is 404 when it is an id of something else, or none", async () => {
    for (const id of [product.id, variant.id, cart.id.toUpperCase(), cart.id.slice(0, -1), `${cart.id}0`, "cart_", "1",
      cart.id.replace("cart_", "")])
      assertProblem(await shop.store("GET", `/carts/${id}`), 404, "not_found");
  });
});

describe("a quantity", () => {
  const wrong = [-1, 0, 1.5, 1000001, 2 ** 53, 2 ** 53 + 2, 1e300, "1", "", null, true, [1], {}];
  it("is a whole number from 1 to what a line may have", async () => {
    for (const quantity of wrong) {
      const added = await withoutEffect(() => shop.store("POST", cartPath("/lines"), { body: { variant_id: variant.id, quantity } }));
      assert.equal(added.status, 422, `${JSON.stringify(quantity)}: ${added.text}`);
      assertPointsAt(added, "/quantity", added.body.code);
      if (quantity === 0) continue; // takes the line out
      const changed = await withoutEffect(() => shop.store("PATCH", cartPath(`/lines/${cart.lines[0].id}`), { body: { quantity } }));
      assert.equal(changed.status, 422, `${JSON.stringify(quantity)}: ${changed.text}`);
    }
    for (const quantity of ["1e400", "-0.5", "1E1000", "99999999999999999999", "0x10", "+1", "01", "NaN", "Infinity", "1."]) {
      const answer = await withoutEffect(() => shop.store("POST", cartPath("/lines"),
        { body: `{"variant_id":"${variant.id}","quantity":${quantity}}` }));
      const isJson = ["-0.5", "99999999999999999999"].includes(quantity); // 1e400 is no number that can be held
      assertProblem(answer, isJson ? 422 : 400, isJson ? "invalid_request" : "malformed_json");
      assertProblem(answer, answer.status, answer.body.code);
    }
  });

  it("is bounded also by adding up", async () => {
    const mine = assertOk(await shop.store("POST", "/carts", { body: {} }), 201).cart;
    assertOk(await shop.store("POST", `/carts/${mine.id}/lines`, { body: { variant_id: variant.id, quantity: 10000 } }));
    const more = await shop.store("POST", `/carts/${mine.id}/lines`, { body: { variant_id: variant.id, quantity: 1 } });
    assertProblem(more, 422, "invalid_quantity");
    const seen = await shop.store("GET", `/carts/${mine.id}`);
    assert.equal(seen.body.cart.lines[0].quantity, 10000);
  });

  it("of stock may not fall below nothing", async () => {
    const sku = encodeURIComponent(variant.sku);
    const seen = assertOk(await shop.admin("GET", `/inventory/${sku}`), 200);
    for (const body of [{ delta: -51, reason: "x" }, { set_to: -1, reason: "x" }, { delta: 1.5, reason: "x" }, { reason: "x" },
      { delta: 1, set_to: 2, reason: "x" }, { delta: "1", reason: "x" }, { set_to: 2 ** 53, reason: "x" },
      { delta: Number.MAX_SAFE_INTEGER, reason: "x" }]) {
      const answer = await shop.admin("POST", `/inventory/${sku}/adjustments`, { headers: idem(), body });
      assert.ok(answer.status >= 400 && answer.status < 500, `${JSON.stringify(body)}: ${answer.status} ${answer.text}`);
      assertProblem(answer, answer.status, answer.body.code);
      assert.deepEqual((await shop.admin("GET", `/inventory/${sku}`)).body, seen, JSON.stringify(body));
    }
  });
});

describe("money and places", () => {
  it("refuses a currency without a price, and those that are none", async () => {
    const mine = assertOk(await shop.store("POST", "/carts", { body: { currency: "JPY", country: "JP" } }), 201).cart;
    const answer = await shop.store("POST", `/carts/${mine.id}/lines`, { body: { variant_id: variant.id, quantity: 1 } });
    assertProblem(answer, 422, "no_price");
    assert.deepEqual((await shop.store("GET", `/carts/${mine.id}`)).body.cart.lines, []);
    for (const currency of ["XXQ", "gbp", "£££", "GB", "GBPP", "", 5]) {
      const wrong = await shop.store("POST", "/carts", { body: { currency, country: "GB" } });
      assert.equal(wrong.status, 422, `${currency}: ${wrong.text}`);
      assert.ok(["unknown_currency", "invalid_request"].includes(wrong.body.code), wrong.text);
    }
  });

  it("refuses countries that are none", async () => {
    for (const country of ["ZZ", "gb", "GBR", "", "  ", "💩"]) {
      const wrong = await shop.store("POST", "/carts", { body: { currency: "GBP", country } });
      assert.equal(wrong.status, 422, `${country}: ${wrong.text}`);
      const patched = await withoutEffect(() => shop.store("PATCH", cartPath(),
        { body: { shipping_address: { ...ADDRESS, country } } }));
      assert.equal(patched.status, 422, `${country}: ${patched.text}`);
    }
  });

  it("refuses what is no e-mail address", async () => {
    for (const email of ["ada", "ada@", "@example.com", "a b@example.com", "ada@example.com\r\nBcc: x@y.z", `${"a".repeat(300)}@example.com`])
      assertPointsAt(await withoutEffect(() => shop.store("PATCH", cartPath(), { body: { email } })), "/email");
  });
});

describe("If-Match", () => {
  it("is obeyed: stale 412, malformed 400, current and * go through", async () => {
    const seen = await shop.store("GET", cartPath());
    const change = (tag) => shop.store("PATCH", cartPath(), { headers: { "if-match": tag }, body: { email: "ada@example.com" } });
    assertProblem(await withoutEffect(() => change('"0"')), 412, "precondition_failed");
    assertProblem(await withoutEffect(() => change('"999999", "0"')), 412, "precondition_failed");
    assertProblem(await withoutEffect(() => change(`W/${seen.headers.etag}`)), 412, "precondition_failed");
    for (const tag of ["7", "abc", '"1', '"1" "2"', '"1",', "W/1"])
      assertProblem(await withoutEffect(() => change(tag)), 400, "bad_request");
    assertOk(await change(seen.headers.etag), 200);
    assertProblem(await withoutEffect(() => change(seen.headers.etag)), 412, "precondition_failed");
    assertOk(await change(`"0", ${(await shop.store("GET", cartPath())).headers.etag}`), 200);
    assertOk(await change("*"), 200);
  });

  it("is needed to change what others may be changing: 428", async () => {
    const seen = (await shop.admin("GET", `/products/${product.id}`)).body;
    const answer = await shop.admin("PATCH", `/products/${product.id}`, { headers: idem(), body: { title: "Other" } });
    assertProblem(answer, 428, "precondition_required");
    assert.deepEqual((await shop.admin("GET", `/products/${product.id}`)).body, seen);
  });
});

describe("Idempotency-Key", () => {
  it("must be there, well formed, and for one request only", async () => {
    const ready = await makeCart(shop, variant.id);
    const complete = (headers, body = {}) => shop.store("POST", `/carts/${ready.id}/complete`, { headers, body });
    assertProblem(await complete({}), 400, "idempotency_key_missing");
    for (const key of ["", " ", "a".repeat(256), '"unfinished', "ä"])
      assertProblem(await complete({ "idempotency-key": Buffer.from(key, "utf8").toString("latin1") }), 400, "idempotency_key_invalid");
    const key = newKey();
    const once = { title: "Once", handle: key, variants: [{ sku: key }] };
    const made = await shop.admin("POST", "/products", { headers: idem(key), body: once });
    assertOk(made, 201);
    const other = await shop.admin("POST", "/products", { headers: idem(key), body: { ...once, variants: [{ sku: `${key}b` }] } });
    assertProblem(other, 422, "idempotency_key_reused");
    assert.equal(await count(shop, "variants", `sku = '${key}b'`), 0);
    const again = await shop.admin("POST", "/products", { headers: idem(`"${key}"`), body: once });
    assert.equal(again.headers["idempotent-replayed"], "true", "quoted and bare are the same key");
    assert.deepEqual(again.body, made.body);
    assert.equal((await shop.store("GET", `/carts/${ready.id}`)).body.cart.state, "open");
  });

  it("does not remember what did not fit: the body may be mended", async () => {
    const key = newKey();
    assert.equal((await shop.admin("POST", "/products", { headers: idem(key), body: { title: 5 } })).status, 422);
    assertOk(await shop.admin("POST", "/products", { headers: idem(key), body: { title: "Mended", handle: key, variants: [{ sku: key }] } }), 201);
  });
});

describe("registering", () => {
  it("is for one address as often as people in a house would: then 429, which says when", async () => {
    const register = (key) => shop.h2("POST", "/auth/v1/customers", { key, body: { email: `${newKey()}@example.com`, password: "correct horse battery" } });
    const first = await register(shop.dev.store_key);
    assertOk(first, 201);
    assert.match(first.headers["ratelimit-policy"], /^"registration";q=20;w=900$/);
    const answers = await Promise.all(Array.from({ length: 20 }, () => register(shop.dev.store_key)));
    assert.deepEqual(answers.map((one) => one.status).sort(), [...Array(19).fill(201), 429]);
    const last = await register(shop.dev.store_key);
    assertProblem(last, 429, "quota_exceeded");
    assert.ok(Number(last.headers["retry-after"]) > 0);
    assertOk(await register(shop.dev.admin_key), 201);
  });
});

describe("credentials", () => {
  it("are needed", async () => {
    for (const target of ["/store/v1/products", "/admin/v1/orders", `/store/v1${cartPath()}`]) {
      const answer = await shop.h2("GET", target, { key: null });
      assertProblem(answer, 401, "unauthorized");
      assert.match(answer.headers["www-authenticate"], /^Bearer/);
    }
  });

  it("must be ours", async () => {
    for (const key of ["x", "mtp_", "mtp_unknown", "mts_unknown", "mtses_unknown", shop.dev.store_key.slice(0, -1),
      `${shop.dev.store_key}x`, shop.dev.store_key.replace("mtp_", "mts_"), "' OR 1=1 --", "a".repeat(5000)])
      assertProblem(await shop.h2("GET", "/store/v1/products", { key }), 401, "unauthorized");
    for (const authorization of ["Basic YTpi", "Bearer", `bearer${shop.dev.store_key}`, `Bearer ${shop.dev.store_key} x`, "Bearer \u00e4"])
      assertProblem(await shop.h2("GET", "/store/v1/products", { key: null, headers: { authorization } }), 401, "unauthorized");
  });

  it("of the shop window open no door to the office", async () => {
    const routes = [["GET", "/orders"], ["GET", "/products"], ["POST", "/products", { title: "x", variants: [{ sku: "x" }] }],
      ["GET", `/inventory/${encodeURIComponent(variant.sku)}`], ["GET", "/keys"], ["GET", "/promotions"]];
    for (const [method, path, body] of routes)
      assertProblem(await shop.store(method, `/../../admin/v1${path}`.replace("/../../admin", "/x"), { body, headers: idem() }), 404, "not_found");
    for (const [method, path, body] of routes)
      assertProblem(await shop.h2(method, `/admin/v1${path}`, { body, headers: idem() }), 403, "forbidden");
  });

  it("of another shop window do not see the cart", async () => {
    assertOk(await shop.store("GET", "/products?limit=1", { key: otherKey }), 200);
    const asks = [["GET", ""], ["PATCH", "", { email: "eve@example.com" }], ["POST", "/lines", { variant_id: variant.id, quantity: 1 }],
      ["DELETE", `/lines/${cart.lines[0].id}`], ["POST", "/payment-sessions", { provider: "manual" }], ["POST", "/complete", {}],
      ["GET", "/shipping-options"], ["POST", "/promotions", { code: "X" }]];
    for (const [method, path, body] of asks) {
      const answer = await withoutEffect(() => shop.store(method, cartPath(path), { key: otherKey, headers: idem(), body }));
      assertProblem(answer, 404, "not_found");
    }
  });

  it("are over when they are revoked", async () => {
    const made = await makeKey("Short-lived");
    const ask = () => shop.h1("GET", "/store/v1/products?limit=1", { key: made.key, agent: false });
    assertOk(await ask(), 200);
    assertOk(await shop.admin("DELETE", `/keys/${made.id}`));
    assertProblem(await until("the revoked key is refused", async () => {
      const answer = await ask();
      return answer.status === 401 && answer;
    }), 401, "unauthorized");
  });
});

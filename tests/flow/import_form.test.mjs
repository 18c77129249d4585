// Staff's import over HTTP: a form with a file, as a browser sends it.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Shop, idem } from "./support/shop.mjs";
import { assertOk, assertPointsAt, assertProblem } from "./support/checks.mjs";
import { assertInvariants, count } from "./support/db.mjs";

let shop;
before(async () => {
  shop = await Shop.start();
});
after(() => shop?.stop());

const HEAD = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";
const ROWS = ["536365,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,2010-12-01T08:26:00Z,2.55,17850,United Kingdom",
  "536366,71053,WHITE METAL LANTERN,6,2010-12-01T08:28:00Z,3.39,17850,United Kingdom"];
const csv = (...rows) => [HEAD, ...rows].join("\r\n") + "\r\n";

async function send(fields, options = {}) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields))
    if (name === "file") form.set(name, new Blob([value], { type: "text/csv" }), "shop \"1\".csv");
    else form.set(name, value);
  const packed = new Response(form);
  return shop.admin("POST", "/imports", { body: Buffer.from(await packed.arrayBuffer()),
    headers: { "content-type": packed.headers.get("content-type") }, ...options });
}

const keyOf = async (...roles) => assertOk(await shop.admin("POST", "/keys", { headers: idem(), body: { kind: "secret", name: "Import", roles } }), 201).key;
const audit = async (action) => assertOk(await shop.admin("GET", `/audit?limit=100`), 200).data.filter((one) => one.action === action);

describe("an import as a form", () => {
  it("adds products, once", async () => {
    const first = assertOk(await send({ kind: "products", file: csv(...ROWS) }), 200).import;
    assert.deepEqual([first.kind, first.rows, first.done["products added"]], ["products", 2, 2]);
    const again = assertOk(await send({ kind: "products", file: csv(...ROWS) }), 200).import;
    assert.deepEqual([again.done["products added"], again.done["products already there"]], [undefined, 2]);
    assert.equal(await count(shop, "products"), 2);
  });

  it("adds the orders of the same file", async () => {
    const done = assertOk(await send({ kind: "orders", file: csv(...ROWS) }), 200).import.done;
    assert.equal(done["orders added"], 2);
    await assertInvariants(shop);
  });

  it("adds orders for who may write orders, and says afterwards who it was", async () => {
    const catalog = await keyOf("catalog"), both = await keyOf("products.write", "orders.write");
    const more = csv("536399,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,2010-12-01T08:26:00Z,2.55,17850,United Kingdom");
    const orders = await count(shop, "orders"), noted = (await audit("import.orders")).length;
    assertProblem(await send({ kind: "orders", file: more }, { key: catalog.key }), 403, "forbidden");
    assert.equal(await count(shop, "orders"), orders);
    assertOk(await send({ kind: "products", file: more }, { key: catalog.key }), 200);
    assertOk(await send({ kind: "orders", file: more }, { key: both.key }), 200);
    assert.equal(await count(shop, "orders"), orders + 1);
    const entries = await audit("import.orders");
    assert.equal(entries.length, noted + 1);
    assert.deepEqual([entries[0].actor, entries[0].subject, entries[0].detail.rows, entries[0].detail.done["orders added"]], [both.id, "orders", 1, 1]);
    assert.equal((await audit("import.products"))[0].actor, catalog.id);
  });

  it("leaves bad rows out and says which, or changes nothing for them", async () => {
    const bad = csv("536367,22752,SET OF BOXES,two,2010-12-01T08:34:00Z,7.65,17850,United Kingdom",
      "536367,21730,GLASS STAR,6,2010-12-01T08:34:00Z,4.25,17850,United Kingdom");
    const products = await count(shop, "products");
    const refused = await send({ kind: "products", on_error: "reject-all", file: bad });
    assertPointsAt(refused, "/file");
    assert.match(refused.body.errors[0].detail, /the quantity is no whole number.*row 2/);
    assert.equal(await count(shop, "products"), products);
    const done = assertOk(await send({ kind: "products", file: bad }), 200).import;
    assert.deepEqual(done.left_out[0].rows, [2]);
    assert.equal(await count(shop, "products"), products + 1);
  });

  it("takes a file that is no text for what it is", async () => {
    assertProblem(await send({ kind: "products", file: Buffer.from([0xff, 0, 1]) }), 422, "invalid_request");
    assertProblem(await send({ kind: "products", file: "a,b\r\n1,2\r\n" }), 422, "invalid_request");
  });

  it("is refused where the form is none", async () => {
    const products = await count(shop, "products");
    assertPointsAt(await send({ kind: "teapots", file: csv(...ROWS) }), "/kind");
    assertPointsAt(await send({ kind: "products" }), "/file");
    assertPointsAt(await send({ kind: "products", file: csv(), extra: "x" }), "/extra");
    assertProblem(await shop.admin("POST", "/imports", { body: { kind: "products", file: csv() } }), 415, "unsupported_media_type");
    assertProblem(await shop.admin("POST", "/imports", { body: "--x\r\n", headers: { "content-type": "multipart/form-data; boundary=x" } }), 400, "bad_request");
    assertProblem(await shop.admin("POST", "/imports", { body: "", headers: { "content-type": "multipart/form-data; boundary=x" } }), 400, "bad_request");
    assertProblem(await send({ kind: "products", file: csv(...ROWS) }, { key: shop.dev.store_key }), 403, "forbidden");
    assert.equal(await count(shop, "products"), products);
  });
});

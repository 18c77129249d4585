// The web's own rules: methods, tags, files, documents, the ops listener, traces; and the search.
import assert from "node:assert/strict";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import tls from "node:tls";
import { after, before, describe, it } from "node:test";
import zlib from "node:zlib";
import { ROOT, Shop, SLICE, idem, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk, assertPointsAt, assertProblem } from "./support/checks.mjs";

let shop, product;
before(async () => {
  shop = await Shop.start();
  const imported = await shop.cli("import", "products", SLICE);
  assert.equal(imported.code, 0, imported.stderr);
  ({ product } = await makeProduct(shop));
});
after(() => shop?.stop());

const open = (protocol, method, target, headers = {}) => shop[protocol](method, target, { key: null, headers });

for (const protocol of ["h2", "h1"]) {
  describe(`over ${protocol}`, () => {
    it("HEAD is GET without the body", async () => {
      for (const target of ["/store/v1/products?limit=3", `/store/v1/products/${product.id}`]) {
        const got = await shop[protocol]("GET", target);
        const head = await shop[protocol]("HEAD", target);
        assert.equal(head.status, 200);
        assert.equal(head.bytes.length, 0);
        assert.equal(head.headers.etag, got.headers.etag);
        assert.equal(head.headers["content-type"], got.headers["content-type"]);
        if (head.headers["content-length"]) assert.equal(Number(head.headers["content-length"]), got.bytes.length);
      }
      assert.equal((await shop[protocol]("HEAD", "/store/v1/products/no-such")).status, 404);
    });

    it("OPTIONS tells the methods", async () => {
      const answer = await open(protocol, "OPTIONS", "/store/v1/carts");
      assert.equal(answer.status, 204);
      assert.deepEqual(answer.headers.allow.split(", ").sort(), ["OPTIONS", "POST"]);
    });

    it("answers 304 to who has it already, gzip or not", async () => {
      const target = `/store/v1/products/${product.id}`;
      const { headers: { etag } } = await shop[protocol]("GET", target);
      assert.match(etag, /^"[^"]+"$/);
      for (const tag of [etag, `"other", ${etag}`, "*", `W/${etag}`]) {
        const answer = await shop[protocol]("GET", target, { headers: { "if-none-match": tag, "accept-encoding": "gzip" } });
        assert.equal(answer.status, 304, tag);
        assert.equal(answer.headers.etag, etag);
        assert.equal(answer.bytes.length, 0);
      }
      assert.equal((await shop[protocol]("GET", target, { headers: { "if-none-match": '"other"' } })).status, 200);
    });

    it("packs what is worth it", async () => {
      const target = "/store/v1/products?limit=50";
      const plain = await shop[protocol]("GET", target);
      assert.equal(plain.headers["content-encoding"], undefined);
      assert.match(plain.headers.vary ?? "", /accept-encoding/i);
      const packed = await shop[protocol]("GET", target, { headers: { "accept-encoding": "gzip" } });
      assert.equal(packed.headers["content-encoding"], "gzip");
      assert.ok(packed.bytes.length < plain.bytes.length / 2);
      assert.equal(zlib.gunzipSync(packed.bytes).toString(), plain.text);
    });

    it("continues a trace, and begins one", async () => {
      const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
      const answer = await shop[protocol]("GET", "/store/v1/products?limit=1", { headers: { traceparent: `00-${trace}-00f067aa0ba902b7-01` } });
      const id = answer.headers["x-request-id"];
      assert.match(id, /^[0-9A-HJKMNP-TV-Z]{26}$/);
      const line = await logLine((l) => l.event === "http.request" && l.request_id === id);
      assert.equal(line.trace_id, trace);
      assert.equal(line.route, "/store/v1/products");
      assert.equal(line.status, 200);
      assert.equal(line.path, "/store/v1/products", "the query stays out of the log");
      for (const bad of ["00-0000-x-01", "ff", `00-${"0".repeat(32)}-00f067aa0ba902b7-01`]) {
        const other = await shop[protocol]("GET", "/store/v1/nothing", { headers: { traceparent: bad } });
        assertProblem(other, 404, "not_found");
        assert.notEqual(other.body.trace_id, "0".repeat(32));
      }
      const problem = await shop[protocol]("GET", "/store/v1/nothing", { headers: { traceparent: `00-${trace}-00f067aa0ba902b7-01` } });
      assert.equal(problem.body.trace_id, trace);
    });

    it("shows files with a tag, and none but those", async () => {
      const picture = fs.readdirSync(path.join(ROOT, "web/static/pictures")).find((name) => name.endsWith(".svg"));
      const target = `/static/pictures/${picture}`;
      const answer = await open(protocol, "GET", target);
      assert.equal(answer.status, 200);
      assert.match(answer.headers["content-type"], /^image\//);
      assert.match(answer.headers["cache-control"], /max-age/);
      assert.equal((await open(protocol, "GET", target, { "if-none-match": answer.headers.etag })).status, 304);
      assert.equal((await open(protocol, "HEAD", target)).status, 200);
      for (const evil of ["/static/../conf/moontill.lua", "/static/%2e%2e/conf/moontill.lua", "/static/..%2fconf/moontill.lua",
        "/static/%2e%2e%2fconf%2fmoontill.lua", "/static/pictures/../../../conf/moontill.lua", "/static/..%5cconf", "/static//etc/passwd",
        "/static/%00", `/static/pictures/${picture}%00.txt`, "/static/.", "/static/pictures", "/static/pictures/", "/static/none.svg", "/static/....//conf"]) {
        const refused = await open(protocol, "GET", evil);
        assert.ok(refused.status >= 300 && refused.status < 500, `${evil}: ${refused.status}`);
        assert.doesNotMatch(refused.text, /listen =|root:/, evil);
      }
    });
  });
}

const logLine = (is) => until("the line is in the log", () => fs.readFileSync(path.join(shop.dir, "moontill.log"), "utf8").split("\n")
  .filter((l) => l.startsWith("{")).map((l) => JSON.parse(l)).find(is));

describe("traversal past any normalising client", () => {
  it("is refused on the wire", async () => {
    for (const target of ["/static/../conf/moontill.lua", "/static/../../etc/passwd", "/static/./../conf/moontill.lua"]) {
      const text = await new Promise((resolve, reject) => {
        const socket = tls.connect({ host: "127.0.0.1", port: shop.port, ca: shop.ca, ALPNProtocols: ["http/1.1"] }, () =>
          socket.write(`GET ${target} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n`));
        let all = "";
        socket.on("data", (piece) => (all += piece));
        socket.on("end", () => resolve(all));
        socket.on("error", reject);
      });
      assert.match(text, /^HTTP\/1\.1 4\d\d/, target);
      assert.doesNotMatch(text, /listen =|root:/);
    }
  });

  it("and plain HTTP on the TLS port is no way in", async () => {
    const text = await new Promise((resolve) => {
      const socket = net.connect(shop.port, "127.0.0.1", () => socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
      let all = "";
      socket.on("data", (piece) => (all += piece));
      socket.on("close", () => resolve(all));
      socket.on("error", () => resolve(all));
    });
    assert.doesNotMatch(text, /^HTTP\/1\.1 2/);
    assertOk(await shop.store("GET", "/products?limit=1"), 200);
  });
});

describe("documents", () => {
  it("describe every route of the journey in OpenAPI 3.1", async () => {
    const answer = await open("h2", "GET", "/openapi.json");
    const doc = assertOk(answer, 200);
    assert.match(doc.openapi, /^3\.1\.\d+$/);
    const journey = ["get /store/v1/products", "get /store/v1/products/{id}", "get /store/v1/search", "get /store/v1/categories",
      "post /store/v1/carts", "patch /store/v1/carts/{id}", "post /store/v1/carts/{id}/lines", "patch /store/v1/carts/{id}/lines/{line}",
      "delete /store/v1/carts/{id}/lines/{line}", "get /store/v1/carts/{id}/shipping-options", "post /store/v1/carts/{id}/promotions",
      "delete /store/v1/carts/{id}/promotions/{code}", "post /store/v1/carts/{id}/payment-sessions", "post /store/v1/carts/{id}/complete",
      "get /store/v1/orders/{id}", "post /admin/v1/inventory/{sku}/adjustments", "get /admin/v1/inventory/{sku}", "get /admin/v1/orders"];
    for (const route of journey) {
      const [method, at] = route.split(" ");
      assert.ok(doc.paths[at]?.[method], route);
    }
    assert.ok(Object.keys(doc.webhooks ?? {}).includes("order.placed"));
    assert.equal(answer.text.includes('"nullable"'), false, "3.1 writes type: [..., null]");
    for (const [, ref] of answer.text.matchAll(/"\$ref":"#\/([^"]+)"/g))
      assert.ok(ref.split("/").reduce((at, name) => at?.[name], doc), `#/${ref} leads somewhere`);
    const operations = Object.values(doc.paths).flatMap((p) => Object.values(p)).map((o) => o.operationId).filter(Boolean);
    assert.equal(new Set(operations).size, operations.length, "each operationId once");
  });

  it("are pages with a policy that lets nothing else in", async () => {
    for (const target of ["/", "/docs", "/docs/problems", "/?q=heart", "/?q=%3Cscript%3Ealert(1)%3C/script%3E"]) {
      const answer = await open("h2", "GET", target);
      assert.equal(answer.status, 200, `${target}: ${answer.text.slice(0, 200)}`);
      assert.match(answer.headers["content-type"], /^text\/html; charset=utf-8/);
      const policy = answer.headers["content-security-policy"];
      assert.match(policy, /default-src 'none'/);
      assert.doesNotMatch(policy, /unsafe/);
      assert.match(answer.headers["strict-transport-security"], /max-age=\d+/);
      assert.equal(answer.headers["x-content-type-options"], "nosniff");
      assert.doesNotMatch(answer.text, /<script>alert/);
      for (const [, tag] of answer.text.matchAll(/<(?:script|style)([^>]*)>/g)) assert.match(tag, /nonce="[^"]+"/);
      const nonce = answer.text.match(/nonce="([^"]+)"/)?.[1];
      assert.ok(!nonce || policy.includes(nonce));
    }
  });

  it("name every code that a problem may have", async () => {
    const { text } = await open("h2", "GET", "/docs/problems");
    for (const code of ["sold_out", "not_found", "idempotency_key_reused", "payment_declined"]) assert.ok(text.includes(`id="${code}"`), code);
  });
});

describe("the ops listener", () => {
  it("lives, is ready, and counts", async () => {
    assert.equal((await shop.ops("/livez")).status, 200);
    await until("it is ready", async () => (await shop.ops("/readyz")).status === 200);
    assert.equal((await shop.ops("/store/v1/products")).status, 404);
    const requests = (text) => [...text.matchAll(/^till_http_requests_total\{[^}]*route="\/store\/v1\/products"[^}]*\} (\d+)/gm)]
      .reduce((sum, [, n]) => sum + Number(n), 0);
    const first = await shop.ops("/metrics");
    assert.match(first.headers.get("content-type"), /openmetrics-text|text\/plain/);
    assert.ok(first.text.endsWith("# EOF\n"));
    for (let i = 0; i < 5; ++i) await shop.store("GET", "/products?limit=1");
    await until("it has counted them", async () => requests((await shop.ops("/metrics")).text) === requests(first.text) + 5);
    const series = new Set();
    let family = "";
    for (const line of first.text.split("\n").slice(0, -2)) {
      if (line.startsWith("# TYPE ")) family = line.split(" ")[2];
      if (line.startsWith("#")) continue;
      const [, name, labels = ""] = line.match(/^([a-z_:][a-z0-9_:]*)(\{.*\})? -?[0-9.e+Inf-]+(?: .*)?$/i) ?? assert.fail(line);
      assert.ok(name.startsWith(family), `${line} stands below ${family}`);
      assert.ok(!series.has(name + labels), `${name}${labels} stands twice`);
      series.add(name + labels);
    }
  });

  it("is not part of the shop", async () => {
    for (const target of ["/metrics", "/livez", "/readyz"]) assert.equal((await shop.h2("GET", target)).status, 404, target);
  });
});

describe("the log", () => {
  it("holds no secret and no person", async () => {
    const secretWord = `marker${Date.now()}`;
    const { cart } = assertOk(await shop.store("POST", "/carts", { body: {} }), 201);
    assertOk(await shop.store("PATCH", `/carts/${cart.id}`, { body: { email: `${secretWord}@example.com` } }), 200);
    await shop.h2("POST", "/auth/v1/staff/sessions", { key: null, body: { email: shop.dev.admin_email, password: `${secretWord}pass` } });
    const answer = await shop.store("GET", `/search?q=${secretWord}`);
    await logLine((l) => l.request_id === answer.headers["x-request-id"]);
    const log = fs.readFileSync(path.join(shop.dir, "moontill.log"), "utf8") + shop.log;
    assert.ok(!log.includes(secretWord), "personal data is in the log");
    assert.ok(!log.includes(shop.dev.admin_key) && !log.includes(shop.dev.store_key), "a key is in the log");
  });
});

describe("the search", () => {
  const search = async (q, more = "") => assertOk(await shop.store("GET", `/search?q=${encodeURIComponent(q)}&limit=100${more}`), 200);
  const titles = async (q, more) => (await search(q, more)).data.map((p) => p.title.toLowerCase());

  /** Everything that is found, page by page. */
  async function all(q, more = "") {
    const found = [];
    let after = "";
    for (;;) {
      const page = await search(q, `${more}${after}`);
      found.push(...page.data);
      if (!page.has_more) break;
      after = `&after=${encodeURIComponent(page.next_cursor)}`;
    }
    assert.equal(new Set(found.map((p) => p.id)).size, found.length, "each once");
    return found;
  }

  it("finds words, in any order and case", async () => {
    const found = await titles("hanging heart");
    assert.ok(found.length > 0);
    assert.ok(found.slice(0, 3).every((t) => t.includes("hanging") && t.includes("heart")), found.join("\n"));
    assert.deepEqual((await titles("HEART  hanging")).sort(), found.sort());
  });

  it("finds beginnings and what is misspelt by a letter, or sounds alike", async () => {
    assert.ok((await titles("lanter")).some((t) => t.includes("lantern")));
    for (const wrong of ["lantren", "lantrn", "lanttern", "lamtern"]) assert.ok((await titles(wrong)).some((t) => t.includes("lantern")), wrong);
    assert.match((await titles("hart t-lite"))[0], /heart t-light holder/);
    assert.ok((await titles("umbrela")).some((t) => t.includes("umbrella")));
  });

  it("finds a SKU", async () => {
    const [one] = (await search("heart")).data;
    const found = await search(one.variants[0].sku);
    assert.ok(found.data.some((p) => p.id === one.id), one.variants[0].sku);
  });

  it("filters by category and price, and its facets count what the filters leave", async () => {
    const found = await search("heart");
    const everything = await all("heart");
    assert.ok(found.facets.categories.length > 0);
    for (const facet of found.facets.categories) {
      const within = await all("heart", `&category=${facet.handle}`);
      assert.equal(within.length, facet.count, facet.handle);
      const ids = new Set(everything.map((p) => p.id));
      assert.ok(within.every((p) => ids.has(p.id) && p.categories.some((c) => c.handle === facet.handle)), facet.handle);
    }
    for (const band of found.facets.prices) {
      const max = band.max ? `&price_max=${band.max.amount}` : "";
      const within = await all("heart", `&price_min=${band.min.amount}${max}`);
      assert.equal(within.length, band.count, JSON.stringify(band));
      for (const p of within) assert.ok(p.price.amount >= band.min.amount && (!band.max || p.price.amount <= band.max.amount), JSON.stringify(p.price));
    }
    assertProblem(await shop.store("GET", "/search?q=heart&category=no-such"), 404, "not_found");
  });

  it("finds nothing quietly, and knows new and archived products", async () => {
    assert.deepEqual((await search("zzqxjkwv")).data, []);
    const made = await shop.admin("POST", "/products", { headers: idem(), body: { title: "Quixotic zeppelin", handle: `zeppelin-${Date.now()}`,
      status: "active", variants: [{ sku: `ZEP-${Date.now()}`, prices: [{ currency: "GBP", amount: 100 }] }] } });
    const { product: zeppelin } = assertOk(made, 201);
    await until("the new product is found", async () => (await titles("zeppelin")).length === 1);
    const { headers } = await shop.admin("GET", `/products/${zeppelin.id}`);
    assertOk(await shop.admin("DELETE", `/products/${zeppelin.id}`, { headers: { "if-match": headers.etag } }));
    await until("and found no more", async () => (await titles("zeppelin")).length === 0);
  });

  it("takes anything that people type", async () => {
    const odd = ["", " ", "-", "*", "+heart -light", "\"heart", "heart*", "(heart", "~heart@", "%", "_", "'; DROP TABLE products; --", "\\", "💩",
      "ß", "İ", "ÅÄÖ", "日本語", "a", "of the", "a".repeat(200), "x ".repeat(100), "heart ".repeat(33), "\u202e", "<b>", "heart\u00a0light", "1", "0x1"];
    for (const q of odd) {
      const answer = await shop.store("GET", `/search?q=${encodeURIComponent(q)}`);
      assert.equal(answer.status, 200, `${JSON.stringify(q)}: ${answer.text}`);
      assert.ok(Array.isArray(answer.body.data));
    }
    assertPointsAt(await shop.store("GET", `/search?q=${"a".repeat(201)}`), "/query/q");
    assertPointsAt(await shop.store("GET", "/search"), "/query/q");
    assertOk(await shop.store("GET", "/products?limit=1"), 200);
  });
});

describe("a customer who logs out", () => {
  // the key of the storefront comes with each request, beside the cookie that says who he is
  it("is a guest again at once, also for the worker that knew him", async () => {
    const who = { email: `${newKey()}@example.com`, password: "correct horse battery" };
    assertOk(await shop.h2("POST", "/auth/v1/customers", { body: who }), 201);
    const { token } = assertOk(await shop.h2("POST", "/auth/v1/customers/sessions", { body: who }), 201);
    const headers = { cookie: `a=b; till_session=${token}`, origin: shop.dev.url };
    assertOk(await shop.h2("GET", "/store/v1/orders", { headers }), 200);
    assertOk(await shop.h2("DELETE", "/auth/v1/customers/sessions", { headers }), 204);
    assertProblem(await shop.h2("GET", "/store/v1/orders", { headers }), 403, "forbidden");
    assertProblem(await shop.h2("GET", "/store/v1/orders", { key: token }), 401, "unauthorized");
  });
});

describe("cookies that HTTP/2 sends in pieces", () => {
  it("are one header again (RFC 9113, 8.2.3)", async () => {
    const { admin_email: email, admin_password: password } = shop.dev;
    const login = assertOk(await shop.h2("POST", "/auth/v1/staff/sessions", { key: null, body: { email, password } }), 201);
    const answer = await shop.h2("GET", "/admin/v1/orders", { key: null, headers: { cookie: ["a=b", `till_session=${login.token}`, "c=d"] } });
    assertOk(answer, 200);
  });
});

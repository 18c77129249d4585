// A merchant's rules, over HTTP: written, checked, tried, published, scheduled, taken back, set aside.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { Shop, buy, idem, makeCart, makeProduct, newKey, tempDir, until } from "./support/shop.mjs";
import { assertOk, assertPointsAt, assertProblem } from "./support/checks.mjs";
import { assertInvariants, bin, count, query, value } from "./support/db.mjs";
import { control, isAlive, serverOf, workers } from "./support/process.mjs";

const WINDOW_MS = 3_600_000;
const KILLS = 3;

let shop, plugins;
before(async () => {
  plugins = tempDir("plugins");
  writeWord(0);
  shop = await Shop.start({ args: ["--no-demo", "--plugins", plugins, "--set", "server.workers=2", "--set", `rules.kills=${KILLS}`,
    "--set", `rules.kill_window_ms=${WINDOW_MS}`, "--set", "rules.rule_ms=1000"] });
});
after(async () => {
  if (shop) {
    await assertInvariants(shop);
    await shop.stop();
  }
  if (plugins) fs.rmSync(plugins, { recursive: true, force: true });
});

/** A plugin that says which of its versions serves. */
function writeWord(word) {
  const folder = path.join(plugins, "probe-word");
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, "plugin.lua"),
    'return { name = "probe-word", version = "1.0.0", api = 1, hooks = { "http.route" } }\n');
  fs.writeFileSync(path.join(folder, "handler.lua"), `return { ["http.route"] = function()
  return { { method = "GET", path = "/plugins/probe-word/word", auth = "none", summary = "The word",
    handler = function(ctx) return ctx:json(200, { word = ${word} }) end } }
end }\n`);
}

let serial = 0;
const newName = () => `rule-${process.pid}-${++serial}`;
const get = (path) => shop.admin("GET", path);
const post = (path, body, headers = idem()) => shop.admin("POST", path, { headers, body });

const TEN_OFF = `return function(args, cart)
  return { { id = "ten", label = "Ten off", level = "order", type = "percent", value = args.percent } }
end
`;
const SCHEMA = { percent: { type: "decimal", default: "10" } };

const draft = (more = {}) => ({ name: newName(), hook: "promo.evaluate", title: "Ten off", text: TEN_OFF, schema: SCHEMA,
  reason: "because", ...more });

async function write(more) {
  const made = await post("/rules", draft(more));
  return assertOk(made, 201).rule;
}

const publish = async (rule, body = {}) => assertOk(await post(`/rules/${rule.id}/publish`, { reason: "it is time", ...body }), 200);
const unpublish = async (rule) => assertOk(await post(`/rules/${rule.id}/unpublish`, { reason: "it is over" }), 200);

/** A rule that is live for what `fn` does, and is not afterwards. */
async function withRule(more, fn) {
  const rule = await write(more);
  const { generation } = await publish(rule);
  try {
    return await fn(rule, generation);
  } finally {
    await unpublish(rule);
  }
}

/** A cart with `quantity` of a new product, priced anew by every worker that answers: over a connection of its own. */
async function cartOf(price, { quantity = 1, ...more } = {}) {
  const { variant, sku } = await makeProduct(shop, { price, ...more });
  const { cart } = assertOk(await shop.store("POST", "/carts", { body: { currency: "GBP", country: "GB" } }), 201);
  const added = assertOk(await shop.store("POST", `/carts/${cart.id}/lines`, { body: { variant_id: variant.id, quantity } }));
  return { cart: added.cart, variant, sku };
}

/** The same by the worker that has it already: priced once, where one that was elsewhere may be priced again. */
const repriceOnce = async (cart, email) => assertOk(await shop.store("PATCH", `/carts/${cart.id}`, { body: { email } })).cart;

/** The same cart after a change that changes nothing but its price, by any worker. */
const reprice = async (cart, email = "ada@example.com") =>
  assertOk(await shop.h1("PATCH", `/store/v1/carts/${cart.id}`, { agent: false, body: { email } })).cart;

async function metric(name, labels = "") {
  const { text } = await shop.ops("/metrics");
  return text.split("\n").filter((l) => l.startsWith(`${name}{`) && l.includes(labels))
    .reduce((sum, l) => sum + Number(l.split(" ").pop()), 0);
}

describe("a rule", () => {
  it("is written, and nothing is live by that", async () => {
    const rule = await write({ when: { any_sku: ["TEA"] }, args: { percent: "15" }, priority: 7 });
    assert.equal(rule.state, "draft");
    assert.deepEqual([rule.version, rule.priority, rule.args, rule.when], [1, 7, { percent: "15" }, { any_sku: ["TEA"] }]);
    assert.equal(rule.live, undefined);
    const shown = await get(`/rules/${rule.id}`);
    assert.deepEqual(assertOk(shown, 200).rule, rule);
    assert.ok((await get("/rules")).body.data.some((r) => r.id === rule.id && r.state === "draft"));
    const { cart } = await cartOf(1000);
    assert.equal(cart.discount_total.amount, 0);
  });

  it("has a name that nobody else has", async () => {
    const rule = await write();
    assertProblem(await post("/rules", draft({ name: rule.name })), 409, "duplicate");
  });

  it("is written once under one Idempotency-Key", async () => {
    const body = draft();
    const key = idem();
    const [first, second] = [await post("/rules", body, key), await post("/rules", body, key)];
    assert.equal(assertOk(first, 201).rule.id, assertOk(second, 201).rule.id);
    assert.equal(second.headers["idempotent-replayed"], "true");
    assertProblem(await post("/rules", { ...body, title: "Other" }, key), 422, "idempotency_key_reused");
  });

  it("is changed under If-Match only, and each change is a version with author, reason and difference", async () => {
    const rule = await write({ reason: "first" });
    const path = `/rules/${rule.id}`;
    const headers = { "if-match": (await get(path)).headers.etag };
    const text = TEN_OFF.replace("Ten off", "Ten percent off");
    assertProblem(await shop.admin("PATCH", path, { body: { text } }), 428, "precondition_required");
    const changed = await shop.admin("PATCH", path, { headers, body: { text, priority: 5, reason: "clearer" } });
    assert.equal(assertOk(changed, 200).rule.version, 2);
    assertProblem(await shop.admin("PATCH", path, { headers, body: { title: "Late" } }), 412, "precondition_failed");
    const { data } = assertOk(await get(`${path}/versions`), 200);
    assert.deepEqual(data.map((v) => [v.number, v.reason]), [[2, "clearer"], [1, "first"]]);
    for (const v of data) assert.match(v.author, /^key_/);
    const diff = assertOk(await get(`${path}/diff?from=1&to=2`), 200);
    assert.match(diff.text, /^--- rule-\S+\.lua 1\n\+\+\+ rule-\S+\.lua 2\n@@ -1,3 \+1,3 @@\n/);
    assert.match(diff.text, /\n-.*"Ten off".*\n\+.*"Ten percent off".*\n/);
    assert.match(diff.manifest, /\n-priority: 100\n\+priority: 5\n/);
    assert.equal(assertOk(await get(`${path}/versions/1`), 200).version.text, TEN_OFF);
    assertProblem(await get(`${path}/versions/3`), 404, "not_found");
    assertProblem(await get(`${path}/diff?from=1&to=9`), 404, "not_found");
  });

  it("of which one version is changed by many is changed once", async () => {
    const rule = await write();
    const headers = { "if-match": (await get(`/rules/${rule.id}`)).headers.etag };
    const answers = await Promise.all(Array.from({ length: 6 }, (_, i) =>
      shop.admin("PATCH", `/rules/${rule.id}`, { headers, body: { title: `T${i}` } })));
    assert.deepEqual(answers.map((a) => a.status).sort(), [200, 412, 412, 412, 412, 412]);
    assert.equal((await get(`/rules/${rule.id}`)).body.rule.version, 2);
  });

  it("takes the permission for it", async () => {
    const rule = await write();
    const keyOf = async (...roles) => assertOk(await post("/keys", { name: "k", kind: "secret", roles }), 201).key.key;
    const reader = await keyOf("rules.read");
    const writer = await keyOf("rules.read", "rules.write");
    const as = (key, method, path, body) => shop.admin(method, path, { key, body, headers: idem() });
    assertOk(await as(reader, "GET", `/rules/${rule.id}`), 200);
    assertProblem(await as(reader, "POST", "/rules", draft()), 403, "forbidden");
    assertOk(await as(writer, "POST", "/rules", draft()), 201);
    assertProblem(await as(writer, "POST", `/rules/${rule.id}/publish`, { reason: "x" }), 403, "forbidden");
    assertProblem(await as(await keyOf("support"), "GET", "/rules"), 403, "forbidden");
  });

  it("is described in /openapi.json", async () => {
    const { paths, webhooks } = (await shop.h2("GET", "/openapi.json", { key: null })).body;
    for (const path of ["", "/{id}", "/{id}/publish", "/{id}/try", "/validate"]) assert.ok(paths[`/admin/v1/rules${path}`], path);
    assert.ok(webhooks["rule.set_aside"]);
  });
});

describe("what is no rule", () => {
  const bad = {
    "a syntax error": [{ text: "return function(args, cart)\n  retrun nil\nend\n" }, "/text", 2],
    "a chunk that returns no function": [{ text: "return 5\n" }, "/text"],
    "a chunk that throws": [{ text: "\nerror('no')\n" }, "/text", 2],
    "a chunk that never ends": [{ text: "while true do end\n" }, "/text"],
    "the text that crashes the parser": [{ text: "local _ for _ in (nil):foo() do end" }, "/text"],
    bytecode: [{ text: "\u001bLJ" }, "/text"],
    "a text of 64 KB and one": [{ text: `${TEN_OFF}--${"x".repeat(65536)}` }, "/text"],
    "no text": [{ text: undefined }, "/text"],
    "a hook that rules may not answer": [{ hook: "payment.authorize" }, "/hook"],
    "a name in capitals": [{ name: "Rule" }, "/name"],
    "an option of no type": [{ schema: { a: { type: "number" } } }, "/schema/a"],
    "a secret option": [{ schema: { a: { type: "secret" } } }, "/schema/a"],
    "an argument that does not fit": [{ args: { percent: 10 } }, "/args/percent"],
    "an argument that nobody asked for": [{ args: { percentage: "10" } }, "/args/percentage"],
    "a condition that nobody knows": [{ when: { any_skus: ["TEA"] } }, "/when/any_skus"],
    "an amount without its currency": [{ when: { min_subtotal: 100 } }, "/when/currency"],
    "a time before the clock's": [{ starts_at: "0001-01-01T00:00:00Z" }, "/starts_at"],
    "a time after the clock's": [{ ends_at: "9999-12-31T23:59:59-01:00" }, "/ends_at"],
    "an end before its beginning": [{ starts_at: "2026-02-01T00:00:00Z", ends_at: "2026-01-01T00:00:00Z" }, "/ends_at"],
    "a field that nobody knows": [{ budget: 5 }, "/budget"],
  };
  for (const [name, [more, pointer, line]] of Object.entries(bad)) {
    it(`(${name}) is refused where it is wrong`, async () => {
      const rules = await count(shop, "rules");
      const { errors } = assertPointsAt(await post("/rules", draft(more)), pointer);
      const at = errors.find((e) => e.pointer === pointer);
      if (line) assert.equal(at.line, line, JSON.stringify(at));
      if (at.code === "syntax") assert.ok(at.column > 0, JSON.stringify(at));
      assert.equal(await count(shop, "rules"), rules);
      const { name: _name, reason: _reason, ...checked } = draft(more);
      if (pointer !== "/name") assertPointsAt(await post("/rules/validate", checked), pointer);
    });
  }

  it("is told of all at once", async () => {
    const doc = assertPointsAt(await post("/rules", draft({ text: "retrun", args: { percent: 1 }, when: { min_subtotal: 5 },
      starts_at: "2026-12-02T00:00:00Z", ends_at: "2026-12-01T00:00:00Z" })), "/text");
    assert.deepEqual(doc.errors.map((e) => e.pointer), ["/args/percent", "/when/currency", "/ends_at", "/text"]);
  });

  it("is nothing that a good one becomes by a change", async () => {
    const rule = await write();
    const headers = { "if-match": (await get(`/rules/${rule.id}`)).headers.etag };
    assertPointsAt(await shop.admin("PATCH", `/rules/${rule.id}`, { headers, body: { text: "return" } }), "/text");
    assert.equal((await get(`/rules/${rule.id}`)).body.rule.version, 1);
  });

  it("is not said of what is right", async () => {
    const { name: _name, reason: _reason, ...checked } = draft();
    assert.deepEqual(assertOk(await post("/rules/validate", checked), 200), { valid: true });
  });
});

describe("a trial", () => {
  const CART = { currency: "GBP", country: "GB", lines: [{ sku: "MADE-UP", unit_price: 2000, quantity: 2, tags: ["tea"] }] };
  const trying = async (more, body = {}) => {
    const { name: _name, reason: _reason, ...rule } = draft(more);
    return assertOk(await post("/rules/try", { rule, cart: CART, ...body }), 200).trial;
  };

  it("shows the answer, both prices, the difference and what it cost", async () => {
    const trial = await trying();
    assert.equal(trial.applies, true);
    assert.deepEqual(trial.answer, [{ id: "ten", label: "Ten off", level: "order", type: "percent", value: "10" }]);
    assert.deepEqual(trial.difference, { amount: 400, currency: "GBP" });
    assert.equal(trial.without.total.amount - trial.with.total.amount, 400);
    assert.deepEqual(trial.with.promotions.map((p) => [p.name, p.amount.amount]), [["Ten off", 400]]);
    assert.ok(trial.fuel > 0 && trial.us >= 0, JSON.stringify(trial));
  });

  it("says which condition does not hold", async () => {
    const trial = await trying({ when: { any_tag: ["coffee"] } });
    assert.deepEqual([trial.applies, trial.unmet, trial.difference.amount], [false, "any_tag", 0]);
  });

  it("is of a time that is asked for", async () => {
    const times = { starts_at: "2030-01-01T00:00:00Z", ends_at: "2030-02-01T00:00:00Z" };
    assert.equal((await trying(times)).unmet, "not_started");
    assert.equal((await trying(times, { at: "2030-01-15T00:00:00Z" })).applies, true);
    assert.equal((await trying(times, { at: "2030-02-01T00:00:00Z" })).unmet, "expired");
  });

  it("shows where a rule throws, and what of its answer cannot be used", async () => {
    const thrown = await trying({ text: "return function(args, cart)\n  return cart.nothing.there\nend\n" });
    assert.deepEqual([thrown.failure.code, thrown.failure.line, thrown.difference.amount], ["error", 2, 0]);
    const wrong = await trying({ text: "return function() return { { level = 'order', type = 'gift' } } end\n" });
    assert.equal(wrong.failure.code, "answer");
    assert.match(wrong.failure.detail, /\/0\/type/);
  });

  it("ends a rule that does not end, and counts nothing against it", async () => {
    const rule = await write({ text: "return function() while true do end end\n" });
    for (let i = 0; i < KILLS + 1; ++i) {
      const { trial } = assertOk(await post(`/rules/${rule.id}/try`, { cart: CART }), 200);
      assert.equal(trial.failure.code, "budget");
    }
    assert.equal(await count(shop, "rule_kills"), 0);
  });

  it("takes a cart that is there, and leaves it as it was", async () => {
    const { cart } = await cartOf(3000);
    const before = await query(shop, `SELECT version, priced FROM carts WHERE id = ${bin(cart.id)}`);
    const rule = await write();
    const { trial } = assertOk(await post(`/rules/${rule.id}/try`, { cart_id: cart.id }), 200);
    assert.equal(trial.difference.amount, 300);
    assert.deepEqual(await query(shop, `SELECT version, priced FROM carts WHERE id = ${bin(cart.id)}`), before);
  });

  it("takes products of the catalogue by their SKU", async () => {
    const { sku } = await makeProduct(shop, { price: 700 });
    const trial = await trying({}, { cart: { lines: [{ sku, quantity: 3 }] } });
    assert.deepEqual([trial.without.subtotal.amount, trial.difference.amount], [2100, 210]);
  });

  it("shows what a rule has against a cart", async () => {
    const trial = await trying({ hook: "cart.validate", schema: {}, text: `return function(args, cart)
      if cart.lines[1].quantity > 1 then return { code = "one_each", message = "One each.", pointer = "/lines/0/quantity" } end
    end` });
    assert.deepEqual(trial.answer, { code: "one_each", message: "One each.", pointer: "/lines/0/quantity" });
  });

  it("takes two lines of one SKU at two prices", async () => {
    const lines = [{ sku: "X", unit_price: 100, quantity: 1 }, { sku: "X", unit_price: 300, quantity: 1 }];
    const trial = await trying({}, { cart: { currency: "GBP", country: "GB", lines } });
    assert.deepEqual([trial.without.subtotal.amount, trial.difference.amount], [400, 40]);
  });

  it("refuses what is no cart", async () => {
    const { name: _name, reason: _reason, ...rule } = draft();
    assertPointsAt(await post("/rules/try", { rule }), "/cart");
    assertPointsAt(await post("/rules/try", { rule, cart: CART, cart_id: "cart_01J9ZC8Q4V3M5N7P8R9S0T1V2W" }), "/cart");
    assertPointsAt(await post("/rules/try", { rule, cart_id: "cart_01J9ZC8Q4V3M5N7P8R9S0T1V2W" }), "/cart_id");
    assertPointsAt(await post("/rules/try", { rule, cart: { lines: [{ sku: "NOBODY", quantity: 1 }] } }), "/cart/lines/0/sku");
    assertPointsAt(await post("/rules/try", { rule, cart: { lines: [] } }), "/cart/lines");
    assertPointsAt(await post("/rules/try", { rule: { ...rule, text: "retrun" }, cart: CART }), "/rule/text");
  });
});

describe("a rule that is published", () => {
  it("counts in every worker from its answer on, and no more once it is taken back", async () => {
    const { cart } = await cartOf(1000, { quantity: 3 });
    const rule = await write();
    const { rule: live, generation } = await publish(rule);
    assert.equal(live.state, "published");
    assert.deepEqual(live.live.version, 1);
    assert.equal((await control(shop, "generations")).live.name, generation);
    for (let i = 0; i < 8; ++i) {
      const { discount_total: off, promotions } = await reprice(cart, `a${i}@example.com`);
      assert.equal(off.amount, 300);
      assert.deepEqual(promotions.map((p) => [p.name, p.amount.amount]), [["Ten off", 300]]);
    }
    const shown = assertOk(await get(`/rules/${rule.id}`), 200).rule;
    assert.deepEqual([shown.state, shown.live.hash], ["published", shown.hash]);
    const gone = await unpublish(rule);
    assert.deepEqual([gone.rule.state, gone.rule.live], ["unpublished", undefined]);
    for (let i = 0; i < 8; ++i) assert.equal((await reprice(cart, `b${i}@example.com`)).discount_total.amount, 0);
    const { data } = assertOk(await get(`/rules/${rule.id}/events`), 200);
    assert.deepEqual(data.map((e) => [e.type, e.outcome, e.reason]), [["unpublished", "done", "it is over"], ["published", "done", "it is time"]]);
    assert.equal(data[1].generation, generation);
  });

  it("needs a reason, an Idempotency-Key and a version that there is", async () => {
    const rule = await write();
    assertPointsAt(await post(`/rules/${rule.id}/publish`, {}), "/reason");
    assertProblem(await post(`/rules/${rule.id}/publish`, { reason: "x" }, {}), 400, "idempotency_key_missing");
    assertProblem(await post(`/rules/${rule.id}/publish`, { reason: "x", version: 9 }), 404, "not_found");
    assertProblem(await post(`/rules/${rule.id}/unpublish`, { reason: "x" }), 409, "conflict");
    assertProblem(await post("/rules/rule_01J9ZC8Q4V3M5N7P8R9S0T1V2W/publish", { reason: "x" }), 404, "not_found");
  });

  it("once more under the same key is told what was done", async () => {
    const rule = await write();
    const key = idem();
    const [first, second] = [await post(`/rules/${rule.id}/publish`, { reason: "x" }, key), await post(`/rules/${rule.id}/publish`, { reason: "x" }, key)];
    assert.deepEqual(assertOk(second, 200), assertOk(first, 200));
    assert.equal(second.headers["idempotent-replayed"], "true");
    assert.equal(await count(shop, "rule_events", `rule_id = ${bin(rule.id)}`), 1);
    await unpublish(rule);
  });

  it("stays as it was while its next version is written, and can go back to an older one", async () => {
    const { cart } = await cartOf(1000);
    await withRule({}, async (rule) => {
      const headers = { "if-match": (await get(`/rules/${rule.id}`)).headers.etag };
      assertOk(await shop.admin("PATCH", `/rules/${rule.id}`, { headers, body: { args: { percent: "50" } } }), 200);
      assert.equal((await reprice(cart)).discount_total.amount, 100);
      await publish(rule);
      assert.equal((await reprice(cart)).discount_total.amount, 500);
      await publish(rule, { version: 1 });
      assert.equal((await reprice(cart)).discount_total.amount, 100);
      const shown = (await get(`/rules/${rule.id}`)).body.rule;
      assert.deepEqual([shown.version, shown.live.version], [2, 1]);
    });
  });

  it("is in the price of the order, with the hash of its text", async () => {
    await withRule({}, async (rule) => {
      const { variant } = await makeProduct(shop, { price: 2000 });
      const cart = await makeCart(shop, variant.id, { quantity: 2 });
      assert.equal(cart.discount_total.amount, 400);
      const { order } = assertOk(await buy(shop, cart), 200);
      assert.equal(order.discount_total.amount, 400);
      const trace = JSON.parse(await value(shop, `SELECT trace FROM order_lines WHERE order_id = ${bin(order.id)}`));
      const id = `rule:${rule.name}/ten`;
      assert.equal(trace.discounts[id], 400);
      assert.deepEqual(trace.rules, { [id]: { name: rule.name, version: 1, hash: rule.hash } });
      const found = assertOk(await get(`/rules/hashes/${trace.rules[id].hash}`), 200).version;
      assert.deepEqual([found.text, found.rule_id], [TEN_OFF, rule.id]);
    });
  });

  it("goes live with a reload, and is there after it", async () => {
    const { cart } = await cartOf(1000);
    await withRule({}, async () => {
      const done = await shop.cli("reload");
      assert.equal(done.code, 0, done.stderr);
      assert.equal((await reprice(cart)).discount_total.amount, 100);
    });
  });

  it("that no worker would load is refused with the reason, and what was live stays", async () => {
    const { cart } = await cartOf(1000);
    await withRule({}, async (_rule, generation) => {
      const bad = await write();
      await query(shop, `UPDATE rule_versions SET manifest = JSON_SET(manifest, '$.hook', 'payment.authorize') WHERE rule_id = ${bin(bad.id)}`);
      const { detail } = assertProblem(await post(`/rules/${bad.id}/publish`, { reason: "x" }), 409, "conflict");
      assert.ok(detail.includes(`rules/${bad.name}.json: /hook`), detail);
      const { data } = assertOk(await get(`/rules/${bad.id}/events`), 200);
      assert.deepEqual([data[0].type, data[0].outcome], ["published", "refused"]);
      assert.ok(data[0].detail.includes(`rules/${bad.name}.json: /hook`), data[0].detail);
      assert.equal((await get(`/rules/${bad.id}`)).body.rule.state, "draft");
      assert.equal((await control(shop, "generations")).live.name, generation);
      assert.equal((await reprice(cart)).discount_total.amount, 100);
    });
  });

  it("is gone with a generation that did not have it, and says so", async () => {
    const { cart } = await cartOf(1000);
    const rule = await write();
    await publish(rule);
    assert.equal((await reprice(cart)).discount_total.amount, 100);
    const back = await shop.cli("rollback");
    assert.equal(back.code, 0, back.stderr);
    assert.equal((await reprice(cart)).discount_total.amount, 0);
    const shown = (await get(`/rules/${rule.id}`)).body.rule;
    assert.deepEqual([shown.state, shown.live], ["unpublished", undefined]);
    assert.equal((await publish(rule)).rule.state, "published");
    assert.equal((await reprice(cart)).discount_total.amount, 100);
    await unpublish(rule);
  });

  it("that a server left in the middle is told of by what is live", async () => {
    const rule = await write();
    await publish(rule);
    await query(shop, `UPDATE rule_events SET outcome = 'begun', generation = NULL, created_at = NOW() - INTERVAL 2 MINUTE
      WHERE rule_id = ${bin(rule.id)};
      INSERT INTO rule_events (rule_id, type, outcome, author, reason, created_at)
      VALUES (${bin(rule.id)}, 'unpublished', 'begun', 'key', 'x', NOW() - INTERVAL 2 MINUTE);`);
    const { data } = assertOk(await get(`/rules/${rule.id}/events`), 200);
    assert.deepEqual(data.map((e) => [e.type, e.outcome]), [["unpublished", "refused"], ["published", "done"]]);
    assert.equal(await count(shop, "rule_events", `rule_id = ${bin(rule.id)} AND outcome = 'begun'`), 2, "a look changes nothing");
    await unpublish(rule);
    assert.equal(await count(shop, "rule_events", `rule_id = ${bin(rule.id)} AND outcome = 'begun'`), 0);
  });

  it("is not archived before it is taken back", async () => {
    const rule = await write();
    await publish(rule);
    const etag = async () => ({ "if-match": (await get(`/rules/${rule.id}`)).headers.etag });
    assertProblem(await shop.admin("DELETE", `/rules/${rule.id}`, { headers: await etag() }), 409, "conflict");
    await unpublish(rule);
    assertOk(await shop.admin("DELETE", `/rules/${rule.id}`, { headers: await etag() }), 204);
    assertProblem(await post(`/rules/${rule.id}/publish`, { reason: "x" }), 409, "conflict");
    assertProblem(await post(`/rules/${rule.id}/schedule`, { reason: "x", ends_at: "2030-01-01T00:00:00Z" }), 409, "conflict");
    assert.equal((await get(`/rules/${rule.id}`)).body.rule.version, 1);
  });
});

describe("a rule is not called", () => {
  const called = () => metric("till_rules_called_total");

  it("where its conditions cannot hold: the counters tell", async () => {
    const { cart } = await cartOf(1000);
    await withRule({ when: { any_sku: ["SOMETHING-ELSE"] } }, async () => {
      const [before, over] = [await called(), await metric("till_rules_passed_over_total")];
      for (let i = 0; i < 5; ++i) assert.equal((await repriceOnce(cart, `c${i}@example.com`)).discount_total.amount, 0);
      assert.equal(await called(), before);
      assert.equal(await metric("till_rules_passed_over_total"), over + 5);
    });
    await withRule({ when: { min_subtotal: 1000, currency: "GBP", country: ["GB", "IE"] } }, async () => {
      const before = await called();
      assert.equal((await repriceOnce(cart, "d@example.com")).discount_total.amount, 100);
      assert.equal(await called(), before + 1);
    });
  });

  it("before its time and after it, without anything going live at the moment itself", async () => {
    const { cart } = await cartOf(1000);
    await withRule({}, async (rule) => {
      const at = (ms) => new Date(Date.now() + ms).toISOString();
      const schedule = (times) => post(`/rules/${rule.id}/schedule`, { reason: "the sale", ...times });
      const { rule: planned, generation } = assertOk(await schedule({ starts_at: at(1500), ends_at: at(3_600_000) }), 200);
      assert.deepEqual([planned.version, planned.live.version], [2, 2]);
      assert.equal((await reprice(cart)).discount_total.amount, 0);
      await until("it has begun", async () => (await reprice(cart)).discount_total.amount === 100);
      assert.ok(Date.now() >= Date.parse(planned.starts_at));
      assert.equal((await control(shop, "generations")).live.name, generation);
      assertOk(await schedule({ ends_at: at(-1000), starts_at: null }), 200);
      assert.equal((await reprice(cart)).discount_total.amount, 0);
      assertPointsAt(await schedule({ starts_at: at(2000), ends_at: at(1000) }), "/ends_at");
      assertPointsAt(await schedule({ starts_at: "tomorrow" }), "/starts_at");
    });
  });

  it("by other times alone, when it is scheduled: an edit that is not published stays unpublished", async () => {
    const { cart } = await cartOf(1000);
    await withRule({}, async (rule) => {
      const headers = { "if-match": (await get(`/rules/${rule.id}`)).headers.etag };
      assertOk(await shop.admin("PATCH", `/rules/${rule.id}`, { headers, body: { args: { percent: "50" } } }), 200);
      const ends_at = new Date(Date.now() + 3_600_000).toISOString();
      const { rule: planned } = assertOk(await post(`/rules/${rule.id}/schedule`, { reason: "longer", ends_at }), 200);
      assert.deepEqual([planned.version, planned.live.version, planned.ends_at, planned.args], [3, 3, ends_at, {}]);
      assert.equal((await reprice(cart)).discount_total.amount, 100);
    });
  });

  it("without the code on which it hangs", async () => {
    const { cart } = await cartOf(1000);
    const enter = (code) => shop.store("POST", `/carts/${cart.id}/promotions`, { body: { code } });
    await withRule({ when: { codes: ["RULE10"], min_subtotal: 1000, currency: "GBP" } }, async () => {
      assert.equal((await reprice(cart)).discount_total.amount, 0);
      const with_ = assertOk(await enter("rule10")).cart;
      assert.deepEqual([with_.discount_total.amount, with_.promotions[0].code], [100, "RULE10"]);
      assertProblem(await enter("NOBODY10"), 422, "promotion_unknown");
      const small = (await cartOf(999)).cart;
      const refused = await shop.store("POST", `/carts/${small.id}/promotions`, { body: { code: "RULE10" } });
      assertProblem(refused, 422, "promotion_refused");
      assertOk(await shop.store("DELETE", `/carts/${cart.id}/promotions/RULE10`));
    });
    assertProblem(await enter("RULE10"), 422, "promotion_unknown");
  });
});

describe("a rule that answers badly", () => {
  const texts = {
    "terms that nobody knows": "return function() return { { level = 'order', type = 'gift' } } end",
    "a text": "return function() return 'ten off' end",
    "more than everything": "return function() return { { level = 'order', type = 'percent', value = '200' } } end",
    "a fraction of a penny": "return function() return { { level = 'order', type = 'amount', value = 0.5 } } end",
    "an error": "return function() error('no') end",
  };
  for (const [name, text] of Object.entries(texts)) {
    it(`(${name}) costs the shopper its discount and nothing else`, async () => {
      const { cart } = await cartOf(1000);
      await withRule({}, () => withRule({ text }, async (rule) => {
        const labels = `rule="${rule.name}"`;
        assert.equal((await reprice(cart)).discount_total.amount, 100);
        assert.equal(await metric("till_rule_failures_total", labels), 1);
        assert.equal((await get(`/rules/${rule.id}`)).body.rule.state, "published");
      }));
    });
  }

  it("(another currency) gives nothing, as a plugin's does", async () => {
    const { cart } = await cartOf(1000);
    const text = "return function() return { { level = 'order', type = 'amount', value = 100, currency = 'JPY' } } end";
    await withRule({ text }, async () => assert.equal((await reprice(cart)).discount_total.amount, 0));
  });
});

describe("a rule that may object", () => {
  const ONE_EACH = `return function(args, cart)
    for i, line in ipairs(cart.lines) do
      if line.quantity > args.most then
        return { code = "too_many", message = "At most " .. args.most .. " of each.", pointer = "/lines/" .. (i - 1) .. "/quantity" }
      end
    end
  end\n`;
  const guard = (more) => ({ hook: "cart.validate", text: ONE_EACH, schema: { most: { type: "integer", default: 1 } }, title: "One of each", ...more });

  it("keeps a cart from becoming an order, and says why", async () => {
    const { variant } = await makeProduct(shop);
    const [two, one] = [await makeCart(shop, variant.id, { quantity: 2 }), await makeCart(shop, variant.id)];
    await withRule(guard(), async () => {
      const refused = await buy(shop, two);
      const { errors } = assertProblem(refused, 422, "cart_incomplete");
      assert.deepEqual(errors, [{ pointer: "/lines/0/quantity", detail: "At most 1 of each.", code: "too_many" }]);
      assert.equal(assertOk(await buy(shop, one), 200).type, "order");
    });
    assert.equal(assertOk(await buy(shop, two), 200).type, "order");
  });

  it("keeps the door shut when it cannot be asked, and nothing is lost", async () => {
    const { variant } = await makeProduct(shop, { stock: 5 });
    const cart = await makeCart(shop, variant.id);
    const orders = await count(shop, "orders");
    await withRule(guard({ text: "return function() while true do end end" }), async (rule) => {
      const refused = assertProblem(await buy(shop, cart), 503, "rule_failed");
      assert.match(refused.detail, /One of each could not be checked/);
      await until("it is set aside", async () => {
        await buy(shop, cart);
        return (await get(`/rules/${rule.id}`)).body.rule.state === "set_aside";
      });
      assertProblem(await buy(shop, cart), 503, "rule_failed");
    });
    assert.equal(await count(shop, "orders"), orders);
    assert.equal(assertOk(await buy(shop, cart), 200).type, "order");
  });
});

describe("a hostile rule", () => {
  const HOSTILE = {
    "never ends": "return function() while true do end end",
    "catches its own death": "return function() while true do pcall(function() while true do end end) end end",
    "eats memory": "return function() local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end end",
    "recurses for ever": "return function() local function f() return 1 + f() end return f() end",
  };
  for (const [name, text] of Object.entries(HOSTILE)) {
    it(`(${name}) is set aside after ${KILLS} kills; the shopper loses nothing but its discount`, async () => {
      const { cart } = await cartOf(1000);
      await withRule({}, () => withRule({ text, title: "Hostile" }, async (rule) => {
        for (let i = 0; i < KILLS; ++i) {
          assert.equal((await repriceOnce(cart, `k${i}@example.com`)).discount_total.amount, 100);
          await until(`kill ${i + 1} is counted`, async () => {
            const hash = `hash = x'${rule.hash}'`;
            return (await count(shop, "rule_kills", hash)) === i + 1;
          });
        }
        const shown = await until("it is set aside", async () => {
          const { rule: now } = (await get(`/rules/${rule.id}`)).body;
          return now.state === "set_aside" && now;
        });
        assert.match(shown.set_aside.reason, new RegExp(`^${KILLS} kills within`));
        await until("its owner is told", async () => (await count(shop, "outbox",
          `type = 'rule.set_aside' AND aggregate = 'rule:${rule.id}'`)) === 1);
        const failures = () => metric("till_box_kills_total", `rule="${rule.name}"`);
        await until("every worker knows", async () => {
          const before = await failures();
          for (let i = 0; i < 6; ++i) assert.equal((await reprice(cart, `n${i}@example.com`)).discount_total.amount, 100);
          return (await failures()) === before;
        });
        const { data } = assertOk(await get(`/rules/${rule.id}/events`), 200);
        assert.deepEqual([data[0].type, data[0].author], ["set_aside", "system"]);
        const restored = assertOk(await post(`/rules/${rule.id}/restore`, { reason: "once more" }), 200).rule;
        assert.equal(restored.state, "published");
        const { cart: another } = await cartOf(2000);
        const before = await failures();
        assert.equal((await repriceOnce(another, "r@example.com")).discount_total.amount, 200);
        assert.equal(await failures(), before + 1, "it is called again");
        assertProblem(await post(`/rules/${rule.id}/restore`, { reason: "twice" }), 409, "conflict");
      }));
    });
  }

  it("that is published anew begins anew", async () => {
    const { cart } = await cartOf(1000);
    await withRule({ text: HOSTILE["never ends"] }, async (rule) => {
      await until("it is set aside", async () => {
        await reprice(cart);
        return (await get(`/rules/${rule.id}`)).body.rule.state === "set_aside";
      });
      const headers = { "if-match": (await get(`/rules/${rule.id}`)).headers.etag };
      assertOk(await shop.admin("PATCH", `/rules/${rule.id}`, { headers, body: { text: TEN_OFF } }), 200);
      assert.equal((await publish(rule)).rule.state, "published");
      assert.equal((await reprice(cart)).discount_total.amount, 100);
    });
  });
});

describe("publications that meet", () => {
  const liveNames = async (...rules) => Promise.all(rules.map(async (r) => (await get(`/rules/${r.id}`)).body.rule.state));

  it("(of two rules) are both live afterwards", async () => {
    const rules = await Promise.all([write(), write(), write()]);
    await Promise.all(rules.map((r) => publish(r)));
    assert.deepEqual(await liveNames(...rules), ["published", "published", "published"]);
    await Promise.all(rules.map((r) => unpublish(r)));
    assert.deepEqual(await liveNames(...rules), ["unpublished", "unpublished", "unpublished"]);
  });

  it("(of one rule) leave one of them live, and both are told", async () => {
    const rule = await write();
    const answers = await Promise.all([publish(rule), publish(rule)]);
    assert.deepEqual(answers.map((a) => a.rule.state), ["published", "published"]);
    assert.equal(await count(shop, "rule_events", `rule_id = ${bin(rule.id)} AND outcome = 'done'`), 2);
    await unpublish(rule);
  });

  it("(a reload of other code) lose neither", async () => {
    const { cart } = await cartOf(1000);
    for (let word = 1; word <= 5; ++word) {
      const rule = await write();
      writeWord(word);
      // who comes while the other is under way is told so, and comes again
      await Promise.all([until("the reload is done", async () => (await shop.cli("reload")).code === 0), publish(rule)]);
      const answers = await Promise.all(Array.from({ length: 8 }, () => shop.h1("GET", "/plugins/probe-word/word", { key: null, agent: false })));
      assert.deepEqual([...new Set(answers.map((a) => a.body.word))], [word]);
      assert.equal((await reprice(cart, `w${word}@example.com`)).discount_total.amount, 100);
      await unpublish(rule);
    }
  });

  it("(a cart that is priced) give it one price or the other", async () => {
    const { cart } = await cartOf(1000);
    const rule = await write();
    let isDone = false;
    const buyers = Array.from({ length: 3 }, async (_, n) => {
      const own = (await cartOf(1000)).cart;
      const seen = new Set();
      for (let i = 0; !isDone; ++i) seen.add((await reprice(own, `m${n}-${i}@example.com`)).discount_total.amount);
      return seen;
    });
    for (let i = 0; i < 3; ++i) {
      await publish(rule);
      await unpublish(rule);
    }
    isDone = true;
    for (const seen of await Promise.all(buyers)) for (const off of seen) assert.ok(off === 0 || off === 100, `${off}`);
    assert.equal((await reprice(cart)).discount_total.amount, 0);
  });

  it("(kill -9 of every web worker) leave it live everywhere or nowhere, and say so", async () => {
    const { cart } = await cartOf(1000);
    for (let round = 0; round < 3; ++round) {
      const rule = await write();
      const asked = shop.h1("POST", `/admin/v1/rules/${rule.id}/publish`, { key: shop.dev.admin_key, agent: false, headers: idem(),
        body: { reason: "in the middle" } }).catch((error) => error);
      await until("it has begun", async () => (await count(shop, "rule_events", `rule_id = ${bin(rule.id)}`)) === 1);
      const victims = (await workers(shop)).filter((w) => w.name.startsWith("web"));
      for (const { pid } of victims) process.kill(pid, "SIGKILL");
      await asked;
      await until("they are replaced", async () => (await workers(shop)).filter((w) => w.name.startsWith("web") && w.state === "ready"
        && !victims.some((v) => v.pid === w.pid)).length === victims.length);
      shop.line.close();
      const { state } = (await get(`/rules/${rule.id}`)).body.rule;
      const off = state === "published" ? 100 : 0;
      for (let i = 0; i < 6; ++i) assert.equal((await reprice(cart, `z${round}-${i}@example.com`)).discount_total.amount, off, state);
      await publish(rule);
      const { data } = assertOk(await get(`/rules/${rule.id}/events`), 200);
      assert.ok(data.every((e) => e.outcome !== "begun"), JSON.stringify(data));
      await unpublish(rule);
    }
    assert.ok(isAlive(shop.process.pid));
  });
});

describe("without Redis", () => {
  it("a rule is published, set aside everywhere and taken back all the same", async () => {
    const { cart } = await cartOf(1000);
    const redis = serverOf(shop, "redis-server");
    process.kill(redis, "SIGSTOP");
    try {
      await withRule({}, () => withRule({ text: "return function() while true do end end" }, async (rule) => {
        await until("it is set aside", async () => {
          assert.equal((await reprice(cart)).discount_total.amount, 100);
          return (await count(shop, "rules_aside", `name = '${rule.name}'`)) === 1;
        });
        const kills = () => metric("till_box_kills_total", `rule="${rule.name}"`);
        await until("every worker knows", async () => {
          const before = await kills();
          for (let i = 0; i < 6; ++i) assert.equal((await reprice(cart, `s${i}@example.com`)).discount_total.amount, 100);
          return (await kills()) === before;
        });
      }));
    } finally {
      process.kill(redis, "SIGCONT");
    }
    assert.equal((await reprice(cart)).discount_total.amount, 0);
  });
});

describe("a cart that is completed while it is changed", () => {
  it("becomes an order of what it was at one time", async () => {
    await withRule({}, async () => {
      const { variant } = await makeProduct(shop, { price: 1000, stock: 200 });
      const second = await makeProduct(shop, { price: 500, stock: 200 });
      for (let round = 0; round < 10; ++round) {
        const cart = await makeCart(shop, variant.id);
        assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "manual" } }));
        const [done, added] = await Promise.all([
          shop.store("POST", `/carts/${cart.id}/complete`, { headers: idem(newKey()), body: {} }),
          shop.store("POST", `/carts/${cart.id}/lines`, { body: { variant_id: second.variant.id, quantity: 1 } }),
        ]);
        assert.ok(done.status < 500 && added.status < 500, `${done.text} ${added.text}`);
        if (done.body.type !== "order") continue;
        const skus = done.body.order.lines.map((l) => l.sku);
        assert.equal(done.body.order.subtotal.amount, skus.length === 1 ? 1000 : 1500);
        assert.equal(done.body.order.discount_total.amount, done.body.order.subtotal.amount / 10);
      }
    });
  });
});

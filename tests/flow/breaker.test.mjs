// A provider that fails for all: it is left alone after some attempts, tried again later, and no attempt is lost or paid twice.
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { assertOk } from "./support/checks.mjs";
import { assertInvariants, bin, value } from "./support/db.mjs";
import { Provider } from "./support/provider.mjs";
import { Shop, idem, makeCart, makeProduct, newKey, until } from "./support/shop.mjs";

const MIN_CALLS = 3, BULKHEAD = 4;

let shop, provider, variant, dir;
before(async () => {
  provider = await Provider.start();
  dir = fs.mkdtempSync(path.join(os.tmpdir(), "till-breaker-"));
  writeConf({ cooldown_ms: 300, dry_run: false });
  shop = await Shop.start({ args: ["--no-demo", ...provider.plugin(path.join(dir, "plugins")), "--conf", conf()] });
  ({ variant } = await makeProduct(shop, { stock: 100 }));
});
after(async () => {
  await shop?.stop();
  provider?.stop();
  fs.rmSync(dir, { recursive: true, force: true });
});

const conf = () => path.join(dir, "moontill.lua");

function writeConf({ cooldown_ms, dry_run }) {
  fs.writeFileSync(conf(), `return {
  server = { workers = 1 },
  cart = { completion_claim_ms = 2000 },
  payments = { breaker_min_calls = ${MIN_CALLS}, breaker_cooldown_ms = ${cooldown_ms}, breaker_probes = 1, breaker_dry_run = ${dry_run},
    bulkhead = ${BULKHEAD}, retry_attempts = 1 },
}
`);
}

/** How often the web worker was told so; the jobs worker asks as well, and has its own. */
async function refused(reason, operation = "authorize") {
  const { text } = await until("it tells its numbers", () => shop.ops("/metrics").catch(() => null)); // a worker that goes takes connections along
  return Number(new RegExp(`^till_provider_refused_total\\{operation="${operation}",provider="probe",reason="${reason}"\\} (\\d+)`, "m").exec(text)?.[1] ?? 0);
}

const logged = (event) => fs.readFileSync(path.join(shop.dir, "moontill.log"), "utf8").split("\n").filter((line) => line.includes(`"event":"${event}"`))
  .map((line) => JSON.parse(line));

const complete = (cart) => shop.store("POST", `/carts/${cart.id}/complete`, { headers: idem(newKey()), body: {} });
const pay = (cart, token = "ok", name = "probe") => shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: name, data: { token } } });
const asked = (what) => provider.calls.filter((call) => call.what === what);

async function ready(token, name) {
  const cart = await makeCart(shop, variant.id, { quantity: 1 });
  assertOk(await pay(cart, token, name), 201);
  return cart;
}

/** An order, or a refusal. */
const outcome = (cart) => until("the outcome is known", async () => {
  const answer = await complete(cart);
  return answer.status !== 202 && !["completion_in_progress", "unknown_outcome"].includes(answer.body.code) && answer;
}, 30_000);

const codeOf = (answer) => answer.body.error?.code ?? answer.body.code;

describe("a provider that fails for everybody", () => {
  it("is left alone, told of clearly, tried again, and nobody pays twice or in vain", async () => {
    provider.isSilent = true;
    const unknown = [];
    for (let i = 0; i !== MIN_CALLS; ++i) unknown.push(await ready());
    for (const cart of unknown) await complete(cart);
    const before = asked("authorize").length;
    assert.ok(before >= MIN_CALLS);

    const turnedAway = await ready();
    const answer = await complete(turnedAway);
    assert.equal(codeOf(answer), "payment_declined", answer.text);
    assert.match(answer.text, /cannot be asked at the moment; try again later/);
    assert.equal(asked("authorize").length, before, "it was not asked");

    provider.isSilent = false;
    const order = await until("it is tried again, and closed", async () => {
      assertOk(await pay(turnedAway), 201);
      const again = await outcome(turnedAway);
      return again.body.type === "order" && again.body.order;
    }, 30_000);
    assert.ok(order.id);
    for (const cart of unknown) {
      const known = await outcome(cart);
      const taken = provider.chargesOf(cart.id).filter((charge) => charge.state === "authorized" || charge.state === "captured");
      assert.equal(taken.length, known.body.type === "order" ? 1 : 0, known.text);
    }
    assert.equal(provider.chargesOf(turnedAway.id).length, 1);
    await assertInvariants(shop);
  });

  it("is shown to staff with what it can do, its breakers and its credentials", async () => {
    const { data } = assertOk(await shop.admin("GET", "/payment-providers?check=true"), 200);
    const of = Object.fromEntries(data.map((one) => [one.provider, one]));
    assert.deepEqual(of.probe.breakers.map((one) => one.operation), ["authorize", "capture", "void", "refund", "lookup"]);
    assert.equal(of.probe.breakers[0].state, "closed");
    assert.equal(of.probe.capabilities.partial_refund, true);
    assert.equal(of.probe.credentials, undefined);
    assert.deepEqual(of.test.credentials, { ok: true });
    assert.equal(of.manual.breakers, undefined, "nobody is asked");
  });
});

describe("a provider that is slow", () => {
  it("has as many calls of a worker as it may; those above fail at once, unsent, and others are not held up", async () => {
    const inside = [];
    for (let i = 0; i !== BULKHEAD; ++i) inside.push(await ready("gate"));
    const above = [await ready(), await ready()];
    const elsewhere = await ready("tok_ok", "test");
    const before = asked("authorize").length, turnedAway = await refused("bulkhead");
    const answers = inside.map(complete);
    await until("they are all with the provider", () => provider.waiting.length === BULKHEAD);

    for (const cart of above) {
      const answer = await complete(cart);
      assert.equal(codeOf(answer), "payment_declined", answer.text);
      assert.match(answer.text, /cannot be asked at the moment; try again later/);
      assert.equal(await value(shop, `SELECT state FROM payments WHERE cart_id = ${bin(cart.id)}`), "failed");
    }
    assert.equal(assertOk(await outcome(elsewhere), 200).type, "order", "another provider is asked meanwhile");
    assert.equal(provider.waiting.length, BULKHEAD, "and they are in there yet");
    assert.equal(asked("authorize").length, before + BULKHEAD, "nothing else was sent");
    assert.equal(await refused("bulkhead"), turnedAway + above.length);

    provider.open();
    for (const answer of await Promise.all(answers)) assert.equal(assertOk(answer, 200).type, "order");
    for (const cart of above) {
      assertOk(await pay(cart), 201);
      assert.equal(assertOk(await outcome(cart), 200).type, "order", "he tries again, and there is room");
      assert.equal(provider.chargesOf(cart.id).length, 1);
    }
    await assertInvariants(shop);
  });
});

describe("a breaker that only tries out its numbers", () => {
  it("counts and tells what it would have refused, and refuses nobody", async () => {
    writeConf({ cooldown_ms: 3_600_000, dry_run: true });
    const reload = await shop.cli("reload");
    assert.equal(reload.code, 0, reload.stderr);
    const seen = logged("provider.breaker").length, withheld = logged("provider.refused").length;
    const none = await refused("breaker"), dry = await refused("dry_run");
    provider.isSilent = true;
    const unknown = [];
    for (let i = 0; i !== MIN_CALLS; ++i) unknown.push(await ready());
    for (const cart of unknown) await complete(cart);
    provider.isSilent = false;
    const opened = await until("it is told", () => logged("provider.breaker").slice(seen).find((one) => one.operation === "authorize"));
    assert.deepEqual([opened.level, opened.provider, opened.from, opened.to, opened.dry_run], ["error", "probe", "closed", "open", true]);

    const before = asked("authorize").length;
    for (let i = 0; i !== 2; ++i) assert.equal(assertOk(await outcome(await ready()), 200).type, "order", "for an hour it would have been refused");
    assert.equal(asked("authorize").length, before + 2);
    assert.equal(await refused("dry_run"), dry + 2);
    assert.equal(await refused("breaker"), none);
    assert.equal(logged("provider.refused").length, withheld);
    const { data } = assertOk(await shop.admin("GET", "/payment-providers"), 200);
    assert.equal(data.find((one) => one.provider === "probe").breakers[0].state, "open", "its states are those that it would have");
    for (const cart of unknown) assert.ok(await outcome(cart));
    await assertInvariants(shop);
  });
});

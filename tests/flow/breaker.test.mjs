// A provider that fails for all: it is left alone after some attempts, tried again later, and no attempt is lost or paid twice.
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { assertOk } from "./support/checks.mjs";
import { assertInvariants } from "./support/db.mjs";
import { Provider } from "./support/provider.mjs";
import { Shop, idem, makeCart, makeProduct, newKey, until } from "./support/shop.mjs";

const MIN_CALLS = 3;

let shop, provider, variant, dir;
before(async () => {
  provider = await Provider.start();
  dir = fs.mkdtempSync(path.join(os.tmpdir(), "till-breaker-"));
  shop = await Shop.start({ args: ["--no-demo", ...provider.plugin(dir), "--set", "server.workers=1",
    "--set", `payments.breaker_min_calls=${MIN_CALLS}`, "--set", "payments.breaker_cooldown_ms=300", "--set", "payments.breaker_probes=1",
    "--set", "payments.retry_attempts=1", "--set", "cart.completion_claim_ms=2000"] });
  ({ variant } = await makeProduct(shop, { stock: 100 }));
});
after(async () => {
  await shop?.stop();
  provider?.stop();
  fs.rmSync(dir, { recursive: true, force: true });
});

const complete = (cart) => shop.store("POST", `/carts/${cart.id}/complete`, { headers: idem(newKey()), body: {} });
const pay = (cart) => shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "probe", data: { token: "ok" } } });
const asked = (what) => provider.calls.filter((call) => call.what === what);

async function ready() {
  const cart = await makeCart(shop, variant.id, { quantity: 1 });
  assertOk(await pay(cart), 201);
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

// The worker that publishes a rule is killed at each point where it matters, as by kill -9: the rule is live in every worker or
// in none, whoever asks is told which, and the same request asked again ends what was begun.
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { Shop, idem, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";
import { bin, query } from "./support/db.mjs";

const TEXT = "return function() return { { level = 'order', type = 'percent', value = '10' } } end";

describe("a worker that is killed while it publishes a rule", () => {
  let shop;
  after(() => shop?.stop());

  const admin = (method, path, options = {}) =>
    shop.h1(method, `/admin/v1/rules${path}`, { key: shop.dev.admin_key, agent: false, ...options });
  const events = (rule) => query(shop, `SELECT type, outcome FROM rule_events WHERE rule_id = ${bin(rule.id)} ORDER BY id`);

  async function discounts() {
    const { variant } = await makeProduct(shop, { price: 1000 });
    const seen = await Promise.all(Array.from({ length: 12 }, async () => {
      const ask = (method, path, body) => shop.h1(method, `/store/v1/carts${path}`, { agent: false, body });
      const { cart } = assertOk(await ask("POST", "", {}), 201);
      return assertOk(await ask("POST", `/${cart.id}/lines`, { variant_id: variant.id, quantity: 1 })).cart.discount_total.amount;
    }));
    return [...new Set(seen)];
  }

  const POINTS = { "rules.before_swap": { off: 0, state: "draft" }, "rules.after_swap": { off: 100, state: "published" } };
  for (const [point, { off, state }] of Object.entries(POINTS)) {
    it(`at ${point}`, async () => {
      shop = await Shop.start({ env: { TILL_FAULTS: `${point}=1` },
        args: ["--no-demo", "--set", "server.workers=2", "--set", "idem.lease_ms=1000"] });
      const { rule } = assertOk(await admin("POST", "", { headers: idem(), body: { name: "ten", hook: "promo.evaluate", text: TEXT } }), 201);
      const headers = idem(newKey());
      const publish = () => admin("POST", `/${rule.id}/publish`, { headers, body: { reason: "it is time" } });
      await assert.rejects(publish(), "the worker was killed");
      assert.deepEqual(await discounts(), [off]);
      assert.equal(assertOk(await admin("GET", `/${rule.id}`), 200).rule.state, state);
      assert.deepEqual(await events(rule), [["published", "begun"]]);
      const done = await until("the same request is answered", async () => {
        const answer = await publish();
        return answer.body?.code !== "idempotency_in_flight" && answer.body?.code !== "busy" && answer;
      });
      assert.equal(assertOk(done, 200).rule.state, "published");
      assert.deepEqual(await discounts(), [100]);
      assert.deepEqual(await events(rule), [["published", off ? "done" : "refused"], ["published", "done"]]);
      await shop.stop();
      shop = undefined;
    });
  }
});

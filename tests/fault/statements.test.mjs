// A fault at each statement of what moves stock, orders or money, one after the other: the client tries again as clients
// do, and the effect is there exactly once. Nobody had to name the dangerous statements.
import assert from "node:assert/strict";
import https from "node:https";
import { after, before, describe, it } from "node:test";
import { ADDRESS, Shop, idem, makeProduct, newKey, until } from "../flow/support/shop.mjs";
import { assertOk } from "../flow/support/checks.mjs";
import { assertInvariants, bin, count, query } from "../flow/support/db.mjs";
import { control } from "../flow/support/process.mjs";

const KINDS = {
  "sql.lost_before_send": "the connection breaks before it leaves",
  "sql.lost_after_send": "its answer is lost",
  "sql.deadlock": "it is the victim of a deadlock",
  "sql.crash_after_send": "the worker is killed when it has left",
};

let shop, variant;
before(async () => {
  shop = await Shop.start({ env: { TILL_FAULTS: "" }, args: ["--no-demo", "--set", "server.workers=4", "--set", "server.jobs_workers=0",
    "--set", "cart.completion_claim_ms=1000", "--set", "idem.lease_ms=1000"] });
  ({ variant } = await makeProduct(shop, { stock: 100000 }));
});
after(() => shop?.stop());

async function arm(fault) {
  const answer = await control(shop, `fault ${fault}`);
  assert.ok(answer.ok, answer.error);
  return answer.left;
}

/** Repeats until the server has answered for good: what clients do when a connection breaks. */
async function insist(method, target, options) {
  let last;
  return until(`${method} ${target} is answered`, async () => {
    try {
      last = await shop.h1(method, target, { agent: false, ...options });
    } catch {
      return false;
    }
    const isOver = last.status < 500 && last.status !== 202 &&
      !["completion_in_progress", "idempotency_in_flight", "busy", "deadlock"].includes(last.body?.code);
    return isOver && last;
  }, 20_000).catch((error) => {
    throw new Error(`${error.message}; last: ${last?.status} ${last?.text}`);
  });
}

async function cart() {
  const made = assertOk(await insist("POST", "/store/v1/carts", { body: { currency: "GBP", country: "GB" } })).cart;
  return `/store/v1/carts/${made.id}`;
}

async function filled() {
  const at = await cart();
  assertOk(await insist("POST", `${at}/lines`, { body: { variant_id: variant.id, quantity: 1 } }));
  assertOk(await insist("PATCH", at, { body: { email: "ada@example.com", shipping_address: ADDRESS } }));
  const options = assertOk(await insist("GET", `${at}/shipping-options`));
  assertOk(await insist("PATCH", at, { body: { shipping_option_id: options.data[0].id } }));
  return at;
}

const pay = async (at, body = { provider: "test", data: { token: "tok_ok" } }) => {
  assertOk(await insist("POST", `${at}/payment-sessions`, { body, headers: idem() }));
};
/** Completes, and pays anew where the provider never heard of the payment. */
async function complete(at) {
  for (;;) {
    const done = assertOk(await insist("POST", `${at}/complete`, { headers: idem(), body: {} }));
    if (done.type === "order") return done.order;
    assert.match(done.error.detail, /never received/, JSON.stringify(done.error));
    await pay(at);
  }
}
const idOf = (at) => bin(at.split("/").pop());

/** What is done, what it takes, and what there must be afterwards. */
const EFFECTS = {
  "a line": {
    prepare: async () => ({ at: await cart(), headers: idem() }),
    act: async ({ at, headers }) => assertOk(await insist("POST", `${at}/lines`, { body: { variant_id: variant.id, quantity: 2 }, headers })),
    check: async ({ at }) => {
      const { lines } = assertOk(await insist("GET", at)).cart;
      assert.deepEqual(lines.map((line) => line.quantity), [2]);
    },
  },
  "a payment session": {
    prepare: async () => ({ at: await filled() }),
    act: async ({ at }) => pay(at),
    check: async ({ at }) => {
      assert.equal(await count(shop, "reservations", `cart_id = ${idOf(at)} AND state = 'held'`), 1);
    },
  },
  "an order": {
    prepare: async () => {
      const at = await filled();
      await pay(at);
      return { at };
    },
    act: async (given) => (given.order = await complete(given.at)),
    check: async ({ at, order }) => {
      assert.equal(await count(shop, "orders", `cart_id = ${idOf(at)}`), 1);
      assert.equal(await count(shop, "payments", `cart_id = ${idOf(at)} AND state IN ('authorized', 'captured')`), 1);
      assert.equal(assertOk(await insist("GET", `/store/v1/orders/${order.id}`)).order.id, order.id);
    },
  },
  "an order that is paid by hand": {
    prepare: async () => {
      const at = await filled();
      await pay(at, { provider: "manual" });
      return { at };
    },
    act: async (given) => (given.order = await complete(given.at)),
    check: async ({ at, order }) => {
      assert.equal(await count(shop, "orders", `cart_id = ${idOf(at)}`), 1);
      assert.equal(await count(shop, "payments", `cart_id = ${idOf(at)} AND state = 'authorized'`), 1);
      assert.equal(assertOk(await insist("GET", `/store/v1/orders/${order.id}`)).order.number, order.number);
    },
  },
  "a cancelled order": {
    spared: "sql.crash_after_send", // its lock would be waited for at each statement, 30 s long
    prepare: async () => {
      const at = await filled();
      await pay(at);
      return { order: await complete(at), headers: idem() };
    },
    act: async ({ order, headers }) => assertOk(await insist("POST", `/admin/v1/orders/${order.id}/cancel`,
      { key: shop.dev.admin_key, body: {}, headers })),
    check: async ({ order }) => {
      assert.deepEqual(await query(shop, `SELECT status FROM orders WHERE id = ${bin(order.id)}`), [["cancelled"]]);
      assert.equal(await count(shop, "payments", `order_id = ${bin(order.id)} AND state IN ('authorized', 'captured')`), 0);
    },
  },
};

for (const [effect, { prepare, act, check, spared }] of Object.entries(EFFECTS)) {
  describe(effect, () => {
    for (const [fault, words] of Object.entries(KINDS)) {
      if (fault === spared) continue;
      it(`is there once, whichever statement it is at which ${words}`, async (t) => {
        let k = 0;
        for (let isLeft = false; !isLeft; k++) {
          const given = await prepare();
          await arm(`${fault}=1@${k}`);
          await act(given);
          isLeft = (await arm(`${fault}=0`)) !== 0;
          await check(given);
          assert.ok(k < (fault === "sql.lost_after_send" ? 200 : 100), "it never gets through"); // there to prepare counts as well
        }
        t.diagnostic(`${k - 1} statements`);
        assert.ok(k > 1, "no statement met the fault");
        await assertInvariants(shop);
      });
    }
  });
}

// Without a key nobody knows a repetition from another wish: so the server must not repeat it by itself, which it might
// where it remembers the cart and finds that it is out of date.
describe("a line that is asked for once, without a key", () => {
  it("is there at most once, whichever statement it is whose answer is lost", async (t) => {
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1 }); // one connection is one worker, which remembers
    const ask = (method, target, body) => shop.h1(method, target, { agent, body });
    let k = 0;
    for (let isLeft = false; !isLeft; k++) {
      const made = assertOk(await ask("POST", "/store/v1/carts", { currency: "GBP", country: "GB" })).cart;
      await arm(`sql.lost_after_send=1@${k}`);
      const answer = await ask("POST", `/store/v1/carts/${made.id}/lines`, { variant_id: variant.id, quantity: 2 });
      isLeft = (await arm("sql.lost_after_send=0")) !== 0;
      const { lines } = assertOk(await insist("GET", `/store/v1/carts/${made.id}`)).cart;
      const there = lines.map((line) => line.quantity);
      if (answer.status < 300 || there.length) assert.deepEqual(there, [2], `answered ${answer.status}, at statement ${k}`);
      assert.ok(k < 200, "it never gets through"); // preparing one counts too
    }
    t.diagnostic(`${k - 1} statements`);
    assert.ok(k > 1, "no statement met the fault");
    agent.destroy();
  });
});

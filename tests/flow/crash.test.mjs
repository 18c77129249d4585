// Processes die at the worst of times: others serve on, they are replaced, and nothing is sold or paid twice.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { ADDRESS, Shop, idem, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";
import { assertInvariants, count, query } from "./support/db.mjs";
import { isAlive, serverOf, workers } from "./support/process.mjs";

const MINUTE = 60_000;

let shop, variant, sku;
before(async () => {
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=2", "--set", "cart.completion_claim_ms=2000",
    "--set", "idem.lease_ms=2000", "--set", "jobs.lease_ms=2000"] });
  ({ variant, sku } = await makeProduct(shop, { stock: 100000 }));
});
after(() => shop?.stop());

/** Repeats until the server has answered for good: what clients do when a connection breaks. */
async function insist(method, target, options = {}) {
  let last;
  return until(`${method} ${target} is answered`, async () => {
    try {
      last = await shop.h1(method, `/store/v1${target}`, { agent: false, ...options });
    } catch {
      return false;
    }
    const isOver = last.status < 500 && last.status !== 202 && last.status !== 429 &&
      !["completion_in_progress", "idempotency_in_flight", "busy"].includes(last.body?.code);
    return isOver && last;
  }, MINUTE).catch((error) => {
    throw new Error(`${error.message}; last: ${last?.status} ${last?.text}`);
  });
}

/** Pays, and anew where the provider never heard of it: the pretended one's memory is the same MariaDB. */
async function pay(at, token) {
  for (;;) {
    const key = newKey();
    assertOk(await insist("POST", `${at}/payment-sessions`, { body: { provider: "test", data: { token } }, headers: idem(`${key}-pay`) }));
    const first = assertOk(await insist("POST", `${at}/complete`, { headers: idem(key), body: {} }));
    if (first.type === "order") return { first, key };
    assert.match(first.error.detail, /never received/, JSON.stringify(first.error));
  }
}

/** The whole journey; gives the order, and how often it was placed by the word of the server. */
async function shopper(token = "tok_ok") {
  const lineKey = newKey();
  const { cart } = assertOk(await insist("POST", "/carts", { body: { currency: "GBP", country: "GB" } }));
  const at = `/carts/${cart.id}`;
  assertOk(await insist("POST", `${at}/lines`, { body: { variant_id: variant.id, quantity: 1 }, headers: idem(lineKey) }));
  assertOk(await insist("PATCH", at, { body: { email: "ada@example.com", shipping_address: ADDRESS } }));
  const options = assertOk(await insist("GET", `${at}/shipping-options`));
  assertOk(await insist("PATCH", at, { body: { shipping_option_id: options.data[0].id } }));
  const { first, key } = await pay(at, token);
  const again = assertOk(await insist("POST", `${at}/complete`, { headers: idem(key), body: {} }));
  assert.equal(again.order.id, first.order.id);
  return { order: first.order, cart };
}

/** `n` shoppers at a time until `stop()`; gives all orders. */
function underLoad(n) {
  const orders = [];
  let isOver = false;
  const all = Promise.all(Array.from({ length: n }, async () => {
    do orders.push((await shopper()).order); while (!isOver);
  }));
  return {
    orders,
    async stop() {
      isOver = true;
      await all;
      return orders;
    },
  };
}

const ofKind = async (kind) => (await workers(shop)).filter((w) => w.name.startsWith(kind));

async function isReplaced(pid) {
  assert.ok(!isAlive(pid) || (await until("it is dead", () => !isAlive(pid))));
  return until("it is replaced", async () => {
    const all = await workers(shop);
    return all.every((w) => w.pid !== pid && w.state === "ready") && all;
  }, MINUTE);
}

/** All events delivered, all payments captured: then the books must be right. */
async function settled() {
  await until("the outbox is empty", async () => (await count(shop, "outbox", "state = 'pending'")) === 0, MINUTE);
  await until("no completion hangs", async () => (await count(shop, "sagas", "state IN ('running', 'waiting')")) === 0, MINUTE);
  await until("every order is paid", async () => (await count(shop, "orders", "payment_status <> 'captured'")) === 0, MINUTE);
  await assertInvariants(shop);
  assert.deepEqual(await query(shop, `SELECT s.reserved FROM stock s JOIN variants v ON v.id = s.variant_id WHERE v.sku = '${sku}'`), [["0"]]);
}

describe("a web worker that is killed", () => {
  it("is replaced, while the other serves on and no order is lost or doubled", async () => {
    const load = underLoad(4);
    for (let i = 0; i < 4; ++i) {
      const placed = load.orders.length;
      await until("orders are placed", () => load.orders.length > placed + 2, MINUTE);
      const victims = await ofKind("web");
      const victim = victims[i % victims.length];
      process.kill(victim.pid, "SIGKILL");
      await isReplaced(victim.pid);
    }
    const orders = await load.stop();
    assert.equal(new Set(orders.map((o) => o.id)).size, orders.length);
    assert.equal(await count(shop, "orders"), orders.length, "what shoppers know of is what there is");
    await settled();
  });

  it("together with the other one is replaced as well", async () => {
    const load = underLoad(2);
    await until("orders are placed", () => load.orders.length > 1, MINUTE);
    const victims = await ofKind("web");
    for (const victim of victims) process.kill(victim.pid, "SIGKILL");
    for (const victim of victims) await isReplaced(victim.pid);
    await load.stop();
    await settled();
  });
});

describe("the jobs worker that is killed", () => {
  it("is replaced, and every payment is captured once", async () => {
    const load = underLoad(3);
    for (let i = 0; i < 3; ++i) {
      const placed = load.orders.length;
      await until("orders are placed", () => load.orders.length > placed + 2, MINUTE);
      const [victim] = await ofKind("jobs");
      process.kill(victim.pid, "SIGKILL");
      await isReplaced(victim.pid);
    }
    await load.stop();
    await settled();
    assert.equal(await count(shop, "payment_test_attempts", "state <> 'captured'"), 0);
  });
});

describe("Redis that is killed", () => {
  it("is missed by nobody who buys", async () => {
    const load = underLoad(2);
    await until("orders are placed", () => load.orders.length > 1, MINUTE);
    const pid = serverOf(shop, "redis-server");
    process.kill(pid, "SIGKILL");
    const placed = load.orders.length;
    await until("orders are placed all the same", () => load.orders.length > placed + 2, MINUTE);
    await until("it runs again", () => {
      try {
        return serverOf(shop, "redis-server") !== pid;
      } catch {
        return false;
      }
    }, MINUTE);
    await load.stop();
    await settled();
  });
});

describe("MariaDB that is killed", () => {
  it("makes 503 with Retry-After of every answer, and all goes on when it is back", async () => {
    const load = underLoad(2);
    await until("orders are placed", () => load.orders.length > 1, MINUTE);
    const pid = serverOf(shop, "mariadbd");
    process.kill(pid, "SIGKILL");
    let refused;
    await until("it is back", async () => {
      const answer = await shop.h1("POST", "/store/v1/carts", { body: {}, agent: false }).catch(() => undefined);
      if (answer && answer.status >= 500) refused = answer;
      if (answer) assert.ok(answer.status < 300 || answer.status >= 500, `${answer.status} ${answer.text}`);
      return refused && answer?.status === 201;
    }, MINUTE);
    assertProblem(refused, 503, refused.body.code);
    assert.ok(Number(refused.headers["retry-after"]) >= 1, JSON.stringify(refused.headers));
    const placed = load.orders.length;
    await until("orders are placed again", () => load.orders.length > placed + 1, MINUTE);
    await load.stop();
    await settled();
    await until("it is ready again", async () => (await shop.ops("/readyz")).status === 200);
  });
});

describe("connections to MariaDB that break", () => {
  it("wherever they are just then, cost nobody an order and sell nothing twice", async () => {
    const before = await count(shop, "orders");
    const load = underLoad(4);
    for (let i = 0; i < 25; ++i) {
      const placed = load.orders.length;
      const busy = await query(shop, "SELECT id FROM information_schema.processlist WHERE user = 'moontill' AND id <> CONNECTION_ID()");
      await query(shop, busy.map(([id]) => `KILL CONNECTION ${id};`).join("\n"), { force: true });
      await until("orders are placed", () => load.orders.length > placed, MINUTE);
    }
    const orders = await load.stop();
    assert.equal(new Set(orders.map((o) => o.id)).size, orders.length);
    assert.equal(await count(shop, "orders"), before + orders.length);
    for (const { lines } of orders) assert.deepEqual(lines.map((l) => l.quantity), [1], "a line was added once");
    await settled();
  });
});

describe("stock that is held", () => {
  it("for a cart that nobody completes is free again after its time", async () => {
    const made = await makeProduct(shop, { stock: 1 });
    const { cart } = assertOk(await shop.store("POST", "/carts", { body: {} }), 201);
    assertOk(await shop.store("POST", `/carts/${cart.id}/lines`, { body: { variant_id: made.variant.id, quantity: 1 } }));
    assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "test" } }), 201);
    assert.equal(await count(shop, "reservations", "state = 'held'"), 1);
    await query(shop, "UPDATE reservations SET expires_at = '2020-01-01' WHERE state = 'held'");
    const stock = await until("it is free", async () => {
      const { inventory } = assertOk(await shop.admin("GET", `/inventory/${encodeURIComponent(made.sku)}`), 200);
      return inventory.reserved === 0 && inventory;
    }, MINUTE);
    assert.equal(stock.available, 1);
    assert.equal(await count(shop, "reservations", "state = 'expired'"), 1);
    await assertInvariants(shop);
  });
});

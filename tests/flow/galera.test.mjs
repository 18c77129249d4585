// A cluster of three: two servers on two nodes sell the same units. Locks of one node are unknown to the other, a
// conflict is found at COMMIT, and a node may go, or be cut off, at any time.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { idem, makeProduct, moontill, newKey, until } from "./support/shop.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";
import { assertInvariants, bin, count, query } from "./support/db.mjs";
import { Cluster } from "./support/galera.mjs";
import { CARD, INVOICE, assertNobodyChargedInVain, complete, connections, few, fillCart, isOrder, many, ordersOf, pay } from "./support/crowd.mjs";

const MINUTE = 60_000;
const SAME = ["stock", "stock_events", "reservations", "orders", "order_lines", "payments", "ledger_entries", "carts",
  "payment_test_attempts"];

let cluster, one, two, pools;
before(async () => {
  cluster = await Cluster.start();
  one = await cluster.serve(cluster.nodes[0]);
  two = await cluster.serve(cluster.nodes[1]);
  pools = [connections(one, 4), connections(two, 4)];
});
after(async () => {
  pools?.forEach((pool) => pool.close());
  await cluster?.stop();
});

/** Over one server or the other. */
const over = (i) => pools[i % 2].ask(i >> 1);

/** Made by one server, for the other one to find. */
async function cartsOf(variant, n, quantity = 1) {
  return few(n, 6, (i) => fillCart(over(i), [[variant.id, quantity]]));
}

/** The payment is begun on one node and completed on the other one. */
async function purchaseOverBoth(cart, i) {
  const held = await pay(over(i), cart, i % 4 < 2 ? INVOICE : CARD);
  const answer = held.status === 201 ? await complete(over(i + 1), cart) : held;
  return /never received/.test(answer.body?.error?.detail) ? purchaseOverBoth(cart, i) : answer; // he is told to pay anew
}

const buyAll = (carts) => many(carts.length, (i) => purchaseOverBoth(carts[i], i));

/** How often a transaction was given up because another node had the row. */
async function conflicts() {
  let sum = 0;
  for (const node of cluster.nodes)
    for (const name of ["wsrep_local_cert_failures", "wsrep_local_bf_aborts"]) sum += await node.status(name);
  return sum;
}

async function stockOf(sku) {
  const { inventory } = assertOk(await one.admin("GET", `/inventory/${encodeURIComponent(sku)}`), 200);
  return [inventory.on_hand, inventory.reserved];
}

/** The same on every node, and all of it right. */
async function assertAgreed() {
  await until("the jobs are done", async () =>
    (await count(one, "outbox", "state = 'pending' AND type IN ('order.placed', 'payment.capture')")) === 0, 2 * MINUTE);
  await assertNobodyChargedInVain(one);
  await until("all nodes hold the same", async () => {
    const sums = await Promise.all(cluster.nodes.map((n) => query(n, `CHECKSUM TABLE ${SAME.join()}`)));
    return sums.every((s) => JSON.stringify(s) === JSON.stringify(sums[0]));
  }, MINUTE);
  for (const node of cluster.nodes) await assertInvariants(node);
}

async function serves(server) {
  await until("it serves again", async () => (await server.ops("/readyz")).status === 200, 2 * MINUTE);
}

describe("doctor", () => {
  it("knows a node, and asks for reads that wait for what others have written", async () => {
    const look = async () => (await moontill(["doctor", ...one.args])).stdout.split("\n").find((l) => l.includes("database.cluster"));
    assert.match(await look(), /^ *ok .*primary component/);
    await cluster.nodes[0].ask("SET GLOBAL wsrep_sync_wait = 0");
    try {
      assert.match(await look(), /^ *warn /);
    } finally {
      await cluster.nodes[0].ask("SET GLOBAL wsrep_sync_wait = 1");
    }
  });
});

describe("two servers on two nodes", () => {
  it("sell the last units to as many as there are", async () => {
    const before = await conflicts();
    let rounds = 0;
    do {
      const { variant, sku } = await makeProduct(one, { stock: 7 });
      const orders = ordersOf(await buyAll(await cartsOf(variant, 24)));
      assert.equal(orders.length, 7);
      assert.deepEqual(await stockOf(sku), [0, 0]);
    } while ((await conflicts()) === before && ++rounds < 5);
    assert.ok((await conflicts()) > before, "the nodes were at odds, or it proves nothing");
    await assertAgreed();
  });

  it("make one order of a cart that both complete", async () => {
    const { variant, sku } = await makeProduct(one, { stock: 20 });
    for (const [i, cart] of (await cartsOf(variant, 6, 2)).entries()) {
      assertOk(await pay(over(i), cart), 201);
      const answers = await many(4, (k) => complete(over(k), cart));
      for (const a of answers) assert.ok(isOrder(a), a.text);
      assert.equal(new Set(answers.map((a) => a.body.order.id)).size, 1);
      assert.equal(await count(two, "orders", `cart_id = ${bin(cart.id)}`), 1);
    }
    assert.deepEqual(await stockOf(sku), [8, 0]);
    await assertAgreed();
  });

  it("change the stock by as much as all adjustments together", async () => {
    const { sku } = await makeProduct(one, { stock: 100 });
    const servers = [one, two];
    const answers = await many(16, async (i) => {
      const key = newKey();
      return until("it is adjusted", async () => {
        const answer = await servers[i % 2].admin("POST", `/inventory/${sku}/adjustments`,
          { headers: idem(key), body: { delta: i % 4 < 2 ? 3 : -2, reason: "race" } });
        return answer.status !== 503 && answer;
      });
    });
    for (const a of answers) assertOk(a, 201);
    assert.deepEqual(await stockOf(sku), [108, 0]);
    await assertAgreed();
  });
});

describe("a node", () => {
  it("killed while the last units are bought comes back, and nothing is sold twice or lost", async () => {
    const { variant, sku } = await makeProduct(one, { stock: 15 });
    const carts = await cartsOf(variant, 40);
    const bought = buyAll(carts);
    bought.catch(() => {});
    const node = cluster.nodes[1];
    await until("some have bought", async () => (await count(one, "stock_events", `type = 'sold' AND variant_id = ${bin(variant.id)}`)) > 2);
    await node.kill();
    const refused = await until("its server says so", async () => {
      const answer = await two.store("POST", "/carts", { body: {} });
      return answer.status === 503 && answer;
    });
    assert.ok(Number(refused.headers["retry-after"]) >= 1, refused.text);
    await fillCart(pools[0].ask(0), [[variant.id, 1]]); // the other one goes on
    await node.rejoin();
    await serves(two);
    assert.equal(ordersOf(await bought).length, 15);
    assert.deepEqual(await stockOf(sku), [0, 0]);
    await assertAgreed();
  });

  it("that is cut off from the others is answered for with 503, and leaves nothing half done", async () => {
    const { variant, sku } = await makeProduct(one, { stock: 12 });
    const carts = await cartsOf(variant, 30);
    const held = await fillCart(pools[1].ask(0), [[variant.id, 1]]);
    assertOk(await pay(pools[1].ask(0), held), 201);
    const node = cluster.nodes[1];
    const bought = buyAll(carts);
    bought.catch(() => {});
    await node.isolate();
    try {
      await until("it has noticed", async () => !(await node.state()).startsWith("Primary"), MINUTE);
      const target = `/carts/${held.id}/complete`, key = newKey();
      const asked = [() => two.store("POST", "/carts", { body: {} }),
        () => two.store("POST", target, { headers: idem(key), body: {} }),
        () => two.store("POST", `/carts/${held.id}/lines`, { body: { variant_id: variant.id, quantity: 1 } })];
      for (const ask of asked) {
        const answer = await ask();
        assertProblem(answer, 503, answer.body?.code);
        assert.ok(Number(answer.headers["retry-after"]) >= 1, answer.text);
      }
      assert.equal(await count(one, "orders", `cart_id = ${bin(held.id)}`), 0);
      await fillCart(pools[0].ask(0), [[variant.id, 1]]); // the two others are the cluster now
    } finally {
      await node.isolate(false);
    }
    await until("it is back", async () => (await node.state()) === "Primary Synced", 2 * MINUTE);
    await serves(two);
    assert.ok(isOrder(await complete(pools[1].ask(0), held)));
    assert.equal(ordersOf(await bought).length, 11);
    assert.deepEqual(await stockOf(sku), [0, 0]);
    await assertAgreed();
  });
});

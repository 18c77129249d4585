// What a shop needs is away, slow, full or refuses: what clients see is what docs/architecture.md promises, and when it
// is back nobody has to do anything.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Provider } from "../flow/support/provider.mjs";
import { Shop, buy, idem, makeCart, makeProduct, tempDir, until } from "../flow/support/shop.mjs";
import { assertOk, assertProblem } from "../flow/support/checks.mjs";
import { assertInvariants, count, ownerSession, query, queryAsOwner } from "../flow/support/db.mjs";
import { control, serverOf } from "../flow/support/process.mjs";

const MINUTE = 60_000;

let shop, provider, product, variant;
before(async () => {
  provider = await Provider.start();
  const plugins = tempDir("plugins");
  shop = await Shop.start({ env: { TILL_FAULTS: "" }, args: ["--no-demo", "--set", "server.workers=2", ...provider.plugin(plugins)] });
  ({ product, variant } = await makeProduct(shop, { stock: 100000 }));
});
after(async () => {
  await shop?.stop();
  provider?.stop();
});

const order = async (options) => {
  const done = assertOk(await buy(shop, await makeCart(shop, variant.id), options), 200);
  assert.equal(done.type, "order", JSON.stringify(done));
  return done.order;
};

/** Shoppers who try nothing twice: the first answer that is no success fails the test. */
function shoppers(n) {
  let isOver = false, orders = 0;
  const all = Promise.all(Array.from({ length: n }, async () => {
    do {
      await order();
      ++orders;
    } while (!isOver);
  }));
  all.catch(() => {});
  return {
    placed: async (more) => {
      const wanted = orders + more;
      await Promise.race([all, until("orders are placed", () => orders >= wanted, MINUTE)]);
    },
    stop: () => {
      isOver = true;
      return all;
    },
  };
}

const createCart = () => shop.h1("POST", "/store/v1/carts", { body: {}, agent: false });

/** What the store says while it cannot write: 503, the code, and when to come back. */
function assertUnavailable(answer, code) {
  assertProblem(answer, 503, code);
  assert.ok(Number(answer.headers["retry-after"]) >= 1, JSON.stringify(answer.headers));
}

async function isWell() {
  await until("it is ready again", async () => (await shop.ops("/readyz")).status === 200, MINUTE);
  await until("orders are placed again", () => order().catch(() => false), MINUTE); // a connection may find out late
  await until("the outbox is empty", async () => (await count(shop, "outbox", "state = 'pending'")) === 0, MINUTE);
  await assertInvariants(shop);
}

describe("Redis", () => {
  it("that forgets everything is noticed by no shopper", async () => {
    const { createConnection } = await import("node:net");
    const load = shoppers(3);
    for (let i = 0; i < 20; ++i) {
      await load.placed(1);
      const socket = createConnection(shop.dev.redis_socket);
      socket.write("FLUSHALL\r\n");
      await new Promise((resolve) => socket.once("data", resolve));
      socket.destroy();
    }
    await load.stop();
    await isWell();
  });

  it("that stands still costs time, and no answer", async () => {
    const load = shoppers(3);
    await load.placed(1);
    const pid = serverOf(shop, "redis-server");
    process.kill(pid, "SIGSTOP");
    try {
      await load.placed(6);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await load.placed(3);
    await load.stop();
    await isWell();
  });
});

describe("MariaDB", () => {
  it("that stands still leaves the catalogue, and 503 for who would change something", async () => {
    assertOk(await shop.store("GET", `/products/${product.id}`), 200);
    const pid = serverOf(shop, "mariadbd");
    process.kill(pid, "SIGSTOP");
    try {
      const shown = assertOk(await shop.store("GET", `/products/${product.id}`), 200).product;
      assert.equal(shown.id, product.id);
      const refused = await until("it is refused", async () => {
        const answer = await shop.store("POST", "/carts", { body: {} });
        return answer.status === 503 && answer;
      }, MINUTE);
      assert.ok(Number(refused.headers["retry-after"]) >= 1);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await isWell();
  });

  it("that is restarted is found again", async () => {
    const pid = serverOf(shop, "mariadbd");
    process.kill(pid, "SIGTERM");
    await until("another one runs", () => {
      try {
        return serverOf(shop, "mariadbd") !== pid;
      } catch {
        return false;
      }
    }, MINUTE);
    await until("it answers", async () => (await createCart().catch(() => ({}))).status === 201, MINUTE);
    await isWell();
  });

  it("that has no connection left is waited for", async () => {
    const owner = ownerSession(shop);
    const [[most]] = await owner.ask("SELECT @@max_connections");
    const mine = "SELECT CONCAT('KILL ', id, ';') FROM information_schema.processlist WHERE user = 'moontill'";
    const kill = async (which) => owner.ask((await owner.ask(`${mine} AND ${which}`)).join("\n") || "DO 0");
    await owner.ask("SET GLOBAL max_connections = 10");
    let isOver = false, areGone = false;
    const takers = Promise.all(Array.from({ length: 10 }, async () => {
      while (!isOver) await query(shop, "SELECT SLEEP(600)", { force: true });
    })).then(() => (areGone = true));
    try {
      const refused = await until("nothing is left for the shop", async () => {
        await kill("info IS NULL");
        const answer = await createCart();
        return answer.status !== 201 && answer;
      }, MINUTE);
      assertUnavailable(refused, "conn_lost");
    } finally {
      isOver = true;
      await owner.ask(`SET GLOBAL max_connections = ${most}`);
      await until("the takers are gone", async () => {
        await kill("info LIKE 'SELECT SLEEP%'");
        return areGone;
      }, MINUTE);
      await takers;
      owner.close();
    }
    await isWell();
  });

  it("that only reads makes 503 of what would write, and serves who reads", async () => {
    await queryAsOwner(shop, "SET GLOBAL read_only = ON");
    try {
      assertUnavailable(await createCart(), "unavailable");
      assertOk(await shop.store("GET", `/products/${product.id}`), 200);
    } finally {
      await queryAsOwner(shop, "SET GLOBAL read_only = OFF");
    }
    await isWell();
  });

  it("whose deadlocks end is asked again; whose never end makes 503", async () => {
    assert.ok((await control(shop, "fault sql.deadlock=2")).ok);
    await order();
    assert.equal((await control(shop, "fault sql.deadlock=0")).left, 0);
    assert.ok((await control(shop, "fault sql.deadlock=-1")).ok);
    const refused = await createCart();
    assert.ok((await control(shop, "fault sql.deadlock=0")).ok);
    assertUnavailable(refused, "deadlock");
    await isWell();
  });
});

describe("a provider's name that nobody knows", () => {
  it("fails the attempt, for nothing was sent, and the shopper pays another way", async () => {
    const other = await Shop.start({ args: ["--no-demo", ...provider.plugin(tempDir("plugins")),
      "--set", "plugins.payment-probe.url=http://provider.invalid:9"] });
    try {
      const made = await makeProduct(other, { stock: 5 });
      const cart = await makeCart(other, made.variant.id);
      const refused = assertOk(await buy(other, cart, { provider: "probe" }), 200);
      assert.deepEqual([refused.type, refused.error.code], ["cart", "payment_declined"], JSON.stringify(refused));
      assert.equal(await count(other, "payments", "state = 'failed'"), 1);
      assert.equal(assertOk(await buy(other, cart), 200).type, "order");
      await assertInvariants(other);
    } finally {
      await other.stop();
    }
  });
});

describe("a disk without room for the log", () => {
  it("costs the log's lines, which are counted, and nothing else", async () => {
    const full = await Shop.start({ args: ["--no-demo", "--set", "log.file=/dev/full"] });
    try {
      const made = await makeProduct(full, { stock: 5 });
      const done = assertOk(await buy(full, await makeCart(full, made.variant.id)), 200);
      assert.equal(done.type, "order");
      await until("it is counted", async () => Number(/^till_log_lost_total (\d+)/m.exec((await full.ops("/metrics")).text)?.[1]) > 0);
    } finally {
      await full.stop();
    }
  });
});

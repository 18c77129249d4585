// The wall clock of the whole machine steps by an hour, forth and back, while shoppers buy over both protocols, and while they
// pay by Stripe, whose clock stays as it is.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { ROOT, buy, makeCart, makeProduct, tempDir, until } from "../flow/support/shop.mjs";
import { assertOk } from "../flow/support/checks.mjs";
import { assertInvariants, count, query, value } from "../flow/support/db.mjs";
import { workers } from "../flow/support/process.mjs";
import { PaidShop } from "./support/paid_shop.mjs";

const HOUR = 3600n;
const SHOPPERS = 6;
const SEED = Number(process.env.SEED ?? 282408801); // of the carts that are paid by Stripe

const dir = tempDir("clock");
const file = path.join(dir, "offset");
let paid, shop, variant;

/** Steps the clock of everything that runs for the shop. */
function step(seconds) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(seconds);
  const fd = fs.openSync(file, "r+");
  fs.writeSync(fd, bytes, 0, 8, 0);
  fs.closeSync(fd);
}

before(async () => {
  fs.writeFileSync(file, Buffer.alloc(8));
  fs.chmodSync(dir, 0o755);
  const preload = path.join(dir, "clock.so");
  execFileSync("gcc", ["-std=gnu11", "-shared", "-fPIC", "-O1", "-o", preload, path.join(ROOT, "tests/fault/clock.c")]);
  paid = await PaidShop.start({ args: ["--set", "cart.completion_claim_ms=15000", "--set", "idem.lease_ms=15000"],
    env: { LD_PRELOAD: preload, CLOCK_OFFSET: file, ASAN_OPTIONS: `verify_asan_link_order=0:${process.env.ASAN_OPTIONS ?? ""}` } });
  ({ shop } = paid);
  ({ variant } = await makeProduct(shop, { stock: 100000 }));
});
after(async () => {
  await paid?.stop();
  fs.rmSync(dir, { recursive: true, force: true });
});

/** Buys over one protocol until told to stop; the first answer that is no success fails the test. */
function shopper(send) {
  const is = { over: false, orders: 0 };
  is.done = (async () => {
    while (!is.over) {
      const done = assertOk(await buy(shop, await makeCart(shop, variant.id, { send })), 200);
      assert.equal(done.type, "order", JSON.stringify(done));
      ++is.orders;
    }
  })();
  is.done.catch(() => {});
  return is;
}

/** What was claimed, or put off, while the clock was ahead is due when it comes there again: now. */
const hourGoesBy = () => query(shop, ["carts", "sagas"].map((table) =>
  `UPDATE ${table} SET claimed_until = UTC_TIMESTAMP(3) WHERE claimed_until > UTC_TIMESTAMP(3) + INTERVAL 10 MINUTE`).join(";"));

describe("a clock that steps by an hour", () => {
  it("reaches all that runs for the shop", async () => {
    const real = Date.now() / 1000;
    step(HOUR);
    const there = Number(await value(shop, "SELECT UNIX_TIMESTAMP()"));
    step(0n);
    assert.ok(there - real > 3500, `${there - real}`);
  });

  it("forth and back costs no answer, no worker and no order", async () => {
    const pids = (await workers(shop)).map((w) => w.pid);
    const all = [shopper(shop.h1.bind(shop)), shopper(shop.h2.bind(shop)), shopper(shop.h2.bind(shop))];
    // at the end it is ahead: what was written then is due when the clock comes there again, and not before
    for (const to of [HOUR, 0n, -HOUR, 0n, HOUR]) {
      const wanted = all.map((is) => is.orders + 3);
      await Promise.race([...all.map((is) => is.done), until("each shopper has bought", () => all.every((is, i) => is.orders >= wanted[i]), 60_000)]);
      step(to);
    }
    const wanted = all.map((is) => is.orders + 3);
    await Promise.race([...all.map((is) => is.done), until("each shopper has bought", () => all.every((is, i) => is.orders >= wanted[i]), 60_000)]);
    for (const is of all) is.over = true;
    await Promise.all(all.map((is) => is.done));
    assert.deepEqual((await workers(shop)).map((w) => w.pid), pids);
    await until("the outbox is empty", async () => (await count(shop, "outbox", "state = 'pending'")) === 0, 60_000);
    await assertInvariants(shop);
  });

  it("takes nobody's money twice or in vain who pays by Stripe", { timeout: 300_000 }, async (t) => {
    t.diagnostic(`SEED=${SEED}`);
    paid.open(SHOPPERS, SEED);
    for (const to of [0n, HOUR, 0n, -HOUR, 0n]) {
      await paid.sells();
      step(to);
    }
    await paid.sells();
    await hourGoesBy();
    await paid.settle();
    t.diagnostic(paid.tell());
  });
});

// Two who are in each other's way, at every moment there is: one stops before his first statement, then before his second,
// and so on to his last, and each time the other does all of his in between. Whoever is in the way of whom, and with buyers
// who go together or alone: one of the outcomes that either order gives, and the books are right.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Shop, idem, makeProduct, newKey, until } from "../flow/support/shop.mjs";
import { assertOk, assertProblem } from "../flow/support/checks.mjs";
import { CARD, INVOICE, assertNobodyChargedInVain, complete, completeOnce, connections, fillCart, isOrder, pay, payOnce,
  refusalOf, settled, stockOf } from "../flow/support/crowd.mjs";
import { assertInvariants, bin, count, query, queryAsOwner, value } from "../flow/support/db.mjs";
import { control } from "../flow/support/process.mjs";

const MOST = 100; // statements of one request

for (const combine of [true, false]) {
  describe(`two in each other's way, orders.combine = ${combine}`, () => {
    let shop, pool, shipping, turn = 0;
    before(async () => {
      // those who go together have to be in one worker
      shop = await Shop.start({ env: { TILL_FAULTS: "" }, args: ["--no-demo", "--set", `server.workers=${combine ? 1 : 2}`,
        "--set", "server.jobs_workers=0", "--set", `orders.combine=${combine}`, "--set", "cart.completion_claim_ms=1000",
        "--set", "idem.lease_ms=1000", "--set", "plugins.payment-test.late_ms=400"] });
      pool = connections(shop, 8);
      shipping = (await cartOf([[(await makeProduct(shop)).variant.id, 1]])).shipping_option_id;
    });
    after(async () => {
      pool?.close();
      await shop?.stop();
    });

    const ask = () => pool.ask(turn++);
    const cartOf = (lines) => fillCart(ask(), lines, shipping);

    async function arm(faults) {
      const answer = await control(shop, `fault ${faults}`);
      assert.ok(answer.ok, answer.error);
      return answer.left;
    }
    const isHeld = async () => (await control(shop, "faults")).faults.find((f) => f.name === "sql.held").left === 0;
    const questions = async () => Number((await queryAsOwner(shop, "SHOW GLOBAL STATUS LIKE 'Questions'"))[0][1]);

    /** Waits until `first` is answered, or nobody asks the database anything for a while: he waits for the one who is held. */
    async function isStill(other) {
      let isOver = false, quiet = 0, seen = await questions();
      const over = other.finally(() => (isOver = true));
      over.catch(() => {});
      await until("the other is answered or waits", async () => {
        await new Promise((go) => setTimeout(go, 20));
        const now = await questions();
        quiet = now - seen <= 3 ? quiet + 1 : 0; // a look is up to three questions of our own
        seen = now;
        return isOver || quiet >= 5;
      });
    }

    /** Does `one` with `other` in between, before each of its statements in turn. @return how many there are */
    async function atEachStatement(prepare, check) {
      for (let k = 0; k < MOST; ++k) {
        const given = await prepare(k);
        await arm(`sql.gate=-1,sql.held=1@${k}`);
        let isOver = false;
        const one = given.one().finally(() => (isOver = true));
        one.catch(() => {});
        await until("he is held, or answered", async () => (await isHeld()) || isOver);
        const isIn = await isHeld();
        const other = isIn ? given.other() : undefined;
        try {
          if (isIn) await (given.isWaitedFor ? other : isStill(other));
        } finally {
          await arm("sql.held=0,sql.gate=0");
        }
        await check(given, await one, isIn ? await other : await given.other());
        if (!isIn) return k;
      }
      throw new Error(`more than ${MOST} statements`);
    }

    /** Both have their last answers; asked once while one is held, and until it is settled afterwards. */
    const insist = async (cart, key, first) => {
      const answer = await settled(() => completeOnce(ask(), cart, key));
      if (isOrder(first)) assert.deepEqual(answer.body, first.body, "the same key says the same");
      return answer;
    };

    async function assertWell() {
      await assertNobodyChargedInVain(shop);
      await assertInvariants(shop);
    }

    it("one request that takes longer than its key is kept, and is asked again: it happens once", async (t) => {
      const { variant } = await makeProduct(shop, { stock: 1000 });
      const n = await atEachStatement(async () => {
        const cart = await cartOf([]), headers = idem();
        const add = () => ask()("POST", `/carts/${cart.id}/lines`, { body: { variant_id: variant.id, quantity: 1 }, headers });
        return { cart, add, one: add, other: async () => {
          await query(shop, `SET innodb_lock_wait_timeout = 1; UPDATE idempotency_records SET claimed_until = '2020-01-01'
            WHERE idem_key = '${headers["idempotency-key"]}'`, { force: true });
          return add();
        } };
      }, async ({ cart, add }, ...firsts) => {
        for (const a of firsts) if (a.status !== 200) assertProblem(a, 409, a.body?.code === "busy" ? "busy" : "idempotency_in_flight");
        const last = assertOk(await settled(add), 200);
        for (const a of firsts) if (a.status === 200) assert.deepEqual(a.body, last, "the same key says the same");
        const { lines } = assertOk(await ask()("GET", `/carts/${cart.id}`), 200).cart;
        assert.deepEqual(lines.map((l) => l.quantity), [1]);
      });
      t.diagnostic(`${n} statements`);
    });

    it("one cart, of which the first completion hears late of its provider, and the second looks it up: one order, paid once", async (t) => {
      const { variant } = await makeProduct(shop, { stock: 1000 });
      const n = await atEachStatement(async () => {
        const cart = await cartOf([[variant.id, 1]]), keys = [newKey(), newKey()];
        assertOk(await pay(ask(), cart, { provider: "test", data: { token: "tok_late" } }), 201);
        const first = completeOnce(ask(), cart, keys[0]);
        first.catch(() => {});
        await until("the provider has it", async () => (await count(shop, "payment_test_attempts", "idem_key IN " +
          `(SELECT idem_key FROM payments WHERE cart_id = ${bin(cart.id)})`)) === 1);
        for (const table of ["carts", "sagas"]) // the time of the first is over
          await query(shop, `UPDATE ${table} SET claimed_until = '2020-01-01' WHERE claimed_until IS NOT NULL AND ` +
            (table === "carts" ? `id = ${bin(cart.id)}` : `aggregate = '${cart.id}'`));
        return { cart, keys, one: () => completeOnce(ask(), cart, keys[1]), other: () => first, isWaitedFor: true };
      }, async ({ cart, keys }, second, first) => {
        const [a, b] = [await insist(cart, keys[0], first), await insist(cart, keys[1], second)];
        assert.equal(assertOk(a, 200).order?.id ?? "none", assertOk(b, 200).order?.id, `${first.text}\n${second.text}\n${a.text}\n${b.text}`);
        const payments = await query(shop, `SELECT state FROM payments WHERE cart_id = ${bin(cart.id)}`);
        assert.deepEqual(payments, [["authorized"]], "asked for once, and not taken back");
      });
      t.diagnostic(`${n} statements`);
      await assertWell();
    });

    for (const [name, payment] of [["by card", CARD], ["by invoice", INVOICE]]) {
      it(`one cart, completed twice, paid ${name}: one order, paid once`, async (t) => {
        const { variant, sku } = await makeProduct(shop, { stock: 1000 });
        const n = await atEachStatement(async () => {
          const cart = await cartOf([[variant.id, 1]]), keys = [newKey(), newKey()];
          assertOk(await pay(ask(), cart, payment), 201);
          return { cart, keys, one: () => completeOnce(ask(), cart, keys[0]), other: () => completeOnce(ask(), cart, keys[1]) };
        }, async ({ cart, keys }, ...firsts) => {
          const [a, b] = [await insist(cart, keys[0], firsts[0]), await insist(cart, keys[1], firsts[1])];
          assert.equal(assertOk(a, 200).order?.id ?? "none", assertOk(b, 200).order?.id, `${a.text}\n${b.text}`);
          assert.equal(await count(shop, "orders", `cart_id = ${bin(cart.id)}`), 1);
          assert.equal(await count(shop, "payments", `cart_id = ${bin(cart.id)} AND state IN ('authorized', 'captured')`), 1);
        });
        assert.equal((await stockOf(shop, sku)).on_hand, 1000 - n - 1);
        t.diagnostic(`${n} statements`);
        await assertWell();
      });

      // a provider that is slow, a worker that stood still: 30 s are over, and somebody else comes
      for (const [what, over] of [["the cart", ["carts"]], ["cart and flow", ["carts", "sagas"]]]) {
        it(`one cart, whose claim of ${what} is over when somebody else comes, paid ${name}: one order, and nobody is refused`, async () => {
          const { variant } = await makeProduct(shop, { stock: 1000 });
          await atEachStatement(async () => {
            const cart = await cartOf([[variant.id, 1]]), keys = [newKey(), newKey()];
            assertOk(await pay(ask(), cart, payment), 201);
            const lapse = { carts: `UPDATE carts SET claimed_until = '2020-01-01' WHERE id = ${bin(cart.id)} AND claimed_until IS NOT NULL`,
              sagas: `UPDATE sagas SET claimed_until = '2020-01-01' WHERE aggregate = '${cart.id}' AND claimed_until IS NOT NULL` };
            return { cart, keys, one: () => completeOnce(ask(), cart, keys[0]), other: async () => {
              await query(shop, `SET innodb_lock_wait_timeout = 1; ${over.map((table) => lapse[table]).join(";")}`, { force: true });
              return completeOnce(ask(), cart, keys[1]);
            } };
          }, async ({ cart, keys }, ...firsts) => {
            for (const a of firsts) if (a.status >= 300) assert.ok(["completion_in_progress", "busy"].includes(a.body?.code), a.text);
            const [a, b] = [await insist(cart, keys[0], firsts[0]), await insist(cart, keys[1], firsts[1])];
            if (!isOrder(a) || !isOrder(b)) { // looked up before it was asked for: it never got there, and he pays anew
              assert.ok(over.includes("sagas"), `${a.text}\n${b.text}`);
              for (const answer of [a, b]) assert.equal(answer.body.error?.code, "payment_declined", answer.text);
              assert.equal(await count(shop, "payment_test_attempts", "state IN ('authorized', 'captured') AND idem_key IN " +
                `(SELECT idem_key FROM payments WHERE cart_id = ${bin(cart.id)})`), 0, "and what came there late was let go");
              assertOk(await pay(ask(), cart, payment), 201);
              return assert.ok(isOrder(await complete(ask(), cart)));
            }
            assert.equal(a.body.order.id, b.body.order.id);
            assert.equal(await count(shop, "payments", `cart_id = ${bin(cart.id)} AND state IN ('authorized', 'captured')`), 1);
            return assert.equal(await count(shop, "payments", `cart_id = ${bin(cart.id)}`), 1, "nothing was taken back");
          });
          await assertWell();
        });
      }

      it(`one cart, changed while it is completed, paid ${name}: bought as it is shown, and no change is lost`, async (t) => {
        const { variant } = await makeProduct(shop, { stock: 1000 }), more = await makeProduct(shop, { stock: 1000, price: 333 });
        const edits = (cart) => [
          () => ask()("POST", `/carts/${cart.id}/lines`, { body: { variant_id: more.variant.id, quantity: 1 } }),
          () => ask()("PATCH", `/carts/${cart.id}/lines/${cart.lines[0].id}`, { body: { quantity: 2 } }),
          () => ask()("PATCH", `/carts/${cart.id}`, { body: { email: "b@example.com" } }),
        ];
        const made = async (which) => {
          const cart = await cartOf([[variant.id, 1]]), key = newKey();
          assertOk(await pay(ask(), cart, payment), 201);
          return { cart, key, buy: () => completeOnce(ask(), cart, key), edit: edits(cart)[which % 3], which: which % 3 };
        };
        const check = async ({ cart, key, which }, edited, first) => {
          const bought = await insist(cart, key, first);
          if (edited.status >= 300) assert.ok(["completion_in_progress", "cart_completed", "busy"].includes(edited.body?.code), edited.text);
          const seen = assertOk(await ask()("GET", `/carts/${cart.id}`), 200).cart;
          const unitsOf = (doc, id) => doc.lines.find((l) => l.variant_id === id)?.quantity ?? 0;
          const took = (i) => which === i && edited.status < 300;
          assert.equal(unitsOf(seen, more.variant.id), took(0) ? 1 : 0, "what was taken is there, and nothing else");
          assert.equal(unitsOf(seen, variant.id), took(1) ? 2 : 1);
          assert.equal(seen.email, took(2) ? "b@example.com" : "ada@example.com");
          if (!isOrder(bought)) return assert.notEqual(seen.state, "completed", bought.text);
          const { order } = bought.body;
          assert.equal(seen.state, "completed");
          assert.deepEqual([order.total, order.email], [seen.total, seen.email], "what was bought is what the cart shows");
          for (const v of [variant, more.variant]) assert.equal(unitsOf(order, v.id), unitsOf(seen, v.id));
          return undefined;
        };
        let n = 0;
        for (const which of [0, 1, 2]) {
          n += await atEachStatement(async () => {
            const all = await made(which);
            return { ...all, one: all.buy, other: all.edit };
          }, (all, bought, edited) => check(all, edited, bought));
          n += await atEachStatement(async () => {
            const all = await made(which);
            return { ...all, one: all.edit, other: all.buy };
          }, check);
        }
        t.diagnostic(`${n} statements`);
        await assertWell();
      });

      it(`the last use of a code, paid ${name}: one has it, the other is told that it is used up`, async (t) => {
        const { variant } = await makeProduct(shop, { stock: 1000 });
        const n = await atEachStatement(async () => {
          const code = newKey();
          const promo = assertOk(await shop.admin("POST", "/promotions", { headers: idem(), body: { code, name: "The last one",
            status: "active", usage_limit: 1, terms: { level: "order", type: "percent", value: "50" } } }), 201).promotion;
          const carts = [], keys = [newKey(), newKey()];
          for (let i = 0; i < 2; ++i) {
            const cart = await cartOf([[variant.id, 1]]);
            assertOk(await settled(() => ask()("POST", `/carts/${cart.id}/promotions`, { body: { code } })));
            assertOk(await pay(ask(), cart, payment), 201);
            carts.push(cart);
          }
          return { promo, carts, keys, one: () => completeOnce(ask(), carts[0], keys[0]), other: () => completeOnce(ask(), carts[1], keys[1]) };
        }, async ({ promo, carts, keys }, ...firsts) => {
          const last = [await insist(carts[0], keys[0], firsts[0]), await insist(carts[1], keys[1], firsts[1])];
          const orders = last.filter(isOrder);
          assert.equal(orders.length, 1, last.map((a) => a.text).join("\n"));
          assert.ok(orders[0].body.order.discount_total.amount > 0);
          const refused = last.find((a) => !isOrder(a));
          assert.ok(["promotion_refused", "price_changed"].includes(refusalOf(refused)), refused.text);
          assert.equal(await value(shop, `SELECT used FROM promotions WHERE id = ${bin(promo.id)}`), "1");
        });
        t.diagnostic(`${n} statements`);
        await assertWell();
      });

      it(`bundles that share the last of a part, paid ${name}: one is sold, the other is sold out`, async (t) => {
        const bundle = async (parts) => {
          const made = await makeProduct(shop, { stock: 0 });
          assertOk(await shop.admin("PUT", `/variants/${made.variant.id}/parts`,
            { body: { parts: parts.map((part) => ({ variant_id: part.variant.id, quantity: 1 })) } }), 200);
          return made.variant;
        };
        const buy = (cart) => async () => {
          const held = await payOnce(ask(), cart, payment);
          return held.status === 201 ? completeOnce(ask(), cart) : held;
        };
        const n = await atEachStatement(async () => {
          const pot = await makeProduct(shop, { stock: 1 }), cup = await makeProduct(shop, { stock: 9 }), jug = await makeProduct(shop, { stock: 9 });
          const tea = await bundle([pot, cup]), milk = await bundle([jug, pot]);
          const carts = [await cartOf([[tea.id, 1]]), await cartOf([[milk.id, 1]])];
          return { pot, cup, jug, carts, one: buy(carts[0]), other: buy(carts[1]) };
        }, async ({ pot, cup, jug, carts }, ...firsts) => {
          const last = [];
          for (const [i, first] of firsts.entries()) {
            if (isOrder(first)) last.push(first);
            else if ((await pay(ask(), carts[i], payment)).status === 201) last.push(await complete(ask(), carts[i]));
          }
          assert.equal(last.filter(isOrder).length, 1, firsts.map((a) => a.text).join("\n"));
          for (const first of firsts) if (!isOrder(first) && first.status !== 202 && first.status < 500 && refusalOf(first) === "sold_out") assertProblem(first, 409, "sold_out");
          const [pots, cups, jugs] = [await stockOf(shop, pot.sku), await stockOf(shop, cup.sku), await stockOf(shop, jug.sku)];
          assert.deepEqual([pots.on_hand, pots.reserved, cups.on_hand + jugs.on_hand, cups.reserved + jugs.reserved], [0, 0, 17, 0]);
        });
        t.diagnostic(`${n} statements`);
        await assertWell();
      });
    }
  });
}

// Shoppers pay by Stripe, are told of by its webhooks and have their money given back, while Redis is away, the database lets
// nobody in or loses connections in the middle, transactions are the victims of deadlocks, and workers die at the points of
// webhooks and of the sweep. Each time all goes on by itself; at the end Stripe's books, ours and the orders agree.
//
//   SEED=12345   other carts, and other statements
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { idem, makeCart, makeProduct } from "../flow/support/shop.mjs";
import { assertOk } from "../flow/support/checks.mjs";
import { bin, ownerSession, query, value } from "../flow/support/db.mjs";
import { control, serverOf, workers } from "../flow/support/process.mjs";
import { PaidShop } from "./support/paid_shop.mjs";
import { random } from "./support/random.mjs";

const MINUTE = 60_000;
const SHOPPERS = 8;
const CUTS = 12; // connections that break, one after the other
const SEED = Number(process.env.SEED ?? 282408801);
const pick = random(SEED);

let paid, shop, variant;
before(async () => {
  paid = await PaidShop.start({ env: { TILL_FAULTS: "" } });
  ({ shop } = paid);
  ({ variant } = await makeProduct(shop, { stock: 1000 }));
  paid.open(SHOPPERS, SEED);
});
after(() => paid?.stop());

async function arm(faults) {
  const answer = await control(shop, `fault ${faults}`);
  assert.ok(answer.ok, answer.error);
}

/** Nobody is left to fire it. */
const hasFired = (name) => paid.meanwhile(name, async () => {
  const now = await control(shop, "faults").catch(() => ({ faults: [] })); // a master that is at it
  return now.faults.find((one) => one.name === name)?.left === 0;
});

const areThere = () => paid.meanwhile("all workers are there", async () => {
  const all = await workers(shop).catch(() => []);
  return all.length === 3 && all.every((one) => one.state === "ready");
});

const stateOf = (payment) => value(shop, `SELECT state FROM payments WHERE id = ${bin(payment)}`);

/** A payment whose shopper was sent to his bank, and never came back: what he held is over. */
async function abandoned() {
  const cart = await makeCart(shop, variant.id);
  const session = assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`,
    { body: { provider: "stripe", data: { payment_method: "pm_card_authenticationRequired" } } }), 201).payment_session;
  assert.equal(assertOk(await shop.store("POST", `/carts/${cart.id}/complete`, { headers: idem(), body: {} }), 200).error.code, "payment_requires_action");
  await query(shop, `UPDATE reservations SET expires_at = '2020-01-01' WHERE cart_id = ${bin(cart.id)}`);
  return { id: session.id, isOver: async () => {
    await paid.hurry();
    await query(shop, `UPDATE carts SET claimed_until = '2020-01-01' WHERE id = ${bin(cart.id)} AND claimed_until > UTC_TIMESTAMP(3) + INTERVAL 90 SECOND
      AND claimed_until < UTC_TIMESTAMP(3) + INTERVAL 118 SECOND`); // of who died over it
    return (await stateOf(session.id)) === "voided";
  } };
}

describe("shoppers who pay by Stripe lose nothing", () => {
  it("while Redis stands still, and is gone", async () => {
    const pid = serverOf(shop, "redis-server");
    process.kill(pid, "SIGSTOP");
    try {
      await paid.sells();
    } finally {
      process.kill(pid, "SIGKILL");
    }
    await paid.sells();
  });

  it("while every connection of the database waits", async () => {
    const owner = ownerSession(shop), refused = paid.refusals;
    try {
      await owner.ask("LOCK TABLES payments WRITE, payment_events WRITE");
      await paid.meanwhile("shoppers are refused", () => paid.refusals >= refused + SHOPPERS);
    } finally {
      await owner.ask("UNLOCK TABLES");
      owner.close();
    }
    await paid.sells();
  });

  for (const fault of ["sql.lost_after_send", "sql.lost_before_send"])
    it(`while connections break: ${fault}`, async () => {
      for (let i = 0; i < CUTS; ++i) {
        await arm(`${fault}=1@${1 + pick(60)}`); // any statement, and any COMMIT
        await hasFired(fault);
      }
      await paid.sells();
    });

  it("while transactions are victims of deadlocks", async () => {
    await arm("sql.deadlock=150");
    await hasFired("sql.deadlock");
    await paid.sells();
  });

  for (const point of ["after_claim", "before_commit", "after_commit"])
    it(`while the jobs worker dies at webhook.${point}`, async () => {
      await arm(`webhook.${point}=1`);
      await hasFired(`webhook.${point}`);
      await areThere();
      await paid.sells();
    });

  for (const point of ["sweep.after_mark", "void.after_ask"])
    it(`while somebody dies at ${point}`, async () => {
      const left = await abandoned();
      await arm(`${point}=1`);
      await paid.meanwhile("it is let go of", left.isOver);
      await hasFired(point);
      await areThere();
      const [intent] = paid.stripe.world.all("payment_intent").filter((one) => one.metadata.payment === left.id);
      assert.equal(intent.status, "canceled");
    });

  it("and all their books agree", { timeout: 5 * MINUTE }, async (t) => {
    t.diagnostic(`SEED=${SEED}`);
    await areThere();
    await paid.settle();
    t.diagnostic(paid.tell());
  });
});

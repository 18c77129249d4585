// The double's own books: every movement of money is a transaction whose entries sum to zero, in whole minor units.
//
//   issuers    the shoppers' banks          balance    what the merchant has at Stripe
//   fees       what Stripe earned              bank       what the merchant was paid out
//
// They are kept apart from the objects, so that a test can ask both: what the objects say must be what was moved.
import assert from "node:assert/strict";

export class Books {
  entries = []; // {transaction, account, currency, amount, about}
  #count = 0;

  /** `moves`: {account: amount}, all in one currency. */
  post(about, currency, moves) {
    const transaction = ++this.#count;
    const sum = Object.values(moves).reduce((a, b) => a + b, 0);
    assert.equal(sum, 0, `${about}: entries that sum to ${sum}`);
    for (const [account, amount] of Object.entries(moves)) {
      assert.ok(Number.isSafeInteger(amount), `${about}: ${amount} is no amount`);
      if (amount !== 0) this.entries.push({ transaction, account, currency, amount, about });
    }
  }

  /** What an account has, {currency: amount}. */
  balance(account) {
    const out = {};
    for (const one of this.entries) if (one.account === account) out[one.currency] = (out[one.currency] ?? 0) + one.amount;
    return out;
  }

  /** What went from the shoppers' banks because of these charges (refunds and disputes among them). */
  taken(charges) {
    const ids = new Set(charges.map((charge) => charge.id));
    return -this.entries.filter((one) => one.account === "issuers" && ids.has(one.about)).reduce((sum, one) => sum + one.amount, 0) || 0;
  }

  /** Fails where the books are not balanced, or tell something else than the objects. */
  check(world) {
    const sums = new Map();
    for (const one of this.entries) for (const key of [one.currency, `transaction ${one.transaction}`]) sums.set(key, (sums.get(key) ?? 0) + one.amount);
    for (const [key, sum] of sums) assert.equal(sum, 0, `the books of ${key} sum to ${sum}`);
    for (const charge of world.all("charge")) this.#checkCharge(world, charge);
    const byTransactions = {};
    for (const one of world.all("balance_transaction")) byTransactions[one.currency] = (byTransactions[one.currency] ?? 0) + one.net;
    assert.deepEqual(byTransactions, this.balance("balance"), "the balance transactions do not add up to the balance");
  }

  #checkCharge(world, charge) {
    // a refund without a balance transaction lets go of what was never captured
    const refunded = world.all("refund").filter((one) => one.charge === charge.id && one.balance_transaction && one.status !== "failed")
      .reduce((sum, one) => sum + one.amount, 0);
    const disputed = world.all("dispute").filter((one) => one.charge === charge.id && one.status !== "won")
      .reduce((sum, one) => sum + one.amount, 0);
    const kept = charge.paid ? charge.amount_captured - refunded - disputed : 0;
    assert.equal(this.taken([charge]), kept, `${charge.id}: the books and the objects differ`);
  }
}

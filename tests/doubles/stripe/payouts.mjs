// Payouts: what the balance has goes to the merchant's bank, by a schedule or when he asks for it, and sometimes comes back.
//
// Only of one that was made by the schedule Stripe tells which balance transactions it holds, and only when it has added
// them up (`reconciliation_status`); the payout's own transaction is among them.
import { invalid } from "./errors.mjs";
import { mergeMetadata } from "./world.mjs";

const OPEN = ["pending", "in_transit"];
const DAY = 86400;

const balanceOf = (world, currency) => world.books.balance("balance")[currency] ?? 0;

function make(world, amount, currency, fields, transactions = []) {
  const made = world.add("payout", { amount, currency, arrival_date: world.now() + 2 * DAY, automatic: false, balance_transaction: null, description: null,
    destination: "ba_double", failure_balance_transaction: null, failure_code: null, failure_message: null, metadata: {}, method: "standard",
    original_payout: null, reconciliation_status: "not_applicable", reversed_by: null, source_type: "card", statement_descriptor: null, status: "pending",
    type: "bank_account", ...fields });
  const own = world.move("payout", made, { amount: -amount, about: made.id, currency, from: "bank" });
  made.balance_transaction = own.id;
  for (const one of made.automatic ? [own, ...transactions] : []) {
    one.status = "available";
    world.payoutOf.set(one.id, made.id);
  }
  world.emit("payout.created", made);
  return made;
}

/** By the schedule: all of a currency that no payout holds yet. `lacks` are transactions that it leaves out of its list. */
export function autoPayout(world, { currency = "gbp", status = "completed", lacks = [] } = {}) {
  const mine = world.all("balance_transaction").filter((one) => one.currency === currency && !world.payoutOf.has(one.id));
  const made = make(world, mine.reduce((sum, one) => sum + one.net, 0), currency, { automatic: true, reconciliation_status: status }, mine);
  for (const id of lacks) world.payoutOf.set(id, "nobody");
  return made;
}

const REVERSED = { failed: "payout_failure", canceled: "payout_cancel" };

/** It arrives (`paid`), is on its way, or the bank refuses it; then the money is on the balance again. */
export function endPayout(world, made, { status, code = "account_closed", reconciliation }) {
  if (reconciliation) made.reconciliation_status = reconciliation;
  if (!status) return made;
  const may = status === "failed" ? [...OPEN, "paid"] : OPEN; // a bank may send it back after all
  if (!may.includes(made.status)) throw new Error(`${made.id} is ${made.status} already`);
  made.status = status;
  if (REVERSED[status]) {
    const back = world.move(REVERSED[status], made, { amount: made.amount, about: made.id, currency: made.currency, from: "bank" });
    made.failure_balance_transaction = back.id;
  }
  if (status === "failed") Object.assign(made, { failure_code: code, failure_message: "The bank account has been closed." });
  world.emit(`payout.${status === "in_transit" ? "updated" : status}`, made);
  return made;
}

/** The world as far as one payout holds its balance transactions. */
export function paidOut(world, id) {
  const made = world.get("payout", id, "payout");
  if (!made.automatic) throw invalid("Balance transaction history can only be filtered on automatic transfers, not manual.", { param: "payout" });
  const held = (one) => world.payoutOf.get(one.id) === id;
  return { all: (kind) => world.all(kind).filter(held), list: world.list.bind(world) };
}

export const payouts = {
  "GET /v1/balance": ({ world }) => ({ object: "balance", livemode: false, pending: [], available: Object.entries(world.books.balance("balance"))
    .map(([currency, amount]) => ({ amount, currency, source_types: { card: amount } })) }),
  "GET /v1/payouts": ({ world, params, path }) =>
    world.list(path, world.all("payout").filter((one) => ["status", "destination"].every((key) => params[key] === undefined || one[key] === params[key])), params),
  "POST /v1/payouts": ({ world, params }) => {
    const { amount, currency } = params;
    if (amount < 1) throw invalid("Invalid positive integer", { code: "parameter_invalid_integer", param: "amount" });
    if (amount > balanceOf(world, currency))
      throw invalid("You have insufficient funds in your Stripe account for this transfer.", { code: "balance_insufficient" });
    return make(world, amount, currency, { metadata: mergeMetadata({}, params.metadata), description: params.description ?? null });
  },
  "GET /v1/payouts/{payout}": ({ world, ids }) => world.get("payout", ids.payout),
  "POST /v1/payouts/{payout}": ({ world, ids, params }) => {
    const made = world.get("payout", ids.payout);
    made.metadata = mergeMetadata(made.metadata, params.metadata);
    return made;
  },
  "POST /v1/payouts/{payout}/cancel": ({ world, ids }) => {
    const made = world.get("payout", ids.payout);
    if (made.status !== "pending") throw invalid(`Payouts can only be canceled while they are pending; ${made.id} is ${made.status}.`);
    return endPayout(world, made, { status: "canceled" });
  },
};

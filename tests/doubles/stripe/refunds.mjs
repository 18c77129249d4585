// Charges, refunds, disputes and what the balance says of them.
import { StripeError, declineFields, invalid, missing } from "./errors.mjs";
import { behaviourOf } from "./cards.mjs";
import { mergeMetadata } from "./world.mjs";
import { paidOut } from "./payouts.mjs";

const DISPUTE_FEE = 1500;
const REASONS = ["bank_cannot_process", "credit_not_processed", "customer_initiated", "debit_not_authorized", "duplicate", "fraudulent", "general",
  "incorrect_account_details", "insufficient_funds", "product_not_received", "product_unacceptable", "subscription_canceled", "unrecognized"];

/** What can be refunded of a charge. */
const refundable = (charge) => charge.amount - charge.amount_refunded;

function chargeOf(world, params) {
  if ((params.charge === undefined) === (params.payment_intent === undefined))
    throw invalid("One of the following params should be provided for this request: payment_intent or charge.");
  if (params.charge) return world.get("charge", params.charge, "charge");
  const intent = world.get("payment_intent", params.payment_intent, "payment_intent");
  const charge = intent.latest_charge && world.get("charge", intent.latest_charge);
  if (!charge?.captured) throw invalid(`This PaymentIntent (${intent.id}) does not have a successful charge to refund.`, { code: "payment_intent_unexpected_state" });
  return charge;
}

function createRefund({ world, params, script }) {
  const charge = chargeOf(world, params);
  const left = refundable(charge);
  if (!charge.paid || !charge.captured) throw invalid(`Charge ${charge.id} was not captured: cancel its PaymentIntent instead.`, { code: "charge_not_refundable" });
  if (left === 0) throw invalid(`Charge ${charge.id} has already been refunded.`, { code: "charge_already_refunded" });
  const amount = params.amount ?? left;
  if (amount < 1) throw invalid("Invalid positive integer", { code: "parameter_invalid_integer", param: "amount" });
  if (amount > left) throw invalid(`Refund amount (${amount}) is greater than unrefunded amount on charge (${left})`, { param: "amount" });
  const open = world.allOf("dispute", charge.payment_intent).find((one) => one.charge === charge.id && one.status !== "won");
  if (open) throw invalid(`Charge ${charge.id} has been charged back; cannot issue a refund.`, { code: "charge_disputed" });
  return pay(world, charge, amount, params, script.refund ?? behaviourOf(world.get("payment_method", charge.payment_method)).refund);
}

function pay(world, charge, amount, params, fate) {
  const refund = world.add("refund", { amount, balance_transaction: null, charge: charge.id, currency: charge.currency, livemode: undefined,
    metadata: mergeMetadata({}, params.metadata), payment_intent: charge.payment_intent, reason: params.reason ?? null, receipt_number: null,
    source_transfer_reversal: null, status: fate === "pending" ? "pending" : "succeeded", transfer_reversal: null });
  refund.balance_transaction = world.move("refund", refund, { amount: -amount, about: charge.id, currency: charge.currency }).id;
  charge.amount_refunded += amount;
  charge.refunded = charge.amount_refunded === charge.amount;
  world.emit("refund.created", refund);
  world.emit("charge.refunded", charge);
  return refund;
}

/** A refund that was thought done, or was pending, comes back: the money is the merchant's again. */
export function failRefund(world, refund, reason = "lost_or_stolen_card") {
  if (refund.status === "failed") throw new Error(`${refund.id} has failed already`);
  const charge = world.get("charge", refund.charge);
  const back = world.move("refund_failure", refund, { amount: refund.amount, about: charge.id, currency: refund.currency });
  Object.assign(refund, { status: "failed", failure_reason: reason, failure_balance_transaction: back.id });
  charge.amount_refunded -= refund.amount;
  charge.refunded = false;
  for (const type of ["charge.refund.updated", "refund.updated", "refund.failed"]) world.emit(type, refund);
  return refund;
}

export function settleRefund(world, refund) {
  if (refund.status !== "pending") throw new Error(`${refund.id} is ${refund.status}, not pending`);
  refund.status = "succeeded";
  world.emit("charge.refund.updated", refund);
  return refund;
}

/** The shopper's bank takes the money back until somebody has decided. */
export function dispute(world, charge, { reason = "general", amount = charge.amount_captured } = {}) {
  if (!REASONS.includes(reason)) throw new Error(`no reason of a dispute: ${reason}`);
  if (!charge.captured) throw new Error(`${charge.id} was not captured`);
  const made = world.add("dispute", { amount, balance_transactions: [], charge: charge.id, currency: charge.currency, evidence: noEvidence(),
    evidence_details: { due_by: world.now() + 7 * 86400, has_evidence: false, past_due: false, submission_count: 0 },
    is_charge_refundable: false, metadata: {}, payment_intent: charge.payment_intent, reason, status: "needs_response" });
  made.balance_transactions.push(world.move("adjustment", made, { amount: -amount, fee: DISPUTE_FEE, about: charge.id, currency: charge.currency }));
  charge.disputed = true;
  world.emit("charge.dispute.created", made);
  world.emit("charge.dispute.funds_withdrawn", made);
  return made;
}

const EVIDENCE = ["access_activity_log", "billing_address", "cancellation_policy", "cancellation_policy_disclosure", "cancellation_rebuttal",
  "customer_communication", "customer_email_address", "customer_name", "customer_purchase_ip", "customer_signature",
  "duplicate_charge_documentation", "duplicate_charge_explanation", "duplicate_charge_id", "product_description", "receipt", "refund_policy",
  "refund_policy_disclosure", "refund_refusal_explanation", "service_date", "service_documentation", "shipping_address", "shipping_carrier",
  "shipping_date", "shipping_documentation", "shipping_tracking_number", "uncategorized_file", "uncategorized_text"];
const noEvidence = () => Object.fromEntries(EVIDENCE.map((key) => [key, null]));

/** The bank decides. A dispute that was won gives amount and fee back. */
export function decide(world, made, isWon) {
  if (made.status === "won" || made.status === "lost") throw new Error(`${made.id} is ${made.status} already`);
  made.status = isWon ? "won" : "lost";
  if (isWon) {
    const { charge, currency, amount } = made;
    made.balance_transactions.push(world.move("adjustment", made, { amount, fee: -DISPUTE_FEE, about: charge, currency }));
    world.emit("charge.dispute.funds_reinstated", made);
  }
  world.emit("charge.dispute.closed", made);
  return made;
}

function mustBeOpen(made) {
  if (made.status !== "needs_response" && made.status !== "warning_needs_response")
    throw invalid(`This dispute is already ${made.status}.`, { code: "dispute_already_closed" });
}

function updateDispute({ world, params, ids }) {
  const made = world.get("dispute", ids.dispute, "dispute");
  made.metadata = mergeMetadata(made.metadata, params.metadata);
  if (params.evidence) {
    mustBeOpen(made);
    Object.assign(made.evidence, params.evidence);
    made.evidence_details.has_evidence = true;
  }
  if (made.evidence_details.has_evidence && params.submit !== false) {
    made.evidence_details.submission_count++;
    made.status = "under_review";
  }
  world.emit("charge.dispute.updated", made);
  return made;
}

/** Lists of what belongs to a charge, a PaymentIntent or a customer. */
const listOf = (kind, keys) => ({ world, params, path }) =>
  world.list(path, (params.payment_intent ? world.allOf(kind, params.payment_intent) : world.all(kind)).filter((one) => keys.every((key) => params[key] === undefined || one[key] === params[key])), params);

export const refunds = {
  "GET /v1/charges": listOf("charge", ["payment_intent", "customer"]),
  "GET /v1/charges/{charge}": ({ world, ids }) => world.get("charge", ids.charge, "id"),
  "POST /v1/charges/{charge}": ({ world, ids, params }) => {
    const charge = world.get("charge", ids.charge, "id");
    charge.metadata = mergeMetadata(charge.metadata, params.metadata);
    for (const key of ["description", "receipt_email"]) if (params[key] !== undefined) charge[key] = params[key] || null;
    world.emit("charge.updated", charge);
    return charge;
  },
  "POST /v1/refunds": createRefund,
  "GET /v1/refunds": listOf("refund", ["charge", "payment_intent"]),
  "GET /v1/refunds/{refund}": ({ world, ids }) => world.get("refund", ids.refund),
  "POST /v1/refunds/{refund}": ({ world, ids, params }) => {
    const refund = world.get("refund", ids.refund);
    refund.metadata = mergeMetadata(refund.metadata, params.metadata);
    return refund;
  },
  "GET /v1/disputes": listOf("dispute", ["charge", "payment_intent"]),
  "GET /v1/disputes/{dispute}": ({ world, ids }) => world.get("dispute", ids.dispute, "dispute"),
  "POST /v1/disputes/{dispute}": updateDispute,
  "POST /v1/disputes/{dispute}/close": ({ world, ids }) => {
    const made = world.get("dispute", ids.dispute, "dispute");
    mustBeOpen(made);
    return decide(world, made, false);
  },
  "GET /v1/balance_transactions": ({ world, params, path }) => listOf("balance_transaction", ["type", "currency", "source"])({
    world: params.payout ? paidOut(world, params.payout) : world, params, path }),
  "GET /v1/balance_transactions/{id}": ({ world, ids }) => {
    const found = world.find("balance_transaction", ids.id);
    if (!found) throw missing("balance transaction", ids.id);
    return found;
  },
};

export const declineError = (code) => new StripeError(402, declineFields(code));

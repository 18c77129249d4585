// What moves the money of a PaymentIntent: the confirmation, the shopper's own, the capture, letting go.
import { StripeError, declineFields } from "./errors.mjs";
import { behaviourOf } from "./cards.mjs";

/** What Stripe keeps of a charge: 2.9% and 30. */
export const feeOf = (amount) => Math.min(amount, Math.floor((amount * 29 + 500) / 1000) + 30);

/** Asks for the money. `script.decline` declines, `script.action` asks for the shopper, `script.processing` takes its time. */
export function confirm(world, intent, params, script = {}) {
  const method = world.get("payment_method", intent.payment_method);
  const card = behaviourOf(method);
  const needsAction = script.action ?? (card.action === "always" || (card.action === "setup" && params.off_session !== true));
  if (needsAction && !script.decline) {
    if (params.off_session || params.error_on_requires_action) return decline(world, intent, method, "authentication_required");
    return askShopper(world, intent, params);
  }
  return charge(world, intent, method, script.decline ?? card.decline, script);
}

function askShopper(world, intent, params) {
  const url = `${world.url}/_double/3ds/${intent.id}`;
  intent.next_action = params.return_url
    ? { type: "redirect_to_url", redirect_to_url: { url, return_url: params.return_url } }
    : { type: "use_stripe_sdk", use_stripe_sdk: { type: "three_d_secure_redirect", stripe_js: url } };
  intent.status = "requires_action";
  world.emit("payment_intent.requires_action", intent);
  return intent;
}

/** What the shopper did at his bank. */
export function act(world, intent, isApproved) {
  if (intent.status !== "requires_action") throw new Error(`${intent.id} is ${intent.status}: nobody waits for the shopper`);
  const method = world.get("payment_method", intent.payment_method);
  intent.next_action = null;
  try {
    if (isApproved) return charge(world, intent, method, behaviourOf(method).then, {});
    fail(world, intent, method, { type: "invalid_request_error", code: "payment_intent_authentication_failure",
      message: "The provided PaymentMethod has failed authentication." }, null);
  } catch (error) {
    if (!(error instanceof StripeError)) throw error; // declined: the intent tells of it
  }
  return intent;
}

function addCharge(world, intent, method, more) {
  const { card } = method;
  return world.add("charge", { amount: intent.amount, amount_captured: 0, amount_refunded: 0, application: null, application_fee: null,
    application_fee_amount: null, balance_transaction: null, billing_details: method.billing_details, captured: false,
    calculated_statement_descriptor: "MOONTILL", currency: intent.currency, customer: intent.customer, description: intent.description,
    disputed: false, failure_balance_transaction: null, failure_code: null, failure_message: null, fraud_details: {}, invoice: null,
    metadata: { ...intent.metadata }, on_behalf_of: null, paid: true, payment_intent: intent.id, payment_method: method.id,
    outcome: { network_status: "approved_by_network", reason: null, risk_level: "normal", seller_message: "Payment complete.", type: "authorized" },
    payment_method_details: { type: "card", card: { brand: card.brand, checks: card.checks, country: card.country, exp_month: card.exp_month,
      exp_year: card.exp_year, fingerprint: card.fingerprint, funding: card.funding, installments: null, last4: card.last4, mandate: null,
      network: card.brand, three_d_secure: null, wallet: null } },
    receipt_email: intent.receipt_email, receipt_number: null, receipt_url: null, refunded: false, review: null, shipping: intent.shipping,
    source_transfer: null, statement_descriptor: null, statement_descriptor_suffix: null, status: "succeeded", transfer_data: null,
    transfer_group: null, ...more });
}

function charge(world, intent, method, declineCode, script) {
  if (declineCode) return decline(world, intent, method, declineCode);
  if (script.processing) {
    Object.assign(intent, { status: "processing", next_action: null });
    world.emit("payment_intent.processing", intent);
    return intent;
  }
  const made = addCharge(world, intent, method, {});
  if (intent.setup_future_usage && intent.customer) method.customer = intent.customer;
  Object.assign(intent, { latest_charge: made.id, last_payment_error: null, next_action: null, processing: null });
  if (intent.capture_method === "manual") {
    Object.assign(intent, { status: "requires_capture", amount_capturable: intent.amount });
    world.emit("charge.succeeded", made);
    world.emit("payment_intent.amount_capturable_updated", intent);
    return intent;
  }
  return take(world, intent, made, intent.amount, "charge.succeeded");
}

/** What was `processing` is done, one way or the other. */
export function settle(world, intent, declineCode) {
  if (intent.status !== "processing") throw new Error(`${intent.id} is ${intent.status}, not processing`);
  try {
    return charge(world, intent, world.get("payment_method", intent.payment_method), declineCode, {});
  } catch (error) {
    if (!(error instanceof StripeError)) throw error;
    return intent;
  }
}

function take(world, intent, made, amount, event) {
  const transaction = world.move("charge", made, { amount, fee: feeOf(amount), about: made.id, currency: made.currency });
  Object.assign(made, { captured: true, amount_captured: amount, balance_transaction: transaction.id });
  Object.assign(intent, { status: "succeeded", amount_received: amount, amount_capturable: 0 });
  world.emit(event, made);
  world.emit("payment_intent.succeeded", intent);
  const reason = behaviourOf(world.get("payment_method", intent.payment_method)).dispute;
  if (reason) world.dispute(made, { reason });
  return intent;
}

/** Takes a part or all, once. What is left is let go of, and told as a refund of money that never moved. */
export function capture(world, intent, amount, script = {}) {
  const made = world.get("charge", intent.latest_charge);
  if (script.decline) {
    release(world, intent);
    Object.assign(intent, { status: "requires_payment_method", amount_capturable: 0 });
    throw new StripeError(402, { ...declineFields(script.decline), charge: made.id, payment_intent: structuredClone(intent) });
  }
  const rest = made.amount - amount;
  if (rest > 0) letGo(world, made, rest);
  return take(world, intent, made, amount, "charge.captured");
}

function letGo(world, made, amount) {
  made.amount_refunded += amount;
  made.refunded = made.amount_refunded === made.amount;
  return world.add("refund", { amount, balance_transaction: null, charge: made.id, currency: made.currency, metadata: {}, livemode: undefined,
    payment_intent: made.payment_intent, reason: null, receipt_number: null, source_transfer_reversal: null, status: "succeeded", transfer_reversal: null });
}

/** An authorization that nobody wants any more. */
export function release(world, intent) {
  const made = world.get("charge", intent.latest_charge);
  letGo(world, made, made.amount);
  world.emit("charge.refunded", made);
}

function fail(world, intent, method, fields, made) {
  Object.assign(intent, { status: "requires_payment_method", next_action: null, processing: null, payment_method: null,
    last_payment_error: { ...fields, ...(made ? { charge: made.id } : {}), payment_method: structuredClone(method) } });
  if (made) intent.latest_charge = made.id;
  if (made) world.emit("charge.failed", made);
  world.emit("payment_intent.payment_failed", intent);
}

function decline(world, intent, method, code) {
  const fields = declineFields(code);
  const made = addCharge(world, intent, method, { status: "failed", paid: false, failure_code: fields.code, failure_message: fields.message,
    outcome: { network_status: "declined_by_network", reason: code, risk_level: "normal", seller_message: "The bank declined.", type: "issuer_declined" } });
  fail(world, intent, method, fields, made);
  throw new StripeError(402, { ...fields, charge: made.id, payment_intent: structuredClone(intent), payment_method: structuredClone(method) });
}

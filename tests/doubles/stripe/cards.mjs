// Payment methods: Stripe's test cards by their names, and what becomes of each.
//
// A `pm_card_…` is a name, not an object: every use makes a payment method of its own, as at Stripe.
import { invalid, missing } from "./errors.mjs";
import { mergeMetadata } from "./world.mjs";

// name -> {brand, last4, decline, action: "always"|"setup", then: a decline after the shopper confirmed, dispute, refund}
export const CARDS = {
  pm_card_visa: { last4: "4242" },
  pm_card_visa_debit: { last4: "5556" },
  pm_card_mastercard: { brand: "mastercard", last4: "4444" },
  pm_card_amex: { brand: "amex", last4: "8431" },
  pm_card_discover: { brand: "discover", last4: "9424" },
  pm_card_gb: { last4: "0005", country: "GB" },
  pm_card_chargeDeclined: { last4: "0002", decline: "generic_decline" },
  pm_card_visa_chargeDeclined: { last4: "0002", decline: "generic_decline" },
  pm_card_visa_chargeDeclinedInsufficientFunds: { last4: "9995", decline: "insufficient_funds" },
  pm_card_visa_chargeDeclinedLostCard: { last4: "9987", decline: "lost_card" },
  pm_card_visa_chargeDeclinedStolenCard: { last4: "9979", decline: "stolen_card" },
  pm_card_visa_chargeDeclinedVelocityLimitExceeded: { last4: "6975", decline: "card_velocity_exceeded" },
  pm_card_chargeDeclinedExpiredCard: { last4: "0069", decline: "expired_card" },
  pm_card_chargeDeclinedIncorrectCvc: { last4: "0127", decline: "incorrect_cvc" },
  pm_card_chargeDeclinedProcessingError: { last4: "0119", decline: "processing_error" },
  pm_card_chargeDeclinedFraudulent: { last4: "0019", decline: "fraudulent" },
  pm_card_radarBlock: { last4: "0019", decline: "fraudulent" },
  pm_card_chargeCustomerFail: { last4: "0341", decline: "generic_decline", isAttachable: true },
  pm_card_authenticationRequired: { last4: "3184", action: "always" },
  pm_card_threeDSecure2Required: { last4: "3220", action: "always" },
  pm_card_authenticationRequiredOnSetup: { last4: "3155", action: "setup" },
  pm_card_authenticationRequiredChargeDeclinedInsufficientFunds: { last4: "8341", action: "always", then: "insufficient_funds" },
  pm_card_createDispute: { last4: "0259", dispute: "fraudulent" },
  pm_card_createDisputeProductNotReceived: { last4: "2685", dispute: "product_not_received" },
  pm_card_pendingRefund: { last4: "7726", refund: "pending" },
  pm_card_refundFail: { last4: "5126", refund: "failed" },
};
const NUMBERS = { 4242424242424242: "pm_card_visa", 5555555555554444: "pm_card_mastercard", 4000000000000002: "pm_card_visa_chargeDeclined" };

export const EMPTY_BILLING = { address: null, email: null, name: null, phone: null };
const CARD = { brand: "visa", country: "US", exp_month: 12, exp_year: 2040, fingerprint: "doubleFingerprint", funding: "credit" };

/** How a payment method behaves; it is no part of what is told of it. */
const behaviours = new WeakMap();
export const behaviourOf = (method) => behaviours.get(method);

export function makeMethod(world, name, more = {}) {
  const card = CARDS[name];
  const made = world.add("payment_method", { type: "card", billing_details: EMPTY_BILLING, customer: null, metadata: {}, ...more,
    card: { ...CARD, brand: card.brand ?? "visa", country: card.country ?? "US", last4: card.last4, generated_from: null, wallet: null,
      checks: { address_line1_check: null, address_postal_code_check: null, cvc_check: "pass" },
      networks: { available: [card.brand ?? "visa"], preferred: null }, three_d_secure_usage: { supported: true } } });
  behaviours.set(made, card);
  return made;
}

/** The payment method that an id or a name of a test card means. */
export function useMethod(world, id, param = "payment_method") {
  if (Object.hasOwn(CARDS, id)) return makeMethod(world, id);
  const found = world.find("payment_method", id);
  if (!found) throw missing("PaymentMethod", id, param);
  return found;
}

/** One that is described, `payment_method_data`: a card of a known test number or token. */
export function describedMethod(world, data, more = {}) {
  if (data.type !== "card") throw invalid(`The payment method type "${data.type}" is not activated for your account.`, { param: "type" });
  const name = data.card?.token ? data.card.token.replace(/^tok_/, "pm_card_") : NUMBERS[data.card?.number];
  if (!name || !CARDS[name]) throw invalid("Sending credit card numbers directly to the Stripe API is generally unsafe.", { param: "card[number]" });
  return makeMethod(world, name, { billing_details: { ...EMPTY_BILLING, ...data.billing_details }, ...more });
}

export const paymentMethods = {
  "POST /v1/payment_methods": ({ world, params }) => describedMethod(world, params, { metadata: mergeMetadata({}, params.metadata) }),
  "GET /v1/payment_methods/{payment_method}": ({ world, ids }) => useMethod(world, ids.payment_method),
  "GET /v1/payment_methods": ({ world, params, path }) => world.list(path, methodsOf(world, params), params),
  "GET /v1/customers/{customer}/payment_methods": ({ world, params, ids, path }) => {
    world.get("customer", ids.customer);
    return world.list(path, methodsOf(world, { ...params, customer: ids.customer }), params);
  },
  "POST /v1/payment_methods/{payment_method}/attach": ({ world, params, ids }) => {
    const customer = world.get("customer", params.customer, "customer");
    const method = useMethod(world, ids.payment_method);
    const behaviour = behaviourOf(method);
    if (behaviour.decline && !behaviour.isAttachable) throw world.decline(behaviour.decline);
    if (method.customer && method.customer !== customer.id)
      throw invalid("The payment method you provided has already been attached to a customer.", { code: "payment_method_unexpected_state" });
    method.customer = customer.id;
    world.emit("payment_method.attached", method);
    return method;
  },
  "POST /v1/payment_methods/{payment_method}/detach": ({ world, ids }) => {
    const method = world.get("payment_method", ids.payment_method);
    if (!method.customer) throw invalid("The payment method you provided is not attached to a customer so detachment is impossible.");
    const { customer } = method;
    method.customer = null;
    world.emit("payment_method.detached", method, { customer });
    return method;
  },
};

const methodsOf = (world, { customer, type }) => world.all("payment_method").filter((one) => customer && one.customer === customer && (!type || one.type === type));

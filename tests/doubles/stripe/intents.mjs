// PaymentIntents: one promise of money each, and the states that it goes through.
//
//   requires_payment_method --(a method)--> requires_confirmation --confirm--> [requires_action --shopper-->]
//       requires_capture --capture--> succeeded       (capture_method manual)
//       succeeded                                     (automatic)
//       requires_payment_method                       (declined; the reason is last_payment_error)
//   canceled  from every state but succeeded, also by itself seven days after an authorization
//
// `processing` is passed through when the script says `processing`, until the double is told to settle it.
import { invalid } from "./errors.mjs";
import { describedMethod, useMethod } from "./cards.mjs";
import { mergeMetadata } from "./world.mjs";
import { capture, confirm, release } from "./confirm.mjs";

const MINIMUM = { aud: 50, cad: 50, chf: 50, eur: 50, gbp: 30, jpy: 50, usd: 50 };
const CURRENCIES = new Set(Intl.supportedValuesOf("currency").map((code) => code.toLowerCase()));
const OPEN = ["requires_payment_method", "requires_confirmation", "requires_action"];
export const AUTHORIZED_S = 7 * 86400;

export function checkAmount(amount, currency) {
  if (!CURRENCIES.has(currency)) throw invalid(`Invalid currency: ${currency}`, { param: "currency" });
  const least = MINIMUM[currency] ?? 1;
  if (amount < least) throw invalid(`Amount must be at least ${least} ${currency}`, { code: "amount_too_small", param: "amount" });
  if (amount > 99999999) throw invalid("Amount must be no more than 99999999", { code: "amount_too_large", param: "amount" });
}

/** `state` is not one in which `what` can be done. */
export function unexpected(intent, what) {
  return invalid(`You cannot ${what} this PaymentIntent because it has a status of ${intent.status}.`,
    { code: "payment_intent_unexpected_state", payment_intent: structuredClone(intent) });
}

const SIMPLE = ["amount", "currency", "description", "receipt_email", "setup_future_usage", "shipping", "statement_descriptor",
  "statement_descriptor_suffix", "transfer_group", "capture_method"];
// what is given with a confirmation counts for it and is not told of the intent
const PASSING = ["confirm", "customer", "off_session", "return_url", "error_on_requires_action", "use_stripe_sdk", "mandate_data", "radar_options", "mandate",
  "expand", "client_secret", "payment_method_data"];

function apply(world, intent, params) {
  if (params.customer) intent.customer = world.get("customer", params.customer, "customer").id; // before his payment method
  for (const [key, value] of Object.entries(params)) {
    if (SIMPLE.includes(key)) intent[key] = value === "" ? null : value;
    else if (key === "metadata") intent.metadata = mergeMetadata(intent.metadata, value);
    else if (key === "payment_method") useFor(intent, useMethod(world, value));
    else if (!PASSING.includes(key) && key !== "automatic_payment_methods" && key !== "payment_method_types" && key !== "confirmation_method")
      throw invalid(`The double does not know what to do with '${key}'.`, { param: key });
  }
  if (params.payment_method_data) useFor(intent, describedMethod(world, params.payment_method_data));
}

function useFor(intent, method) {
  if (method.customer && method.customer !== intent.customer)
    throw invalid("The provided PaymentMethod belongs to a Customer, who must be given too.", { param: "payment_method" });
  intent.payment_method = method.id;
  if (intent.status === "requires_payment_method") intent.status = "requires_confirmation";
}

export function createIntent(world, params, script) {
  checkAmount(params.amount, params.currency);
  const isAutomatic = params.automatic_payment_methods?.enabled ?? params.payment_method_types === undefined;
  if (params.automatic_payment_methods?.enabled && params.payment_method_types)
    throw invalid("You may only specify one of these parameters: automatic_payment_methods, payment_method_types.");
  const intent = world.add("payment_intent", { amount: 0, amount_capturable: 0, amount_details: { tip: {} }, amount_received: 0, application: null,
    application_fee_amount: null, canceled_at: null, cancellation_reason: null, capture_method: "automatic",
    automatic_payment_methods: isAutomatic ? { enabled: true, allow_redirects: params.automatic_payment_methods?.allow_redirects ?? "always" } : null,
    confirmation_method: params.confirmation_method ?? "automatic", currency: params.currency, customer: null, description: null,
    invoice: null, last_payment_error: null, latest_charge: null, metadata: {}, next_action: null, on_behalf_of: null, payment_method: null,
    payment_method_options: {}, payment_method_types: params.payment_method_types ?? ["card"], processing: null, receipt_email: null, review: null,
    setup_future_usage: null, shipping: null, statement_descriptor: null, statement_descriptor_suffix: null, status: "requires_payment_method",
    transfer_data: null, transfer_group: null });
  intent.client_secret = world.secretOf(intent.id);
  try {
    apply(world, intent, params);
    if (!params.confirm) for (const key of ["off_session", "return_url", "error_on_requires_action", "mandate_data"])
      if (params[key] !== undefined) throw invalid(`The parameter ${key} cannot be passed when creating a PaymentIntent unless confirm is set to true.`, { param: key });
    if (params.confirm) checkConfirm(intent, params);
  } catch (error) {
    world.remove(intent.id); // what was refused was never there
    throw error;
  }
  world.emit("payment_intent.created", intent);
  return params.confirm ? confirm(world, intent, params, script) : intent;
}

function checkConfirm(intent, params) {
  if (!OPEN.includes(intent.status)) throw unexpected(intent, "confirm");
  if (!intent.payment_method)
    throw invalid("You cannot confirm this PaymentIntent because it's missing a payment method.", { code: "payment_intent_unexpected_state", payment_intent: structuredClone(intent) });
  const mayRedirect = intent.automatic_payment_methods && intent.automatic_payment_methods.allow_redirects !== "never";
  if (mayRedirect && !params.return_url)
    throw invalid("This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of these payment methods"
      + " might redirect your customer off of your page, you must provide a `return_url`.", { param: "return_url" });
}

const find = ({ world, ids }) => world.get("payment_intent", ids.intent, "intent");

export const intents = {
  "POST /v1/payment_intents": ({ world, params, script }) => createIntent(world, params, script),
  "GET /v1/payment_intents": ({ world, params, path }) => world.list(path, world.all("payment_intent").filter((one) => !params.customer || one.customer === params.customer), params),
  "GET /v1/payment_intents/search": search,
  "GET /v1/payment_intents/{intent}": (call) => {
    const intent = find(call);
    const secret = call.params.client_secret;
    if (secret && secret !== intent.client_secret) throw invalid("The client_secret provided does not match.", { param: "client_secret" });
    return intent;
  },
  "POST /v1/payment_intents/{intent}": (call) => {
    const intent = find(call);
    const isMoney = ["amount", "currency", "payment_method", "capture_method"].some((key) => call.params[key] !== undefined);
    if (isMoney && !OPEN.includes(intent.status)) throw unexpected(intent, "update");
    if (isMoney) checkAmount(call.params.amount ?? intent.amount, call.params.currency ?? intent.currency);
    apply(call.world, intent, call.params);
    return intent;
  },
  "POST /v1/payment_intents/{intent}/confirm": (call) => {
    const intent = find(call);
    const draft = { ...intent };
    if (!OPEN.includes(intent.status)) throw unexpected(intent, "confirm");
    apply(call.world, draft, call.params);
    checkConfirm(draft, call.params);
    Object.assign(intent, draft);
    return confirm(call.world, intent, call.params, call.script);
  },
  "POST /v1/payment_intents/{intent}/capture": (call) => {
    const intent = find(call);
    if (intent.status !== "requires_capture") throw unexpected(intent, "capture");
    const amount = call.params.amount_to_capture ?? intent.amount_capturable;
    if (amount > intent.amount_capturable) throw invalid(`The remaining amount that can be captured is ${intent.amount_capturable}.`, { code: "amount_too_large", param: "amount_to_capture" });
    if (amount < 1) throw invalid("This value must be greater than or equal to 1.", { code: "parameter_invalid_integer", param: "amount_to_capture" });
    intent.metadata = mergeMetadata(intent.metadata, call.params.metadata);
    return capture(call.world, intent, amount, call.script);
  },
  "POST /v1/payment_intents/{intent}/cancel": (call) => cancel(call.world, find(call), call.params.cancellation_reason ?? null),
};

export function cancel(world, intent, reason) {
  if (![...OPEN, "requires_capture", "processing"].includes(intent.status)) throw unexpected(intent, "cancel");
  if (intent.status === "requires_capture") release(world, intent);
  Object.assign(intent, { status: "canceled", canceled_at: world.now(), cancellation_reason: reason, amount_capturable: 0, next_action: null, processing: null });
  world.emit("payment_intent.canceled", intent);
  return intent;
}

/** Authorizations that nobody captured for seven days are let go of. */
export function expireAuthorizations(world) {
  for (const intent of world.all("payment_intent"))
    if (intent.status === "requires_capture" && world.now() - world.get("charge", intent.latest_charge).created > AUTHORIZED_S) cancel(world, intent, "automatic");
}

/** Stripe's query language as far as `field:'value' AND …`; what is younger than `searchLag_s` is not found yet. */
function search({ world, params, path }) {
  const terms = params.query.split(/ AND /i).map((term) => {
    const found = /^(?:metadata\[['"]([^'"]+)['"]\]|(status|currency|customer|amount)):\s*['"]?([^'"]*)['"]?$/.exec(term.trim());
    if (!found) throw invalid(`We were unable to parse your search query: ${params.query}`, { param: "query" });
    return { meta: found[1], field: found[2], value: found[3] };
  });
  const data = world.all("payment_intent").filter((one) => world.now() - one.created >= (world.searchLag_s ?? 0)
    && terms.every((term) => String(term.meta ? one.metadata[term.meta] : one[term.field]) === term.value));
  const limit = params.limit ?? 10;
  return { object: "search_result", data: data.slice(0, limit), has_more: data.length > limit, next_page: null, url: path };
}

// Checkout Sessions: Stripe's own page. What the shopper does there, the test does by `pay`.
import { invalid } from "./errors.mjs";
import { checkAmount, createIntent } from "./intents.mjs";
import { mergeMetadata } from "./world.mjs";

const DAY_S = 86400;
const KNOWN = new Set(["mode", "line_items", "success_url", "cancel_url", "client_reference_id", "customer", "customer_email", "metadata", "currency",
  "expires_at", "expand", "payment_intent_data", "payment_method_types", "locale", "submit_type"]);

function totalOf(params) {
  let total = 0;
  for (const [i, item] of (params.line_items ?? []).entries()) {
    const at = `line_items[${i}]`;
    if (item.price) throw invalid(`No such price: '${item.price}'`, { code: "resource_missing", param: `${at}[price]` });
    if (!item.price_data?.product_data) throw invalid(`Missing required param: ${at}[price_data][product_data].`, { code: "parameter_missing", param: at });
    if (item.price_data.currency !== params.line_items[0].price_data.currency) throw invalid("You cannot combine currencies.", { param: at });
    if (item.price_data.unit_amount === undefined || !(item.quantity > 0)) throw invalid(`Missing required param: ${at}[quantity].`, { code: "parameter_missing", param: at });
    total += item.price_data.unit_amount * item.quantity;
  }
  return total;
}

function create({ world, params }) {
  for (const key of Object.keys(params)) if (!KNOWN.has(key)) throw invalid(`The double does not know what to do with '${key}'.`, { param: key });
  if (params.mode !== "payment") throw invalid("The double has sessions of mode payment only.", { param: "mode" });
  if (!params.line_items?.length) throw invalid("You must pass line_items.", { code: "parameter_missing", param: "line_items" });
  const total = totalOf(params);
  const { currency } = params.line_items[0].price_data;
  checkAmount(total, currency);
  const expires = params.expires_at ?? world.now() + DAY_S;
  if (expires < world.now() + 1800 || expires > world.now() + DAY_S) throw invalid("The `expires_at` timestamp must be between 30 minutes and 24 hours from now.", { param: "expires_at" });
  const id = world.newId("checkout.session");
  const session = world.add("checkout.session", { id, after_expiration: null, allow_promotion_codes: null, amount_subtotal: total, amount_total: total,
    automatic_tax: { enabled: false, status: null }, billing_address_collection: null, cancel_url: params.cancel_url ?? null,
    client_reference_id: params.client_reference_id ?? null, consent: null, consent_collection: null, currency, currency_conversion: null, custom_fields: [],
    custom_text: { shipping_address: null, submit: null }, customer: params.customer ?? null, customer_creation: "if_required",
    customer_details: null, customer_email: params.customer_email ?? null, expires_at: expires, invoice: null, invoice_creation: null, locale: params.locale ?? null,
    metadata: mergeMetadata({}, params.metadata), mode: "payment", payment_intent: null, payment_link: null, payment_method_collection: "if_required",
    payment_method_options: {}, payment_method_types: params.payment_method_types ?? ["card"], payment_status: "unpaid",
    phone_number_collection: { enabled: false }, recovered_from: null, setup_intent: null, shipping_address_collection: null, shipping_cost: null,
    shipping_details: null, shipping_options: [], status: "open", submit_type: params.submit_type ?? null, subscription: null, success_url: params.success_url,
    total_details: { amount_discount: 0, amount_shipping: 0, amount_tax: 0 }, url: `${world.url}/_double/checkout/${id}` });
  world.sessionData.set(id, params.payment_intent_data ?? {});
  return session;
}

/** The shopper pays on Stripe's page; what the card says, the session's intent tells. */
export function pay(world, session, paymentMethod = "pm_card_visa") {
  refresh(world, session);
  if (session.status !== "open") throw new Error(`${session.id} is ${session.status}`);
  const data = world.sessionData.get(session.id);
  const intent = createIntent(world, { ...data, amount: session.amount_total, currency: session.currency, payment_method: paymentMethod,
    payment_method_types: ["card"], confirm: true, return_url: session.success_url, ...(session.customer ? { customer: session.customer } : {}) }, {});
  Object.assign(session, { payment_intent: intent.id });
  if (!["succeeded", "requires_capture", "processing"].includes(intent.status)) return intent;
  Object.assign(session, { status: "complete", payment_status: intent.status === "processing" ? "unpaid" : "paid", url: null,
    customer_details: { address: null, email: session.customer_email, name: null, phone: null, tax_exempt: "none", tax_ids: null } });
  world.emit("checkout.session.completed", session);
  return intent;
}

function refresh(world, session) {
  if (session.status === "open" && world.now() >= session.expires_at) expire(world, session);
}

function expire(world, session) {
  if (session.status !== "open") throw invalid(`Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of ${session.status}.`);
  Object.assign(session, { status: "expired", url: null });
  world.emit("checkout.session.expired", session);
  return session;
}

const find = ({ world, ids }) => {
  const session = world.get("checkout.session", ids.session, "session");
  refresh(world, session);
  return session;
};

export const checkout = {
  "POST /v1/checkout/sessions": create,
  "GET /v1/checkout/sessions": ({ world, params, path }) => world.list(path, world.all("checkout.session").filter((one) => !params.payment_intent || one.payment_intent === params.payment_intent), params),
  "GET /v1/checkout/sessions/{session}": find,
  "POST /v1/checkout/sessions/{session}/expire": (call) => expire(call.world, find(call)),
};

// Customers, SetupIntents, the account, events, webhook endpoints.
import { randomBytes } from "node:crypto";
import { StripeError, declineFields, invalid } from "./errors.mjs";
import { behaviourOf, useMethod } from "./cards.mjs";
import { API_VERSION, mergeMetadata } from "./world.mjs";

const CUSTOMER_FIELDS = ["address", "description", "email", "name", "phone", "shipping"];

function applyCustomer(customer, params) {
  for (const [key, value] of Object.entries(params)) {
    if (CUSTOMER_FIELDS.includes(key)) customer[key] = value === "" ? null : value;
    else if (key === "metadata") customer.metadata = mergeMetadata(customer.metadata, value);
    else if (key !== "expand") throw invalid(`The double does not know what to do with '${key}'.`, { param: key });
  }
  return customer;
}

const findCustomer = ({ world, ids }) => world.get("customer", ids.customer, "id");

const customers = {
  "POST /v1/customers": ({ world, params }) => {
    const fields = applyCustomer({ address: null, description: null, email: null, name: null, phone: null, shipping: null, metadata: {} }, params);
    const customer = world.add("customer", { balance: 0, currency: null, default_source: null, delinquent: false, discount: null,
      invoice_prefix: randomBytes(4).toString("hex").toUpperCase(), preferred_locales: [], tax_exempt: "none", test_clock: null,
      invoice_settings: { custom_fields: null, default_payment_method: null, footer: null, rendering_options: null }, next_invoice_sequence: 1, ...fields });
    world.emit("customer.created", customer);
    return customer;
  },
  "GET /v1/customers": ({ world, params, path }) => world.list(path, world.all("customer").filter((one) => !params.email || one.email === params.email), params),
  "GET /v1/customers/{customer}": findCustomer,
  "POST /v1/customers/{customer}": (call) => {
    const customer = applyCustomer(findCustomer(call), call.params);
    call.world.emit("customer.updated", customer);
    return customer;
  },
  "DELETE /v1/customers/{customer}": (call) => {
    const { id } = findCustomer(call);
    for (const method of call.world.all("payment_method")) if (method.customer === id) method.customer = null;
    call.world.remove(id);
    return { id, object: "customer", deleted: true };
  },
};

function confirmSetup(world, intent, params, script) {
  const method = world.get("payment_method", intent.payment_method);
  const card = behaviourOf(method);
  const code = script.decline ?? (card.isAttachable ? undefined : card.decline);
  if (code) {
    const fields = declineFields(code);
    Object.assign(intent, { status: "requires_payment_method", payment_method: null, last_setup_error: { ...fields, payment_method: structuredClone(method) } });
    world.emit("setup_intent.setup_failed", intent);
    throw new StripeError(402, { ...fields, setup_intent: structuredClone(intent), payment_method: structuredClone(method) });
  }
  if (card.action || script.action) {
    const url = `${world.url}/_double/3ds/${intent.id}`;
    intent.next_action = { type: "redirect_to_url", redirect_to_url: { url, return_url: params.return_url ?? null } };
    intent.status = "requires_action";
    world.emit("setup_intent.requires_action", intent);
    return intent;
  }
  return finishSetup(world, intent, true);
}

/** The shopper has confirmed, or there was nothing to confirm. */
export function finishSetup(world, intent, isApproved) {
  const error = { type: "invalid_request_error", code: "setup_intent_authentication_failure", message: "The provided PaymentMethod has failed authentication." };
  intent.next_action = null;
  if (isApproved) {
    intent.status = "succeeded";
    if (intent.customer) world.get("payment_method", intent.payment_method).customer = intent.customer;
  } else {
    Object.assign(intent, { status: "requires_payment_method", payment_method: null, last_setup_error: error });
  }
  world.emit(isApproved ? "setup_intent.succeeded" : "setup_intent.setup_failed", intent);
  return intent;
}

function applySetup(world, intent, params) {
  if (params.customer) intent.customer = world.get("customer", params.customer, "customer").id;
  if (params.payment_method) {
    intent.payment_method = useMethod(world, params.payment_method).id;
    intent.status = "requires_confirmation";
  }
  intent.metadata = mergeMetadata(intent.metadata, params.metadata);
}

function mustBeOpen(intent, what) {
  if (!["requires_payment_method", "requires_confirmation", "requires_action"].includes(intent.status))
    throw invalid(`You cannot ${what} this SetupIntent because it has a status of ${intent.status}.`, { code: "setup_intent_unexpected_state", setup_intent: structuredClone(intent) });
  if (what === "confirm" && !intent.payment_method)
    throw invalid("You cannot confirm this SetupIntent because it's missing a payment method.", { code: "setup_intent_unexpected_state", setup_intent: structuredClone(intent) });
}

const findSetup = ({ world, ids }) => world.get("setup_intent", ids.intent, "intent");

const setups = {
  "POST /v1/setup_intents": ({ world, params, script }) => {
    const intent = world.add("setup_intent", { application: null, automatic_payment_methods: null, cancellation_reason: null, customer: null,
      description: params.description ?? null, flow_directions: null, last_setup_error: null, latest_attempt: null, mandate: null, metadata: {},
      next_action: null, on_behalf_of: null, payment_method: null, payment_method_options: {}, payment_method_types: params.payment_method_types ?? ["card"],
      single_use_mandate: null, status: "requires_payment_method", usage: params.usage ?? "off_session" });
    intent.client_secret = world.secretOf(intent.id);
    try {
      applySetup(world, intent, params);
      if (params.confirm) mustBeOpen(intent, "confirm");
    } catch (error) {
      world.remove(intent.id);
      throw error;
    }
    world.emit("setup_intent.created", intent);
    return params.confirm ? confirmSetup(world, intent, params, script) : intent;
  },
  "GET /v1/setup_intents": ({ world, params, path }) => world.list(path, world.all("setup_intent").filter((one) => !params.customer || one.customer === params.customer), params),
  "GET /v1/setup_intents/{intent}": findSetup,
  "POST /v1/setup_intents/{intent}/confirm": (call) => {
    const intent = findSetup(call);
    mustBeOpen(intent, call.params.payment_method ? "update" : "confirm");
    applySetup(call.world, intent, call.params);
    return confirmSetup(call.world, intent, call.params, call.script);
  },
  "POST /v1/setup_intents/{intent}/cancel": (call) => {
    const intent = findSetup(call);
    mustBeOpen(intent, "cancel");
    Object.assign(intent, { status: "canceled", cancellation_reason: call.params.cancellation_reason ?? null, next_action: null });
    call.world.emit("setup_intent.canceled", intent);
    return intent;
  },
};

const typePattern = (type) => new RegExp(`^${type.replaceAll(".", "\\.").replaceAll("*", ".*")}$`);

const events = {
  "GET /v1/events": ({ world, params, path }) => {
    const patterns = (params.types ?? (params.type ? [params.type] : ["*"])).map(typePattern);
    return world.list(path, world.events().filter((one) => patterns.some((pattern) => pattern.test(one.type))), params);
  },
  "GET /v1/events/{id}": ({ world, ids }) => {
    const found = world.events().find((one) => one.id === ids.id);
    if (!found) throw invalid(`No such event: '${ids.id}'`, { code: "resource_missing", param: "id" }, 404);
    return found;
  },
  "GET /v1/account": ({ world }) => world.all("account")[0],
};

// A secret is told once, when the endpoint is made.
const endpoints = {
  "POST /v1/webhook_endpoints": ({ world, params }) => {
    const made = world.add("webhook_endpoint", { api_version: params.api_version ?? API_VERSION, application: null, description: params.description || null,
      enabled_events: params.enabled_events, metadata: mergeMetadata({}, params.metadata), status: "enabled", url: params.url });
    const secret = world.webhooks.open(made);
    return { ...made, secret };
  },
  "GET /v1/webhook_endpoints": ({ world, params, path }) => world.list(path, world.all("webhook_endpoint"), params),
  "GET /v1/webhook_endpoints/{webhook_endpoint}": ({ world, ids }) => world.get("webhook_endpoint", ids.webhook_endpoint),
  "POST /v1/webhook_endpoints/{webhook_endpoint}": ({ world, ids, params }) => {
    const found = world.get("webhook_endpoint", ids.webhook_endpoint);
    if (params.disabled !== undefined) found.status = params.disabled ? "disabled" : "enabled";
    for (const key of ["url", "enabled_events"]) if (params[key] !== undefined) found[key] = params[key];
    found.metadata = mergeMetadata(found.metadata, params.metadata);
    return found;
  },
  "DELETE /v1/webhook_endpoints/{webhook_endpoint}": ({ world, ids }) => {
    const { id } = world.get("webhook_endpoint", ids.webhook_endpoint);
    world.remove(id);
    return { id, object: "webhook_endpoint", deleted: true };
  },
};

export const people = { ...customers, ...setups, ...events, ...endpoints };

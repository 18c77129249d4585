// cut_spec.mjs WHOLE.json [OUT.json] - Stripe's OpenAPI file without what the double does not serve.
//
// The whole file has 2.6 MB. Kept are the operations below, what they refer to, and nothing that is prose. Fields that
// Stripe expands on demand keep the kinds of objects that the double has (KINDS): everything hangs together by such
// fields, and would come along. One schema a line, sorted, so that a newer version shows as a readable difference.
import fs from "node:fs";

const OPERATIONS = {
  "/v1/account": ["get"],
  "/v1/balance": ["get"],
  "/v1/balance_transactions": ["get"],
  "/v1/balance_transactions/{id}": ["get"],
  "/v1/charges": ["get"],
  "/v1/charges/{charge}": ["get", "post"],
  "/v1/checkout/sessions": ["get", "post"],
  "/v1/checkout/sessions/{session}": ["get"],
  "/v1/checkout/sessions/{session}/expire": ["post"],
  "/v1/customers": ["get", "post"],
  "/v1/customers/{customer}": ["delete", "get", "post"],
  "/v1/customers/{customer}/payment_methods": ["get"],
  "/v1/disputes": ["get"],
  "/v1/disputes/{dispute}": ["get", "post"],
  "/v1/disputes/{dispute}/close": ["post"],
  "/v1/events": ["get"],
  "/v1/events/{id}": ["get"],
  "/v1/payment_intents": ["get", "post"],
  "/v1/payment_intents/search": ["get"],
  "/v1/payment_intents/{intent}": ["get", "post"],
  "/v1/payment_intents/{intent}/cancel": ["post"],
  "/v1/payment_intents/{intent}/capture": ["post"],
  "/v1/payment_intents/{intent}/confirm": ["post"],
  "/v1/payment_methods": ["get", "post"],
  "/v1/payment_methods/{payment_method}": ["get"],
  "/v1/payment_methods/{payment_method}/attach": ["post"],
  "/v1/payment_methods/{payment_method}/detach": ["post"],
  "/v1/payouts": ["get", "post"],
  "/v1/payouts/{payout}": ["get", "post"],
  "/v1/payouts/{payout}/cancel": ["post"],
  "/v1/refunds": ["get", "post"],
  "/v1/refunds/{refund}": ["get", "post"],
  "/v1/setup_intents": ["get", "post"],
  "/v1/setup_intents/{intent}": ["get"],
  "/v1/setup_intents/{intent}/cancel": ["post"],
  "/v1/setup_intents/{intent}/confirm": ["post"],
  "/v1/webhook_endpoints": ["get", "post"],
  "/v1/webhook_endpoints/{webhook_endpoint}": ["delete", "get", "post"],
};
const KINDS = new Set(["account", "balance_transaction", "charge", "checkout.session", "customer", "deleted_customer", "dispute",
  "event", "payment_intent", "payment_method", "payout", "refund", "setup_intent", "webhook_endpoint", "deleted_webhook_endpoint"]);
const PROSE = new Set(["description", "x-expandableFields", "x-resourceId", "x-stripeBypassValidation", "x-expansionResources", "title"]);

const refName = (schema) => schema?.$ref?.split("/").at(-1);

/** An object that is no part of these operations and only hangs on a field that may be expanded. */
function isForeign(schema, whole) {
  const name = refName(schema);
  const resource = name && whole.components.schemas[name]?.["x-resourceId"];
  return resource !== undefined && !KINDS.has(name);
}

function cut(node, whole, isMap = false) {
  if (Array.isArray(node)) return node.map((one) => cut(one, whole));
  if (node === null || typeof node !== "object") return node;
  const out = {};
  for (const [key, value] of Object.entries(node)) {
    if (!isMap && PROSE.has(key)) continue;
    if (!isMap && key === "anyOf" && node["x-expansionResources"]) {
      out[key] = cut(value.filter((one) => !isForeign(one, whole)), whole);
    } else {
      out[key] = cut(value, whole, key === "properties" && !isMap);
    }
  }
  return out;
}

function references(node, found = new Set()) {
  if (node !== null && typeof node === "object") {
    if (typeof node.$ref === "string") found.add(refName(node));
    for (const value of Object.values(node)) references(value, found);
  }
  return found;
}

function pick(whole) {
  const paths = {};
  for (const [path, methods] of Object.entries(OPERATIONS)) {
    paths[path] = {};
    for (const method of methods) {
      const { parameters, requestBody, responses } = cut(whole.paths[path][method], whole);
      paths[path][method] = { parameters, requestBody, responses };
    }
  }
  return paths;
}

function cutSpec(whole) {
  const paths = pick(whole);
  const schemas = {};
  const waiting = [...references(paths)];
  while (waiting.length > 0) {
    const name = waiting.pop();
    if (schemas[name]) continue;
    schemas[name] = cut(whole.components.schemas[name], whole);
    waiting.push(...references(schemas[name]));
  }
  return { info: { title: whole.info.title, version: whole.info.version, license: "MIT, https://github.com/stripe/openapi" }, paths, schemas };
}

function print({ info, paths, schemas }) {
  const lines = (map) => Object.keys(map).sort().map((key) => `${JSON.stringify(key)}:${JSON.stringify(map[key])}`).join(",\n");
  return `{"openapi":"3.0.0","info":${JSON.stringify(info)},\n"paths":{\n${lines(paths)}\n},\n"components":{"schemas":{\n${lines(schemas)}\n}}}\n`;
}

const [from, to = new URL("openapi.json", import.meta.url)] = process.argv.slice(2);
if (!from) {
  console.error("usage: node cut_spec.mjs WHOLE.json [OUT.json]; WHOLE.json is openapi/spec3.json of github.com/stripe/openapi");
  process.exit(2);
}
fs.writeFileSync(to, print(cutSpec(JSON.parse(fs.readFileSync(from, "utf8")))));

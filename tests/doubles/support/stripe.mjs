// For the tests of Stripe's double: the official client, a receiver of webhooks, and a check of every answer.
import assert from "node:assert/strict";
import http from "node:http";
import Ajv from "ajv";
import Stripe from "stripe";
import { SPEC, StripeDouble } from "../stripe/double.mjs";

/** Waits until `condition()` is truthy and returns what it gave. */
export async function until(what, condition, limitMs = 20_000) {
  const end = Date.now() + limitMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited ${limitMs} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** OpenAPI 3.0 to JSON Schema: `nullable`, and no field that the schema does not name. */
function toJsonSchema(node) {
  if (Array.isArray(node)) return node.map(toJsonSchema);
  if (node === null || typeof node !== "object") return node;
  const { nullable, ...rest } = node;
  const out = Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, key === "enum" ? value : toJsonSchema(value)]));
  if (out.type === "object" && out.properties && out.additionalProperties === undefined) out.additionalProperties = false;
  return nullable ? { anyOf: [out, { type: "null" }] } : out;
}

const ajv = new Ajv({ strict: false, validateFormats: false, inlineRefs: false });
// each a schema of its own: they are cyclic, and compiled once
const ownIds = (schema) => JSON.parse(JSON.stringify(toJsonSchema(schema)).replaceAll('"#/components/schemas/', '"stripe:'));
for (const [name, one] of Object.entries(SPEC.components.schemas)) ajv.addSchema({ $id: `stripe:${name}`, ...ownIds(one) });
const validators = new Map();

/** Fails where an answer is not what the specification says of its operation. */
export function checkAnswer(route, status, body) {
  const id = `${route.method} ${route.path} ${status === 200}`;
  if (!validators.has(id)) {
    const responses = SPEC.paths[route.path][route.method.toLowerCase()].responses;
    validators.set(id, ajv.compile(ownIds((responses[status] ?? responses.default).content["application/json"].schema)));
  }
  const validate = validators.get(id);
  if (!validate(body)) {
    const told = validate.errors.filter((one) => one.keyword !== "anyOf" && one.keyword !== "type").slice(0, 5);
    throw new Error(`${id}: ${JSON.stringify(told.length ? told : validate.errors.slice(0, 5))}\n${JSON.stringify(body)}`);
  }
}

export function clientOf(double, options = {}) {
  return new Stripe(double.key, { host: "127.0.0.1", port: new URL(double.url).port, protocol: "http", maxNetworkRetries: 0, timeout: 20_000, ...options });
}

export async function startDouble(options) {
  const double = await StripeDouble.start(options);
  double.answered = new Set();
  double.onAnswer = (route, status, body) => {
    if (status === 200) double.answered.add(`${route.method} ${route.path}`);
    checkAnswer(route, status, body);
  };
  return double;
}

/** A payment that is made at once. */
export const payNow = (stripe, more = {}, ...options) => stripe.paymentIntents.create({ amount: 1000, currency: "gbp", payment_method: "pm_card_visa",
  payment_method_types: ["card"], confirm: true, ...more }, ...options);

/** What a call is refused with. */
export async function refusal(promise) {
  const answer = await promise.then((value) => ({ value }), (error) => ({ error }));
  assert.ok(answer.error, `it was taken: ${JSON.stringify(answer.value)}`);
  return answer.error;
}

/** A shop's side of webhooks: keeps what comes, answers what `status` says, or as `gate` lets it. */
export class Receiver {
  static async start() {
    const receiver = new Receiver();
    receiver.got = []; // {text, signature, event}
    receiver.status = () => 200;
    receiver.server = http.createServer(async (request, answer) => {
      const pieces = [];
      for await (const piece of request) pieces.push(piece);
      const text = Buffer.concat(pieces).toString();
      receiver.got.push({ text, signature: request.headers["stripe-signature"], event: JSON.parse(text) });
      answer.writeHead(await receiver.status(receiver.got.length)).end();
    });
    await new Promise((resolve) => receiver.server.listen(0, "127.0.0.1", resolve));
    receiver.url = `http://127.0.0.1:${receiver.server.address().port}/hooks/v1/stripe`;
    return receiver;
  }

  get types() {
    return this.got.map((one) => one.event.type);
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

// A double of Stripe: an HTTP server that holds to Stripe's specification, keeps books, and misbehaves as it is told.
//
//   const stripe = await StripeDouble.start();          stripe.url, stripe.key
//   stripe.script.on({ match: { path: "/v1/payment_intents" }, timeout: "after" });
//   …
//   stripe.check();        fails where somebody sent what Stripe does not take, or where the books are wrong
//   await stripe.stop();
//
// README.md tells of all of it. The same is there over HTTP, below /_double/ (control.mjs).
import fs from "node:fs";
import http from "node:http";
import assert from "node:assert/strict";
import { decodeForm } from "./form.mjs";
import { coerce, routesOf } from "./check.mjs";
import { StripeError, invalid, scriptedError } from "./errors.mjs";
import { Idempotency } from "./idempotency.mjs";
import { Script } from "./script.mjs";
import { API_VERSION, World } from "./world.mjs";
import { Webhooks } from "./webhooks.mjs";
import { paymentMethods } from "./cards.mjs";
import { expireAuthorizations, intents } from "./intents.mjs";
import { declineError, dispute, refunds } from "./refunds.mjs";
import { people } from "./people.mjs";
import { payouts } from "./payouts.mjs";
import { checkout } from "./checkout.mjs";
import { control, perform } from "./control.mjs";

export const SPEC = JSON.parse(fs.readFileSync(new URL("openapi.json", import.meta.url), "utf8"));
const ROUTES = routesOf(SPEC);
const HANDLERS = { ...paymentMethods, ...intents, ...refunds, ...people, ...payouts, ...checkout };
const MAX_BODY = 1 << 20;
const FORM = "application/x-www-form-urlencoded";
const NOT_BEGUN = new Set([409, 429, 503]);

for (const { method, path } of ROUTES) assert.ok(HANDLERS[`${method} ${path}`], `the double does not do ${method} ${path}`);

export class StripeDouble {
  calls = []; // every request: {method, path, params, key, headers, status}
  violations = []; // requests that Stripe would have refused for their form: {method, path, message}
  onAnswer; // (route, status, body): the double's own tests check answers against the specification
  silent = 0; // requests that got no answer, and will get none
  #keys = new Idempotency();
  #silent = new Set(); // sockets that are never answered
  #waiting = []; // those who wait for `open`

  static async start({ key = "sk_test_double", port = 0, searchLag_s = 0 } = {}) {
    const double = new StripeDouble();
    double.key = key;
    double.script = new Script();
    double.world = Object.assign(new World(), { searchLag_s, sessionData: new Map(), decline: declineError });
    double.world.dispute = (charge, options) => dispute(double.world, charge, options);
    double.webhooks = double.world.webhooks = new Webhooks(double.world, double.script);
    double.world.onEvent = (event) => double.webhooks.send(event);
    double.account = double.world.add("account", { type: "standard", country: "GB", default_currency: "gbp", charges_enabled: true,
      payouts_enabled: true, details_submitted: true, email: "merchant@example.com", metadata: {}, livemode: undefined });
    double.server = http.createServer((request, answer) => double.#serve(request, answer).catch((error) => double.#broken(error, answer)));
    await new Promise((resolve) => double.server.listen(port, "127.0.0.1", resolve));
    double.url = double.world.url = `http://127.0.0.1:${double.server.address().port}`;
    return double;
  }

  async stop() {
    this.open();
    this.webhooks.close();
    for (const socket of this.#silent) socket.destroy();
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  /** An endpoint for webhooks: {id, secret}. */
  endpoint(url, { events = ["*"], secret } = {}) {
    const made = this.world.add("webhook_endpoint", { api_version: API_VERSION, application: null, description: null, enabled_events: events,
      metadata: {}, status: "enabled", url });
    return { id: made.id, secret: this.webhooks.open(made, secret) };
  }

  /** Lets go those whom a rule with `hold` keeps. */
  open() {
    for (const go of this.#waiting.splice(0)) go();
  }

  get held() {
    return this.#waiting.length;
  }

  /** What the world outside of the API does: `act`, `settle`, `dispute`, `decide`, `pay`, … (control.mjs). */
  do(name, options) {
    return perform(this, name, options);
  }

  advance(seconds) {
    this.world.offset_s += seconds;
    expireAuthorizations(this.world);
  }

  /** What was taken, and not given back, by PaymentIntents of this metadata: {order: "…"}. */
  taken(metadata) {
    const { world } = this;
    const intents = world.all("payment_intent").filter((one) => Object.entries(metadata).every(([key, value]) => one.metadata[key] === value));
    return world.books.taken(world.all("charge").filter((one) => intents.some((intent) => intent.id === one.payment_intent)));
  }

  check() {
    assert.deepEqual(this.violations, [], "requests that Stripe does not take");
    this.world.books.check(this.world);
  }

  #broken(error, answer) {
    console.error(error);
    if (!answer.headersSent) answer.writeHead(599);
    answer.end(String(error.stack));
  }

  async #serve(request, answer) {
    const pieces = [];
    let size = 0;
    for await (const piece of request) {
      size += piece.length;
      if (size > MAX_BODY) return answer.writeHead(413).end();
      pieces.push(piece);
    }
    const url = new URL(request.url, this.url);
    const call = { method: request.method, path: url.pathname, query: url.search.slice(1), text: Buffer.concat(pieces).toString(),
      headers: request.headers, key: request.headers["idempotency-key"], id: this.world.newId("request"), socket: request.socket };
    if (call.path.startsWith("/_double/")) return control(this, call, answer);
    this.calls.push(call);
    const result = await this.#answerTo(call);
    await this.#send(call, answer, result);
    for (const event of result.events ?? []) this.webhooks.send(event);
  }

  async #send(call, answer, { silence, status, body, headers = {} }) {
    if (silence === "reset") return call.socket.destroy();
    if (silence === "timeout") {
      this.silent++;
      return this.#silent.add(call.socket);
    }
    call.status = status;
    answer.writeHead(status, { "content-type": "application/json", "request-id": call.id, "stripe-version": API_VERSION,
      ...(call.key ? { "idempotency-key": call.key } : {}), ...headers });
    await new Promise((resolve) => {
      answer.once("close", resolve);
      answer.end(`${JSON.stringify(body, null, 2)}\n`);
    });
  }

  /** {status, body, headers, events} or {silence, events}. */
  async #answerTo(call) {
    try {
      return await this.#handle(call);
    } catch (error) {
      if (!(error instanceof StripeError)) throw error;
      return { status: error.status, body: error.body(call.id) };
    }
  }

  async #handle(call) {
    this.#read(call);
    const rule = this.script.take(call);
    const key = call.method === "POST" ? call.key : undefined;
    const fingerprint = `${call.path}\n${JSON.stringify(call.params)}`;
    const before = key !== undefined && this.#keys.begin(key, fingerprint, this.world.now());
    const result = before ? this.#replay(before) : await this.#run(call, rule, key);
    if (before && rule.status) throw scriptedError(rule.status);
    if (rule.hold === "after") await new Promise((resolve) => this.#waiting.push(resolve));
    if (rule.reset || rule.timeout) return { silence: rule.reset ? "reset" : "timeout", events: result.events };
    return result;
  }

  /** Who asks, for what, and is it as the specification says? */
  #read(call) {
    try {
      authenticate(call, this.key);
      const route = ROUTES.find((one) => one.method === call.method && !one.path.endsWith("}") && one.pattern.test(call.path))
        ?? ROUTES.find((one) => one.method === call.method && one.pattern.test(call.path));
      if (!route) throw invalid(`Unrecognized request URL (${call.method}: ${call.path}).`, {}, 404);
      call.route = route;
      call.ids = Object.fromEntries(route.names.map((name, i) => [name, decodeURIComponent(route.pattern.exec(call.path)[i + 1])]));
      call.params = coerce(route.params, decodeForm(paramsText(call)));
    } catch (error) {
      this.violations.push({ method: call.method, path: call.path, message: error.message });
      throw error;
    }
  }

  #replay({ status, body, id }) {
    return { status, body, headers: { "idempotent-replayed": "true", "original-request": id } };
  }

  async #run(call, rule, key) {
    if (rule.delay_ms) await new Promise((resolve) => setTimeout(resolve, rule.delay_ms));
    if (rule.hold === "before") await new Promise((resolve) => this.#waiting.push(resolve));
    const isEffective = rule.status ? rule.effect === true : (rule.reset ?? rule.timeout) !== "before";
    const done = isEffective ? this.#execute(call, rule, key) : { events: [] };
    if (rule.status) Object.assign(done, { status: rule.status, body: scriptedError(rule.status).body(call.id) });
    if (key !== undefined && !isEffective && (!rule.status || NOT_BEGUN.has(rule.status))) this.#keys.forget(key);
    else if (key !== undefined) this.#keys.finish(key, { status: done.status, body: done.body, id: call.id });
    const early = done.events.filter((event) => this.webhooks.isEarly(event));
    for (const event of early) await this.webhooks.send(event);
    return { ...done, events: done.events.filter((event) => !early.includes(event)) };
  }

  /** Does it, at once; the events wait for the answer. */
  #execute(call, rule, key) {
    const { world } = this;
    const events = [];
    const onEvent = world.onEvent;
    world.onEvent = (event) => events.push(event);
    world.request = { id: call.id, idempotency_key: key ?? null };
    let done;
    try {
      const made = HANDLERS[`${call.method} ${call.route.path}`]({ world, params: call.params, ids: call.ids, path: call.path, script: rule });
      done = { status: 200, body: { ...world.expand(made, call.params.expand), ...rule.answer } };
    } catch (error) {
      if (!(error instanceof StripeError)) throw error;
      done = { status: error.status, body: error.body(call.id) };
    } finally {
      world.onEvent = onEvent;
      world.request = undefined;
    }
    this.onAnswer?.(call.route, done.status, JSON.parse(JSON.stringify(done.body)));
    return { ...done, events: rule.webhooks === false ? [] : events };
  }
}

function authenticate({ headers }, key) {
  const given = /^Bearer (.+)$/.exec(headers.authorization ?? "")?.[1] ?? basicUser(headers.authorization);
  if (!given) throw invalid("You did not provide an API key.", {}, 401);
  if (given !== key) throw invalid(`Invalid API Key provided: ${given.slice(0, 7)}***`, {}, 401);
  const version = headers["stripe-version"];
  if (version !== undefined && version !== API_VERSION) throw invalid(`Invalid Stripe API version: ${version}. The double has ${API_VERSION}.`);
}

function basicUser(header = "") {
  const coded = /^Basic (.+)$/.exec(header)?.[1];
  return coded && Buffer.from(coded, "base64").toString().split(":")[0];
}

function paramsText({ method, query, text, headers }) {
  if (method !== "POST") {
    if (text !== "") throw invalid(`A ${method} has no body.`);
    return query;
  }
  if (query !== "") throw invalid("Parameters of a POST belong into its body.");
  const type = (headers["content-type"] ?? "").split(";")[0].trim().toLowerCase();
  if (type !== FORM) throw invalid(`Invalid request (check that your POST content type is ${FORM}).`);
  return text;
}

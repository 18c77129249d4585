// What Stripe holds: objects by id, the clock, the events that told of them, the books.
import { randomBytes } from "node:crypto";
import { Books } from "./books.mjs";
import { invalid, missing } from "./errors.mjs";

export const API_VERSION = "2023-08-16";

const PREFIXES = { account: "acct", balance_transaction: "txn", charge: "ch", "checkout.session": "cs_test", customer: "cus", dispute: "dp",
  event: "evt", payment_intent: "pi", payment_method: "pm", payout: "po", refund: "re", setup_intent: "seti", webhook_endpoint: "we", request: "req" };
// Fields that hold an id and are given as the object where it is asked for.
const EXPANDABLE = { balance_transaction: "balance_transaction", failure_balance_transaction: "balance_transaction", charge: "charge", customer: "customer",
  latest_charge: "charge", payment_intent: "payment_intent", payment_method: "payment_method", setup_intent: "setup_intent" };
const EVENTS_KEPT_S = 30 * 86400;

export class World {
  books = new Books();
  offset_s = 0; // what the clock was moved by
  onEvent = () => {};
  payoutOf = new Map(); // id of a balance transaction -> of the payout that holds it
  #objects = new Map();
  #kinds = new Map(); // kind -> id -> object
  #ofIntent = new Map(); // kind and PaymentIntent -> objects
  #ids = 0;

  /** Unix seconds. */
  now() {
    return Math.floor(Date.now() / 1000) + this.offset_s;
  }

  newId(kind) {
    return `${PREFIXES[kind]}_${(++this.#ids).toString(36).padStart(4, "0")}${randomBytes(9).toString("hex")}`;
  }

  secretOf(id) {
    return `${id}_secret_${randomBytes(12).toString("hex")}`;
  }

  add(kind, fields) {
    const made = { id: this.newId(kind), object: kind, created: this.now(), livemode: false, ...fields };
    this.#objects.set(made.id, made);
    if (!this.#kinds.has(kind)) this.#kinds.set(kind, new Map());
    this.#kinds.get(kind).set(made.id, made);
    if (typeof made.payment_intent === "string") this.#told(kind, made);
    return made;
  }

  find(kind, id) {
    const found = this.#objects.get(id);
    return found?.object === kind ? found : undefined;
  }

  get(kind, id, param) {
    const found = this.find(kind, id);
    if (!found) throw missing(kind, id, param ?? kind.replace(/^checkout\./, ""));
    return found;
  }

  #told(kind, made) {
    const key = `${kind} ${made.payment_intent}`;
    if (!this.#ofIntent.has(key)) this.#ofIntent.set(key, []);
    this.#ofIntent.get(key).push(made);
  }

  remove(id) {
    this.#kinds.get(this.#objects.get(id)?.object)?.delete(id);
    this.#objects.delete(id);
  }

  /** All of a kind, newest first. */
  all(kind) {
    return [...(this.#kinds.get(kind)?.values() ?? [])].reverse();
  }

  /** Those of a kind that are of one PaymentIntent, newest first. What is about one says so from its beginning, and stays. */
  allOf(kind, intent) {
    return [...(this.#ofIntent.get(`${kind} ${intent}`) ?? [])].reverse();
  }

  /** Tells the world that something happened; `changes` are the values before. */
  emit(type, object, changes) {
    const data = { object: structuredClone(object), ...(changes ? { previous_attributes: changes } : {}) };
    const event = this.add("event", { type, data, api_version: API_VERSION, pending_webhooks: 0, request: this.request ?? { id: null, idempotency_key: null } });
    this.onEvent(event);
    return event;
  }

  /** A movement of the balance; `fee` goes to Stripe, the rest comes from the shoppers' banks, or goes to the merchant's. */
  move(type, source, { amount, fee = 0, about, currency, from = "issuers" }) {
    this.books.post(about, currency, { [from]: -amount, balance: amount - fee, fees: fee });
    return this.add("balance_transaction", { amount, fee, net: amount - fee, currency, type, source: source.id, status: "pending", livemode: undefined,
      reporting_category: type === "adjustment" ? "dispute" : type, available_on: this.now() + 2 * 86400, description: null, exchange_rate: null,
      fee_details: fee === 0 ? [] : [{ amount: fee, application: null, currency, description: "Stripe processing fees", type: "stripe_fee" }] });
  }

  /** A page: {object: "list", data, has_more, url}. */
  list(url, all, params) {
    const limit = params.limit ?? 10;
    if (limit < 1 || limit > 100) throw invalid("Invalid limit: must be from 1 to 100", { param: "limit" });
    let rows = all.filter((one) => isWithin(one.created, params.created));
    if (params.starting_after) rows = rows.slice(this.#cursor(rows, params.starting_after, "starting_after") + 1);
    if (params.ending_before) rows = rows.slice(0, this.#cursor(rows, params.ending_before, "ending_before"));
    const data = params.ending_before ? rows.slice(-limit) : rows.slice(0, limit);
    return { object: "list", data, has_more: rows.length > data.length, url };
  }

  #cursor(rows, id, param) {
    const at = rows.findIndex((one) => one.id === id);
    if (at < 0) throw invalid(`No such object: '${id}'`, { code: "resource_missing", param });
    return at;
  }

  /** Events are kept for 30 days. */
  events() {
    return this.all("event").filter((one) => one.created > this.now() - EVENTS_KEPT_S);
  }

  /** A copy, with what `expand` names as objects. */
  expand(object, paths = []) {
    const out = copyOf(object);
    for (const path of paths) this.#expandOne(out, path.split("."), path);
    return out;
  }

  /** Of a balance transaction: an object of whatever kind. */
  #isSource(into, key) {
    return key === "source" && into.object === "balance_transaction";
  }

  /** With the charge come its newest ten, and whether there are more. */
  #refundsOf(charge) {
    const all = this.allOf("refund", charge.payment_intent).filter((one) => one.charge === charge.id).map(copyOf);
    return { object: "list", data: all.slice(0, 10), has_more: all.length > 10, url: `/v1/charges/${charge.id}/refunds` };
  }

  #expandOne(into, [key, ...rest], path) {
    if (Array.isArray(into)) return into.forEach((one) => this.#expandOne(one, [key, ...rest], path));
    const value = into[key];
    if (key === "data" && into.object === "list") return this.#expandOne(value, rest, path);
    if (key === "refunds" && into.object === "charge" && rest.length === 0) return void (into.refunds = this.#refundsOf(into));
    if (!EXPANDABLE[key] && !this.#isSource(into, key) || value === undefined) throw invalid(`This property cannot be expanded (${path}).`, { param: "expand" });
    if (typeof value === "string") into[key] = copyOf(EXPANDABLE[key] ? this.get(EXPANDABLE[key], value) : this.#objects.get(value));
    if (rest.length > 0 && into[key]) this.#expandOne(into[key], rest, path);
  }
}

/** As structuredClone, of what is JSON: each answer is one, and it takes a tenth of the time. */
function copyOf(value) {
  if (Array.isArray(value)) return value.map(copyOf);
  if (typeof value !== "object" || value === null) return value;
  const out = {};
  for (const key in value) out[key] = copyOf(value[key]);
  return out;
}

function isWithin(created, range) {
  if (range === undefined) return true;
  if (typeof range === "number") return created === range;
  return !(created <= range.gt || created < range.gte || created >= range.lt || created > range.lte);
}

/** Metadata as it is changed: an empty text takes a key away, an empty `metadata` all of them. */
export function mergeMetadata(before, given) {
  if (given === undefined) return before;
  if (given === "") return {};
  const out = { ...before };
  for (const [key, value] of Object.entries(given)) {
    const param = `metadata[${key}]`;
    if (key.length > 40) throw invalid(`Metadata keys can have up to 40 characters: ${key}`, { param });
    if (value.length > 500) throw invalid("Metadata values can have up to 500 characters.", { param });
    if (value === "") delete out[key];
    else out[key] = value;
  }
  if (Object.keys(out).length > 50) throw invalid("Metadata has at most 50 keys.", { param: "metadata" });
  return out;
}

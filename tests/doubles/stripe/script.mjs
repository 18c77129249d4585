// What the test says that goes wrong: rules for requests and for events, each for the next `times` that match.
//
// A rule for requests: {match: {method, path (text or RegExp source), params: {…}}, times (1), and one or more of
//   status      409, 429, 500 or 503 instead of the answer; the effect is left out unless `effect` is true
//   reset       "before" | "after" the effect: the connection is broken
//   timeout     "before" | "after" the effect: there is no answer
//   hold        "before" | "after" the effect: it waits until `open`
//   delay_ms    before the effect
//   answer      fields that the answer has instead of the true ones: {amount: 1}, {currency: "eur"}
//   decline, action, processing, refund    what becomes of the payment; see confirm.mjs and refunds.mjs
//   webhooks    false: none of the events of this request is sent; they can be listed all the same}
// A rule for events: {match: {type}, times, and what webhooks.mjs says}.

const REQUEST_KEYS = new Set(["match", "times", "status", "effect", "reset", "timeout", "hold", "delay_ms", "answer", "decline", "action", "processing", "refund", "webhooks"]);
const EVENT_KEYS = new Set(["match", "times", "drop", "duplicate", "hold", "early", "delay_ms", "skew_s", "secret"]);
const STATUSES = new Set([409, 429, 500, 503]);
const SIDES = new Set(["before", "after"]);

function checkRule(rule, known) {
  for (const key of Object.keys(rule)) if (!known.has(key)) throw new Error(`no such thing in a script: ${key}`);
  if (rule.status !== undefined && !STATUSES.has(rule.status)) throw new Error(`status: one of ${[...STATUSES].join(", ")}`);
  for (const key of ["reset", "timeout"]) if (rule[key] !== undefined && !SIDES.has(rule[key])) throw new Error(`${key}: before or after`);
  if (rule.times !== undefined && !(rule.times > 0)) throw new Error("times: at least 1");
  return { ...rule, left: rule.times ?? 1 };
}

const fits = (wanted, got) => wanted === undefined || (wanted instanceof RegExp ? wanted : new RegExp(`^${wanted}$`)).test(got);

function isMatch(match = {}, { method, path, params }) {
  return fits(match.method, method) && fits(match.path, path)
    && Object.entries(match.params ?? {}).every(([key, value]) => String(params?.[key]) === String(value));
}

export class Script {
  requests = [];
  events = [];

  /** Adds a rule, or several; the first that matches is taken. */
  on(...rules) {
    this.requests.push(...rules.map((rule) => checkRule(rule, REQUEST_KEYS)));
  }

  onEvent(...rules) {
    this.events.push(...rules.map((rule) => checkRule(rule, EVENT_KEYS)));
  }

  clear() {
    this.requests = [];
    this.events = [];
  }

  #take(rules, found) {
    if (!found) return {};
    if (--found.left === 0) rules.splice(rules.indexOf(found), 1);
    return found;
  }

  take(call) {
    return this.#take(this.requests, this.requests.find((rule) => isMatch(rule.match, call)));
  }

  peekEvent(event) {
    return this.events.find((rule) => fits(rule.match?.type, event.type));
  }

  takeEvent(event) {
    return this.#take(this.events, this.peekEvent(event));
  }
}

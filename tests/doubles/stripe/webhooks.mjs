// Webhooks: signed as Stripe signs (`t=…,v1=…`, HMAC-SHA256 of `t.body` in hex), sent again until they are taken, and
// whatever the script wants of them.
//
// Of one event the script may say: drop, duplicate (how often more), hold (until `release`, in the order of
// `order: "reversed"` or as they came), early (before the answer of the request that made it), delay_ms, skew_s (the
// clock that signs), secret: "wrong" | "old" | "both".
import { createHmac, randomBytes } from "node:crypto";

const RETRIES_MS = [100, 400, 1600, 6400]; // Stripe's are hours; what counts is that there are some
const TIMEOUT_MS = 10_000;

export const newSecret = () => `whsec_${randomBytes(24).toString("hex")}`;

export function sign(body, secrets, at) {
  const of = (secret) => createHmac("sha256", secret).update(`${at}.${body}`).digest("hex");
  return [`t=${at}`, ...secrets.map((secret) => `v1=${of(secret)}`), `v0=${of("test mode")}`].join(",");
}

export class Webhooks {
  deliveries = []; // {event, type, url, status | error, attempt, body, signature}
  #endpoints = new Map(); // by id: [secrets], newest first
  #turns = new Map(); // by id of the endpoint
  #held = [];
  #waiting = new Set();
  #timers = new Map(); // timer -> what it would do

  constructor(world, script) {
    this.world = world;
    this.script = script;
  }

  /** Begins to send to an endpoint: the secret it signs with. */
  open(endpoint, secret = newSecret()) {
    this.#endpoints.set(endpoint.id, [secret]);
    return secret;
  }

  /** A new secret; both sign until `retire`. */
  rotate(id) {
    this.#endpoints.get(id).unshift(newSecret());
    return this.#endpoints.get(id)[0];
  }

  /** The old secrets are over; script `secret: "old"` still signs with the last of them. */
  retire(id) {
    const secrets = this.#endpoints.get(id);
    secrets.retired = secrets.pop();
  }

  #secretsFor(id, which) {
    const secrets = this.#endpoints.get(id);
    if (which === "wrong") return [newSecret()];
    if (which === "old") return [secrets.retired ?? secrets.at(-1)];
    return secrets;
  }

  /** What an event becomes: a promise that is kept when all that is to be sent at once was. */
  send(event) {
    const plan = this.script.takeEvent(event);
    if (plan.drop) return Promise.resolve();
    const targets = this.world.all("webhook_endpoint").filter((one) => one.status === "enabled" && this.#endpoints.has(one.id)
      && (one.enabled_events.includes("*") || one.enabled_events.includes(event.type)));
    const go = () => Promise.all(targets.map((endpoint) => this.#track(this.#inTurn(endpoint, event, plan))));
    if (plan.hold) {
      this.#held.push(go);
      return Promise.resolve();
    }
    if (plan.delay_ms) {
      this.#later(plan.delay_ms, go);
      return Promise.resolve();
    }
    return go();
  }

  isEarly(event) {
    return this.script.peekEvent(event)?.early === true;
  }

  /** Sends what was held, one after the other, and what would come later. */
  async release({ order } = {}) {
    const held = [...this.#held.splice(0), ...this.#timers.values()];
    for (const timer of this.#timers.keys()) clearTimeout(timer);
    this.#timers.clear();
    if (order === "reversed") held.reverse();
    for (const go of held) await go();
    return held.length;
  }

  /** Sends an event again. `original`: the very bytes and signature of its first delivery, as a thief of them would. */
  async replay(id, { original = false } = {}) {
    const first = this.deliveries.find((one) => one.event === id);
    if (!original) return this.send(this.world.get("event", id));
    if (!first) throw new Error(`${id} was never delivered`);
    const status = await post(first.url, first.body, first.signature).catch((error) => error);
    this.#note({ ...first, status: typeof status === "number" ? status : undefined, attempt: 0 });
  }

  #later(ms, go) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      go();
    }, ms);
    this.#timers.set(timer, go);
  }

  /** One after the other, as they happened: disorder is what the script asks for. */
  #inTurn(endpoint, event, plan) {
    const turn = (this.#turns.get(endpoint.id) ?? Promise.resolve()).then(async () => {
      for (let i = 0; i <= (plan.duplicate ?? 0); i++) await this.#attempt(endpoint, event, plan, 1);
    });
    this.#turns.set(endpoint.id, turn);
    return turn;
  }

  #track(promise) {
    this.#waiting.add(promise);
    return promise.finally(() => this.#waiting.delete(promise));
  }

  #note(delivery) {
    this.deliveries.push(delivery);
  }

  async #attempt(endpoint, event, plan, attempt) {
    const body = JSON.stringify(event, null, 2); // as Stripe sends it: whoever signs another form of it fails
    const signature = sign(body, this.#secretsFor(endpoint.id, plan.secret), this.world.now() + (plan.skew_s ?? 0));
    const delivery = { event: event.id, type: event.type, url: endpoint.url, attempt, body, signature };
    try {
      delivery.status = await post(endpoint.url, body, signature);
    } catch (error) {
      delivery.error = String(error.cause?.code ?? error.name);
    }
    this.#note(delivery);
    const isTaken = delivery.status >= 200 && delivery.status < 300;
    const again = RETRIES_MS[attempt - 1];
    if (!isTaken && again && !this.isClosed) this.#later(again, () => this.#track(this.#attempt(endpoint, event, plan, attempt + 1)));
  }

  /** Nothing is under way and nothing is to be sent again. */
  get isQuiet() {
    return this.#waiting.size === 0 && this.#timers.size === 0;
  }

  close() {
    this.isClosed = true;
    for (const timer of this.#timers.keys()) clearTimeout(timer);
    this.#timers.clear();
  }
}

async function post(url, body, signature) {
  const answer = await fetch(url, { method: "POST", body, redirect: "manual", signal: AbortSignal.timeout(TIMEOUT_MS),
    headers: { "content-type": "application/json; charset=utf-8", "stripe-signature": signature, "user-agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)" } });
  await answer.arrayBuffer();
  return answer.status;
}

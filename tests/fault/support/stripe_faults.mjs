// What goes wrong between a shop and Stripe's double, for each cart as chance wants it: chance that follows from the seed
// and the cart's number alone, so that the same cart meets the same again.
//
//   const faults = new StripeFaults(stripe);
//   faults.of(cart, pick)       from now on requests for this cart may go wrong
//   faults.happened(cart)       what did, as texts
//   faults.once(operation, rule) -> promise of the call that it is done to, whoever's
//   faults.isCalm = true        nothing goes wrong any more
const CREATE = /^\/v1\/payment_intents$/;
const OPERATIONS = [["create", CREATE], ["confirm", /\/confirm$/], ["capture", /\/capture$/], ["cancel", /\/cancel$/], ["refund", /^\/v1\/refunds$/]];

/** Each code of a decline that Stripe's documentation names, but those that its test cards are for. */
export const DECLINES = ["approve_with_id", "call_issuer", "card_not_supported", "card_velocity_exceeded", "currency_not_supported", "do_not_honor",
  "do_not_try_again", "duplicate_transaction", "expired_card", "fraudulent", "generic_decline", "incorrect_cvc", "incorrect_number",
  "insufficient_funds", "invalid_account", "invalid_amount", "invalid_expiry_year", "issuer_not_available", "lost_card", "merchant_blacklist",
  "new_account_information_available", "no_action_taken", "not_permitted", "pickup_card", "pin_try_exceeded", "processing_error",
  "reenter_transaction", "restricted_card", "revocation_of_all_authorizations", "revocation_of_authorization", "security_violation",
  "service_not_allowed", "stolen_card", "stop_payment_order", "transaction_not_allowed", "try_again_later", "withdrawal_count_limit_exceeded"];

const LOST = [{ reset: "before" }, { reset: "after" }, { timeout: "before" }, { timeout: "after" }];
const TOLD = [{ status: 409 }, { status: 429 }, { status: 503 }, { status: 500 }, { status: 500, effect: true }, { status: 503, effect: true }];
const WRONG = [{ answer: { amount: 1 } }, { answer: { currency: "eur" } }];
const AT = { look: [{ status: 429 }, { status: 500 }, { status: 503 }, { reset: "before" }, ...WRONG] };
for (const [name] of OPERATIONS) AT[name] = [...LOST, ...TOLD, ...WRONG];

const MOST = 4; // of one cart: what is broken for ever proves nothing
const SHARE = 4; // one request of so many

const EVENTS = [{ drop: true }, { duplicate: 1 }, { duplicate: 2 }, { hold: true }, { early: true }, { delay_ms: 50 }, { delay_ms: 200 },
  { skew_s: -600 }, { skew_s: 600 }, { secret: "wrong" }];

export class StripeFaults {
  isCalm = false;
  count = 0;
  #carts = new Map(); // id -> { pick, happened }
  #plans = new Map(); // of events: it is asked for twice
  #once = [];

  constructor(stripe) {
    this.stripe = stripe;
    stripe.script.take = (call) => this.#take(call);
    stripe.script.peekEvent = (event) => this.#plan(event);
    stripe.script.takeEvent = (event) => this.#plan(event);
  }

  of(cart, pick) {
    this.#carts.set(cart, { pick, happened: [] });
  }

  happened(cart) {
    return this.#carts.get(cart)?.happened ?? [];
  }

  once(operation, rule) {
    return new Promise((resolve) => this.#once.push({ operation, rule, resolve }));
  }

  #cartOf({ path, params }) {
    if (CREATE.test(path)) return params.metadata?.cart;
    const id = params.payment_intent ?? /\/(pi_\w+)/.exec(path)?.[1];
    return id && this.stripe.world.find("payment_intent", id)?.metadata.cart;
  }

  #take(call) {
    const operation = OPERATIONS.find(([, path]) => call.method === "POST" && path.test(call.path))?.[0] ?? "look";
    const found = this.#carts.get(this.#cartOf(call));
    const at = this.#once.findIndex((one) => one.operation === operation);
    if (at >= 0) {
      const [{ rule, resolve }] = this.#once.splice(at, 1);
      found?.happened.push(`${operation}: ${JSON.stringify(rule)}`);
      resolve(call);
      return rule;
    }
    if (!found || this.isCalm) return {};
    const { pick, happened } = found, isWanted = pick(SHARE) === 0, rules = AT[operation];
    let rule = rules[pick(rules.length)];
    if (operation === "confirm" && pick(3) === 0) rule = { decline: DECLINES[pick(DECLINES.length)] };
    if (!isWanted || happened.length >= MOST) return {};
    happened.push(`${operation}: ${JSON.stringify(rule)}`);
    ++this.count;
    return rule;
  }

  #plan(event) {
    if (this.isCalm) return {};
    const known = this.#plans.get(event.id);
    if (known) return known;
    const object = event.data.object, intent = object.payment_intent ?? object.id;
    const found = this.#carts.get(this.stripe.world.find("payment_intent", String(intent))?.metadata.cart);
    const plan = found && found.pick(3) === 0 ? EVENTS[found.pick(EVENTS.length)] : {};
    this.#plans.set(event.id, plan);
    return plan;
  }
}

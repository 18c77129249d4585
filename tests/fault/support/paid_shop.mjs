// A shop whose shoppers pay by Stripe's double, are told of by its webhooks and have their money given back, while something
// of what it needs is away; and afterwards the three books of it.
//
//   const paid = await PaidShop.start({ dir, args, env })
//   paid.shop, paid.stripe, paid.relay
//   paid.refused                        Map of code -> how often somebody was answered 503 or 504 with it
//   paid.open(SHOPPERS, seed)           they come; paid.payers
//   await paid.meanwhile(what, condition)   fails at once where a shopper failed
//   await paid.sells()                  orders are placed, and one is cancelled
//   await paid.settle()                 all have their last answer, and the books agree, by itself: no hands
//   await paid.stop({ keep })
import assert from "node:assert/strict";
import { StripeDouble } from "../../doubles/stripe/double.mjs";
import { Shop, until } from "../../flow/support/shop.mjs";
import { assertProblem } from "../../flow/support/checks.mjs";
import { assertSettled, count, query } from "../../flow/support/db.mjs";
import { relayToShop } from "../../flow/support/relay.mjs";
import { assertAccounts, isBegun, wrongs } from "./accounts.mjs";
import { Payers } from "./payers.mjs";
import { StripeFaults } from "./stripe_faults.mjs";

const MINUTE = 60_000;
const SECRET = "whsec_of_the_tests";
/** One endpoint each, so that one queue does not wait for the other. */
const EVENTS = [["payment_intent.amount_capturable_updated", "payment_intent.succeeded", "payment_intent.canceled", "payment_intent.payment_failed"],
  ["charge.captured", "charge.refunded", "refund.created", "refund.updated"]];

const UNHEARD = "SELECT event_id, state, reason FROM webhook_events WHERE state NOT IN ('applied', 'ignored')";

export class PaidShop {
  refused = new Map();

  static async start({ args = [], ...options } = {}) {
    const paid = new PaidShop(), stripe = await StripeDouble.start();
    const plugin = { secret_key: stripe.key, base_url: stripe.url, webhook_secret: SECRET, timeout_ms: 5000,
      return_url: "https://shop.example/back?cart={cart}" };
    const shop = await Shop.start({ ...options, args: ["--no-demo", "--set", "server.workers=2", "--set", "cart.completion_claim_ms=1000",
      "--set", "idem.lease_ms=1000", "--set", "jobs.lease_ms=2000", "--set", "jobs.poll_ms=100", "--set", "payments.sweep_after_ms=1000",
      "--set", "payments.breaker_min_calls=100000", "--set", "jobs.park_attempts=100",
      ...Object.entries(plugin).flatMap(([name, one]) => ["--set", `plugins.payment-stripe.${name}=${one}`]), ...args] });
    const relay = await relayToShop(shop), faults = new StripeFaults(stripe);
    for (const events of EVENTS) stripe.endpoint(relay.url, { secret: SECRET, events });
    faults.isCalm = true;
    return Object.assign(paid, { shop, stripe, relay, faults }).#listen();
  }

  /** Whoever is refused is told clearly, and when to come again. A 504 may have happened: its key makes it safe. */
  #listen() {
    const ask = this.shop.h2.bind(this.shop);
    this.shop.h2 = async (...request) => {
      const answer = await ask(...request);
      if (answer.status < 500) return answer;
      if (answer.status !== 504) {
        assertProblem(answer, 503, answer.body?.code);
        assert.ok(Number(answer.headers["retry-after"]) >= 1, JSON.stringify(answer.headers));
      }
      this.refused.set(answer.body.code, (this.refused.get(answer.body.code) ?? 0) + 1);
      return answer;
    };
    return this;
  }

  get refusals() {
    return [...this.refused.values()].reduce((sum, n) => sum + n, 0);
  }

  open(shoppers, seed) {
    this.shoppers = shoppers;
    this.payers = new Payers(this.shop, this.stripe, this.faults, { seed, shoppers, isPaced: true });
  }

  /** A MariaDB that is started on a full disk waits for a minute at a time before it looks again. */
  meanwhile(what, condition) {
    return Promise.race([this.payers.done.then(() => assert.fail("nobody buys any more")), until(what, condition, 3 * MINUTE)]);
  }

  sells() {
    const { orders, cancelled } = this.payers;
    return this.meanwhile("orders are placed, and cancelled", () => this.payers.orders >= orders + this.shoppers && this.payers.cancelled > cancelled);
  }

  /** What waits goes on now instead of in 2, 4, 8 … seconds; what somebody was at who died, or could not write, is free now. */
  hurry() {
    return query(this.shop, `UPDATE sagas SET next_at = UTC_TIMESTAMP(3) WHERE state = 'waiting';
      UPDATE outbox SET available_at = UTC_TIMESTAMP(3) WHERE state = 'pending' AND available_at > UTC_TIMESTAMP(3) + INTERVAL 3 SECOND;
      UPDATE webhook_events SET next_at = UTC_TIMESTAMP(3) WHERE state = 'received'
        AND next_at > UTC_TIMESTAMP(3) + INTERVAL 1 SECOND AND next_at NOT BETWEEN UTC_TIMESTAMP(3) + INTERVAL 110 SECOND
        AND UTC_TIMESTAMP(3) + INTERVAL 120 SECOND; -- those are at it
      UPDATE job_schedules SET next_at = UTC_TIMESTAMP(3) WHERE name IN ('server:sweep-payments', 'server:poll-webhooks')`, { force: true });
  }

  async settle() {
    const { shop, stripe, faults, payers } = this;
    payers.isOver = true;
    await payers.done;
    let left = [];
    await until("all carts are right, and nobody waits", async () => {
      await this.hurry();
      await until("who was hurried has gone on", () => isBegun(shop), MINUTE);
      left = await wrongs(shop, stripe, payers.all);
      return left.length === 0 && (await count(shop, "sagas", "state IN ('running', 'waiting')")) === 0;
    }, MINUTE).catch(() => {}); // assertAccounts tells of whom
    await assertAccounts(shop, stripe, faults, payers.all);
    assert.deepEqual(await query(shop, "SELECT name, aggregate, error FROM sagas WHERE state = 'parked'"), [], "without hands");
    await assertSettled(shop, MINUTE);
    assert.deepEqual(await query(shop, "SELECT id, type, last_error FROM outbox WHERE state = 'dead'"), [], "without hands");
    let unheard = [];
    await until("every event of Stripe's is applied", async () => {
      await this.hurry();
      unheard = await query(shop, UNHEARD);
      return stripe.webhooks.isQuiet && unheard.length === 0;
    }, MINUTE).catch(() => assert.deepEqual(unheard, [], "every event of Stripe's is applied"));
    await assertAccounts(shop, stripe, faults, payers.all); // and nothing of it was booked twice
    await assertSettled(shop);
  }

  tell() {
    const { payers, relay } = this;
    return `${payers.all.length} carts, ${payers.orders} orders, ${payers.cancelled} cancelled; refused ${
      JSON.stringify(Object.fromEntries(this.refused))}; webhooks ${JSON.stringify(relay.statuses)}`;
  }

  async stop(options) {
    if (this.payers) this.payers.isOver = true;
    this.stripe.webhooks.close();
    this.relay.stop();
    await this.shop.stop(options);
    await this.stripe.stop();
  }
}

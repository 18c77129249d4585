// Money under fire: fifty shoppers pay by Stripe while what they ask for is declined, lost, told wrong, told twice or never
// told, and while workers, the server and Redis die in the middle of it. At the end Stripe's books, our ledger and the
// orders agree to the cent: nobody is charged twice, nobody is charged without an order.
//
//   SEED=12345               the carts and faults of a run before; it tells its own
//   MONEY_CHECKOUTS=2000     how many
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { StripeDouble } from "../doubles/stripe/double.mjs";
import { Shop, until } from "../flow/support/shop.mjs";
import { assertSettled, count, query } from "../flow/support/db.mjs";
import { control, serverOf, workers } from "../flow/support/process.mjs";
import { relayToShop } from "../flow/support/relay.mjs";
import { StripeFaults } from "./support/stripe_faults.mjs";
import { Payers } from "./support/payers.mjs";
import { assertAccounts, isBegun, wrongs } from "./support/accounts.mjs";
import { random } from "./support/random.mjs";

const MINUTE = 60_000;
const SHOPPERS = 50;
const MOURNERS = 12; // while somebody dies: no more than the jobs worker can follow
const EVERY = 3; // carts, an old event comes again
const CHECKOUTS = Number(process.env.MONEY_CHECKOUTS ?? 200);
const SETTLED_MS = Math.max(1, CHECKOUTS / 700) * MINUTE; // who was hurried has gone on by then
const LOOKS = 3; // before the time of what is held goes by
const STILL_MS = MINUTE; // who gets no better for so long never will
const TIMEOUT = Math.max(10, CHECKOUTS / 100) * MINUTE;
const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const SECRET = "whsec_of_the_tests";
/** One endpoint each, so that one queue does not wait for the other. */
const EVENTS = [["payment_intent.created", "payment_intent.requires_action", "payment_intent.processing"],
  ["payment_intent.amount_capturable_updated", "payment_intent.succeeded", "payment_intent.canceled", "payment_intent.payment_failed"],
  ["charge.succeeded", "charge.captured", "charge.failed"], ["charge.refunded", "charge.refund.updated", "refund.created", "refund.updated"]];
/** Between authorise, place and capture, and where it is given back. */
const POINTS = ["checkout.after_claim", "checkout.after_authorize", "checkout.before_place", "checkout.after_place", "capture.before_ask",
  "capture.after_ask", "cancellation.after_decide", "cancellation.after_money", "cancellation.after_book"];

let shop, stripe, relay, faults;
before(async () => {
  stripe = await StripeDouble.start();
  stripe.advance(90); // its clock is another one
  const options = { secret_key: stripe.key, base_url: stripe.url, webhook_secret: SECRET, timeout_ms: 2000,
    return_url: "https://shop.example/back?cart={cart}" };
  shop = await Shop.start({ env: { TILL_FAULTS: "" }, args: ["--no-demo", "--set", "server.workers=2", "--set", "cart.completion_claim_ms=1000",
    "--set", "idem.lease_ms=1000", "--set", "jobs.lease_ms=2000", "--set", "jobs.poll_ms=100",
    "--set", "payments.breaker_min_calls=100000", "--set", "payments.sweep_after_ms=1000", "--set", "payments.not_found_after_ms=4000",
    ...Object.entries(options).flatMap(([name, one]) => ["--set", `plugins.payment-stripe.${name}=${one}`])] });
  relay = await relayToShop(shop);
  for (const events of EVENTS) stripe.endpoint(relay.url, { secret: SECRET, events });
  faults = new StripeFaults(stripe);
});
after(async () => {
  stripe?.webhooks.close();
  stripe?.open();
  relay?.stop();
  await shop?.stop();
  await stripe?.stop();
});

/** Nobody waits for 8, 16 … seconds, and what comes every minute comes now. No try comes sooner than it would at first: each is counted. */
const hurry = () => query(shop, `UPDATE sagas SET next_at = UTC_TIMESTAMP(3) WHERE state = 'waiting' AND next_at > UTC_TIMESTAMP(3) + INTERVAL 4 SECOND;
  UPDATE outbox SET available_at = UTC_TIMESTAMP(3) WHERE state = 'pending' AND available_at > UTC_TIMESTAMP(3) + INTERVAL 3 SECOND;
  UPDATE webhook_events SET next_at = UTC_TIMESTAMP(3) WHERE state = 'received' AND reason IS NOT NULL
    AND next_at BETWEEN UTC_TIMESTAMP(3) + INTERVAL 3 SECOND AND UTC_TIMESTAMP(3) + INTERVAL 100 SECOND; -- past that somebody is at it
  UPDATE job_schedules SET next_at = UTC_TIMESTAMP(3) WHERE name IN ('server:sweep-payments', 'server:poll-webhooks')`, { force: true });

/** The time that goods are held for goes by: whoever stayed away has lost them, and what is held of his money is looked at. */
const goBy = () => query(shop, "UPDATE reservations SET expires_at = UTC_TIMESTAMP(3) WHERE state = 'held' AND expires_at > UTC_TIMESTAMP(3)", { force: true });

/** Faults are over; what was held comes, the last first; and what the server does by itself it does. */
async function settle(payers) {
  faults.isCalm = true;
  stripe.open();
  await stripe.do("release", { order: "reversed" });
  let left = [], least = Infinity, better = Date.now();
  for (let looks = 1; Date.now() < better + STILL_MS; ++looks) {
    await hurry();
    if (looks > LOOKS) await goBy();
    await until("who was hurried has gone on", () => isBegun(shop), SETTLED_MS);
    left = await wrongs(shop, stripe, payers.all);
    const open = left.length + await count(shop, "sagas", "state IN ('running', 'waiting')");
    if (open === 0) break;
    if (open < least || looks <= LOOKS + 1) [least, better] = [open, Date.now()]; // whose goods are held waits for that time
  }
  await assertAccounts(shop, stripe, faults, payers.all);
  assert.deepEqual(await parked(), [], "without hands");
  await assertSettled(shop, MINUTE);
  faults.isCalm = false;
}

/** Flows that only people go on with, and what became of their tries. */
const parked = () => query(shop, `SELECT s.name, s.aggregate, s.error, GROUP_CONCAT(e.type, ' ', TIME(e.at), ' ', e.data ORDER BY e.id SEPARATOR ' | ')
  FROM sagas s LEFT JOIN saga_events e ON e.saga_id = s.id WHERE s.state = 'parked' GROUP BY s.id`);

function tell(t, payers, began) {
  const ways = {};
  for (const { end } of payers.all) ways[end] = (ways[end] ?? 0) + 1;
  t.diagnostic(`${payers.all.length} carts ${JSON.stringify(ways)}, ${payers.cancelled} cancelled, ${faults.count} faults, ` +
    `webhooks ${JSON.stringify(relay.statuses)}, ${Math.round((Date.now() - began) / 1000)} s`);
}

/** Old events come again while others buy, as they came and as a thief has them. */
async function replay(payers, pick) {
  let isOver = false;
  payers.done.catch(() => {}).finally(() => (isOver = true));
  while (!isOver) {
    const { deliveries } = stripe.webhooks, come = payers.all.length + EVERY;
    await until("others have come", () => isOver || payers.all.length >= come && deliveries.length > 0, TIMEOUT);
    if (isOver) return;
    await stripe.do("replay", { event: deliveries[pick(deliveries.length)].event, original: pick(2) === 0 });
  }
}

describe("fifty shoppers who pay by Stripe", () => {
  it("pay once for what they have, to the cent, whatever is lost on the way", { timeout: TIMEOUT }, async (t) => {
    t.diagnostic(`SEED=${SEED} MONEY_CHECKOUTS=${CHECKOUTS}`);
    const began = Date.now();
    const payers = new Payers(shop, stripe, faults, { seed: SEED, shoppers: SHOPPERS, most: CHECKOUTS });
    const old = replay(payers, random(SEED));
    await payers.done;
    await old;
    tell(t, payers, began);
    await settle(payers);
    assert.ok(payers.orders > CHECKOUTS / 3 && faults.count > CHECKOUTS / 10, "there was something to be lost");
    t.diagnostic(`settled after ${Math.round((Date.now() - began) / 1000)} s`);
  });

  it("and whoever dies meanwhile", { timeout: 10 * MINUTE }, async (t) => {
    t.diagnostic(`SEED=${SEED}`);
    const began = Date.now();
    const payers = new Payers(shop, stripe, faults, { seed: SEED + 1, shoppers: MOURNERS, isPaced: true });
    try {
      for (const point of POINTS) await meet(payers, point);
      for (const [operation, side] of [["create", "after"], ["confirm", "before"], ["confirm", "after"], ["capture", "after"], ["refund", "after"]])
        await killWhile(payers, operation, side);
      await loseRedis(payers);
    } finally {
      payers.isOver = true;
    }
    await payers.done;
    tell(t, payers, began);
    await settle(payers);
  });
});

const meanwhile = (payers, what, condition) => Promise.race([payers.done.then(() => assert.fail("nobody buys any more")), until(what, condition, MINUTE)]);

const isWhole = (payers) => meanwhile(payers, "all workers are there", async () => {
  const all = await workers(shop).catch(() => []);
  return all.length === 3 && all.every((one) => one.state === "ready");
});

/** Somebody dies at this point. */
async function meet(payers, point) {
  const armed = await control(shop, `fault ${point}=1`);
  assert.ok(armed.ok, armed.error);
  await meanwhile(payers, point, async () => {
    const now = await control(shop, "faults").catch(() => ({ faults: [] }));
    return now.faults.find((one) => one.name === point)?.left === 0;
  });
  await isWhole(payers);
}

/** The call that it is done to. */
async function once(payers, operation, rule) {
  let call;
  faults.once(operation, rule).then((one) => (call = one));
  return meanwhile(payers, `Stripe is asked for a ${operation}`, () => call);
}

/** All workers die while Stripe is at it, before or after it did it: nobody hears the answer. */
async function killWhile(payers, operation, side) {
  const call = await once(payers, operation, { hold: side });
  await meanwhile(payers, "it is held", () => stripe.held > 0);
  assert.ok(call.path);
  for (const { pid } of await workers(shop)) if (pid > 0) process.kill(pid, "SIGKILL"); // 0: it is being replaced, and we would be meant
  stripe.open();
  await isWhole(payers);
}

/** Redis is gone when the money is taken. */
async function loseRedis(payers) {
  await once(payers, "confirm", { hold: "after" });
  const pid = serverOf(shop, "redis-server");
  process.kill(pid, "SIGKILL");
  stripe.open();
  await meanwhile(payers, "another Redis runs", () => {
    try {
      return serverOf(shop, "redis-server") !== pid;
    } catch {
      return false;
    }
  });
  const placed = payers.orders;
  await meanwhile(payers, "orders are placed again", () => payers.orders > placed + MOURNERS);
}

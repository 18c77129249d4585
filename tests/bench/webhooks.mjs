// Webhooks of Stripe, verified and applied through HTTP, with the database on the same cores: each event is signed as Stripe signs,
// of a payment of its own that was made beforehand, and something is to be booked for each. Half tell of an authorization that was
// captured at Stripe, half of a part that was given back there. The time is that from the first request to the last row that is
// `applied`; the jobs worker asks Stripe about each of them meanwhile.
//
// The provider runs on the same cores too, and would not: so what he sends is signed beforehand, and what he answers is what the
// double answered to the same questions before (lib/stripe.mjs). How much CPU both take all the same is told beside it.
//
// Two orders are bought through the shop's own interface; the others are copies of them in its tables, under other ids.
import { createHmac, randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { query, value } from "../flow/support/db.mjs";
import { cpuOf, difference } from "./lib/processes.mjs";
import { measure, run } from "./lib/load.mjs";
import { ROOT } from "./lib/ground.mjs";
import { Client, readyCart, statusOf, STRIPE } from "./lib/shop.mjs";
import { startDouble } from "./lib/stripe.mjs";

const SECRET = "whsec_of_the_bench", CONNECTIONS = 32, EVENTS = 2000, AT_ONCE = 500;
const KINDS = ["captured", "refunded"];
const LOOK_MS = 250, MOST_LOOKS = 400; // each look takes a process of its own
const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
let count = 0;

async function buy(client, variant) {
  const at = await readyCart(client, variant, STRIPE);
  const { order } = await client.ask("POST", `${at}/complete`, {}, { "idempotency-key": `bench-${at}` });
  return order;
}

/** One order that waits for its money, and one that has it: { captured: hex of its id, refunded: … }. */
async function models(running) {
  const client = new Client({ ...running.dev, ca: running.ca }), staff = new Client({ ...running.dev, ca: running.ca, store_key: running.dev.admin_key });
  const { data: [product] } = await client.ask("GET", "/store/v1/products?limit=1");
  const [variant] = (await client.ask("GET", `/store/v1/products/${product.id}`)).product.variants;
  await staff.ask("POST", `/admin/v1/inventory/${encodeURIComponent(variant.sku)}/adjustments`, { set_to: 1000, reason: "bench" }, { "idempotency-key": `bench-stock-${process.pid}` });
  const waits = await buy(client, variant.id), paid = await buy(client, variant.id);
  const ids = async ({ number }) => (await query(running, `SELECT HEX(o.id), HEX(p.id) FROM orders o JOIN payments p ON p.order_id = o.id WHERE o.number = ${number}`))[0];
  const [captured] = await ids(waits), [refunded, payment] = await ids(paid);
  await staff.ask("POST", `/admin/v1/payments/pay_${ulid(payment)}/capture`, {}, { "idempotency-key": `bench-capture-${process.pid}` });
  client.close();
  staff.close();
  return { captured, refunded, amount: paid.total.amount };
}

function ulid(hex) {
  let text = "";
  for (let left = BigInt(`0x${hex}`), i = 0; i < 26; i++, left >>= 5n) text = ALPHABET[Number(left & 31n)] + text;
  return text;
}

function newId() {
  const hex = (BigInt(Date.now()) << 80n | BigInt(`0x${randomBytes(10).toString("hex")}`)).toString(16).padStart(32, "0").toUpperCase();
  return { hex, text: ulid(hex) };
}

const COPIES = {
  orders: { id: "c.order_id", cart_id: "NULL" }, // as an imported one: the log of stock knows of no sale to its cart
  order_lines: { id: "UNHEX(MD5(CONCAT(t.id, c.order_id)))", order_id: "c.order_id" },
  payments: { id: "c.payment_id", cart_id: "c.cart_id", order_id: "c.order_id", idem_key: "c.idem_key", provider_ref: "c.ref" },
  payment_events: { payment_id: "c.payment_id", reference: "IF(t.kind = 'captured', c.charge, t.reference)" },
  ledger_entries: { transaction_id: "UNHEX(MD5(CONCAT(t.transaction_id, c.order_id)))", order_id: "c.order_id", payment_id: "IF(t.payment_id IS NULL, NULL, c.payment_id)" },
};
const NUMBERED = { orders: "number", ledger_entries: "id" };

/** Statements that make a copy of the model's rows for each row of `bench_copies`. */
async function copying(running) {
  const out = [];
  for (const [table, other] of Object.entries(COPIES)) {
    const columns = (await query(running, `SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = '${table}'
      AND generation_expression IS NULL`)).map(([name]) => name).filter((name) => name !== NUMBERED[table]);
    const of = { orders: "t.id = c.model", payments: "t.order_id = c.model", payment_events: "t.payment_id = (SELECT p.id FROM payments p WHERE p.order_id = c.model)" }[table] ?? "t.order_id = c.model";
    out.push(`INSERT INTO ${table} (${columns.join(", ")}) SELECT ${columns.map((name) => other[name] ?? `t.${name}`).join(", ")} FROM bench_copies c JOIN ${table} t ON ${of};`);
  }
  return out.join("\n");
}

const BEGIN = `CREATE TEMPORARY TABLE bench_copies (model BINARY(16), order_id BINARY(16), payment_id BINARY(16), cart_id BINARY(16), ref VARCHAR(191), charge VARCHAR(191),
  idem_key VARCHAR(64) CHARACTER SET ascii);`;

/** What the shop will ask of it, as plugins/payment-stripe/webhook.lua does. */
function question(ref, ends) {
  const expand = ["latest_charge", "latest_charge.balance_transaction", ...(ends === "refunded" ? ["latest_charge.refunds"] : [])];
  return `/v1/payment_intents/${ref}?${expand.map((one, i) => `expand%5B${i}%5D=${one}`).join("&")}`;
}

/** Payments here and at Stripe, and of each its event and what will be asked. */
async function makeEvents(running, stripe, bench) {
  const wanted = Array.from({ length: AT_ONCE }, () => {
    const ends = KINDS[count++ % KINDS.length], order = newId(), payment = newId(), cart = newId();
    return { ends, order, payment, cart };
  });
  const made = await stripe.pay(wanted.map((one) => ({ payment: `pay_${one.payment.text}`, cart: `cart_${one.cart.text}`, amount: bench.models.amount, currency: "gbp", ends: one.ends })));
  const rows = wanted.map((one, i) => `(UNHEX('${bench.models[one.ends]}'), UNHEX('${one.order.hex}'), UNHEX('${one.payment.hex}'), UNHEX('${one.cart.hex}'), '${made[i].ref}', '${made[i].charge}', 'pay_${one.payment.text}')`);
  await query(running, `${BEGIN}\nINSERT INTO bench_copies VALUES ${rows.join(",")};\n${bench.copying}`);
  return made.map(({ body, ref }, i) => ({ body, path: question(ref, wanted[i].ends) }));
}

function signed(body) {
  const at = Math.floor(Date.now() / 1000);
  return `t=${at},v1=${createHmac("sha256", SECRET).update(`${at}.${body}`).digest("hex")}\t${body}`;
}

async function send(bench, shop, bodies) {
  const file = path.join(bench.dir, "events.txt");
  fs.writeFileSync(file, bodies.map(signed).join("\n"));
  const { stdout, stderr } = await run("wrk", ["-t1", `-c${CONNECTIONS}`, "-d600", "-s", path.join(ROOT, "tests/bench/webhooks.lua"), shop.dev.url, "--", file],
    { maxBuffer: 1 << 24 });
  if (stderr) console.log(stderr.slice(0, 1000));
  const got = JSON.parse(stdout.trim().split("\n").at(-1));
  for (let looks = 0; (await value(shop, "SELECT COUNT(*) FROM webhook_events WHERE state = 'received'")) !== "0"; looks++) {
    if (looks === MOST_LOOKS) throw new Error("not all of them are applied");
    await sleep(LOOK_MS);
  }
  const [[last, left]] = await query(shop, `SELECT 1000 * UNIX_TIMESTAMP(MAX(applied_at)), SUM(state <> 'applied') FROM webhook_events`);
  return { ...got, failed: got.failed + Number(left), seconds: (Number(last) - got.begun_ms) / 1000, taken: got.seconds };
}

/** A shop with its provider: { round() -> figures of one event, stop() }. */
export async function open(bench) {
  const stripe = await startDouble();
  const options = { secret_key: stripe.key, base_url: stripe.url, webhook_secret: SECRET, return_url: "https://shop.example/{cart}", capture: "later" };
  const running = await bench.startShop(["--no-demo", ...Object.entries(options).flatMap(([name, one]) => ["--set", `plugins.payment-stripe.${name}=${one}`])]);
  const made = { models: await models(running), copying: await copying(running) };
  return { running, stop: async () => {
    await running.stop();
    stripe.stop();
  }, round: async () => {
    const events = [];
    while (events.length < EVENTS) events.push(...await makeEvents(running, stripe, made));
    await stripe.prepare(events.map(({ path: one }) => one));
    const before = cpuOf([stripe.pid]), asked = await statusOf(running.dev);
    const got = await measure([running.process.pid], () => send(bench, running, events.map(({ body }) => body)));
    if (got.failed) console.log(`    ${got.failed} FAILED`);
    const unasked = await stripe.prepare([]), now = await statusOf(running.dev);
    if (unasked) console.log(`    ${unasked} prepared answers of Stripe's were not asked for`);
    return { rate: got.count / got.seconds, taken: got.count / got.taken, cpu: got.cpu / got.count, database: got.parts.mariadb / got.count,
      provider: (difference(cpuOf([stripe.pid]), before).all + got.sender_us) / got.count,
      statements: (now.Com_stmt_execute - asked.Com_stmt_execute) / got.count, commits: (now.Com_commit - asked.Com_commit) / got.count };
  } };
}

export default async function (bench) {
  const shop = await open(bench), rounds = [];
  try {
    await shop.round(); // to warm up
    while (rounds.length < bench.rounds) rounds.push(await shop.round());
  } finally {
    await shop.stop();
  }
  const all = (name) => rounds.map((one) => one[name]);
  bench.spread("webhooks verified and applied", all("rate"), "/s", { least: 1000 });
  bench.spread("  verified and in the inbox", all("taken"), "/s");
  bench.spread("  CPU of each, database among it", all("cpu"), "us");
  bench.spread("    the database's part", all("database"), "us");
  bench.spread("  statements that were sent for each", all("statements"), "");
  bench.spread("  transactions of several statements", all("commits"), "");
  bench.spread("  CPU of the provider beside it", all("provider"), "us");
}

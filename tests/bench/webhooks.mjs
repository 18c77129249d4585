// Webhooks of Stripe, verified and applied through HTTP, with the database and Stripe's double on the same cores: each event is
// signed as Stripe signs, of a payment of its own that was made beforehand, and something is to be booked for each. Half tell of an
// authorization that was captured at Stripe, half of a part that was given back there. The time is that from the first request
// to the last row that is `applied`; the jobs worker asks the double about each of them meanwhile.
//
// Two orders are bought through the shop's own interface; the others are copies of them in its tables, under other ids.
import { createHmac, randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { query, value } from "../flow/support/db.mjs";
import { cpuOf, difference } from "./lib/processes.mjs";
import { measure, run } from "./lib/load.mjs";
import { ROOT, until } from "./lib/ground.mjs";
import { Client, readyCart, statusOf, STRIPE } from "./lib/shop.mjs";
import { startDouble } from "./lib/stripe.mjs";

const SECRET = "whsec_of_the_bench", CONNECTIONS = 16, EVENTS = 1000, AT_ONCE = 500;
const KINDS = ["captured", "refunded"];
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
  orders: { id: "c.order_id", cart_id: "c.cart_id" },
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

/** Payments here and at Stripe, and the event of each. */
async function makeEvents(running, stripe, bench) {
  const wanted = Array.from({ length: AT_ONCE }, () => {
    const ends = KINDS[count++ % KINDS.length], order = newId(), payment = newId(), cart = newId();
    return { ends, order, payment, cart };
  });
  const made = await stripe.pay(wanted.map((one) => ({ payment: `pay_${one.payment.text}`, cart: `cart_${one.cart.text}`, amount: bench.models.amount, currency: "gbp", ends: one.ends })));
  const rows = wanted.map((one, i) => `(UNHEX('${bench.models[one.ends]}'), UNHEX('${one.order.hex}'), UNHEX('${one.payment.hex}'), UNHEX('${one.cart.hex}'), '${made[i].ref}', '${made[i].charge}', 'pay_${one.payment.text}')`);
  await query(running, `${BEGIN}\nINSERT INTO bench_copies VALUES ${rows.join(",")};\n${bench.copying}`);
  return made.map(({ body }) => body);
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
  await until("all of them are applied", async () => (await value(shop, "SELECT COUNT(*) FROM webhook_events WHERE state = 'received'")) === "0", 600_000);
  const [[last, left]] = await query(shop, `SELECT 1000 * UNIX_TIMESTAMP(MAX(applied_at)), SUM(state <> 'applied') FROM webhook_events`);
  return { ...got, failed: got.failed + Number(left), seconds: (Number(last) - got.begun_ms) / 1000, taken: got.seconds };
}

export default async function (bench) {
  const stripe = await startDouble();
  const options = { secret_key: stripe.key, base_url: stripe.url, webhook_secret: SECRET, return_url: "https://shop.example/{cart}", capture: "later" };
  const running = await bench.startShop(["--no-demo", ...Object.entries(options).flatMap(([name, one]) => ["--set", `plugins.payment-stripe.${name}=${one}`])]);
  try {
    const all = { rate: [], taken: [], cpu: [], database: [], double: [], statements: [], commits: [] };
    const made = { models: await models(running), copying: await copying(running) };
    for (let round = -1; round < bench.rounds; round++) {
      const bodies = [];
      while (bodies.length < EVENTS) bodies.push(...await makeEvents(running, stripe, made));
      const before = cpuOf([stripe.pid]), asked = await statusOf(running.dev);
      const got = await measure([running.process.pid], () => send(bench, running, bodies));
      if (got.failed) console.log(`    ${got.failed} FAILED`);
      if (round < 0) continue; // to warm up
      const now = await statusOf(running.dev);
      all.statements.push((now.Com_stmt_execute - asked.Com_stmt_execute) / got.count);
      all.commits.push((now.Com_commit - asked.Com_commit) / got.count);
      all.rate.push(got.count / got.seconds);
      all.taken.push(got.count / got.taken);
      all.cpu.push(got.cpu / got.count);
      all.database.push(got.parts.mariadb / got.count);
      all.double.push(difference(cpuOf([stripe.pid]), before).all / got.count);
    }
    bench.spread("webhooks verified and applied", all.rate, "/s", { least: 1000 });
    bench.spread("  verified and in the inbox", all.taken, "/s");
    bench.spread("  CPU of each, database among it", all.cpu, "us");
    bench.spread("    the database's part", all.database, "us");
    bench.spread("  statements that were sent for each", all.statements, "");
    bench.spread("  transactions of several statements", all.commits, "");
    bench.spread("  CPU of Stripe's double beside it", all.double, "us");
  } finally {
    await running.stop();
    stripe.stop();
  }
}

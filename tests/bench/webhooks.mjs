// Webhooks of Stripe, verified and applied through HTTP: each an event of its own, signed as Stripe signs, with the database on the
// same cores.
import { createHmac } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { measure, run } from "./lib/load.mjs";
import { ROOT } from "./lib/ground.mjs";

const SECRET = "whsec_of_the_bench", CONNECTIONS = 16, EVENTS = 4000;
const BODY = JSON.parse(fs.readFileSync(path.join(ROOT, "tests/fuzz/corpus/json/stripe_refund"), "utf8"));
let count = 0;

/** Lines of signature, tab, body: no two of one id. */
function events() {
  const at = Math.floor(Date.now() / 1000);
  return Array.from({ length: EVENTS }, () => {
    const body = JSON.stringify({ ...BODY, id: `evt_bench${String(++count).padStart(8, "0")}`, created: at });
    return `t=${at},v1=${createHmac("sha256", SECRET).update(`${at}.${body}`).digest("hex")}\t${body}`;
  }).join("\n");
}

async function send(bench, shop) {
  const file = path.join(bench.dir, "events.txt");
  fs.writeFileSync(file, events());
  const { stdout, stderr } = await run("wrk", ["-t1", `-c${CONNECTIONS}`, "-d600", "-s", path.join(ROOT, "tests/bench/webhooks.lua"), shop.url, "--", file],
    { maxBuffer: 1 << 24 });
  if (stderr) console.log(stderr.slice(0, 1000));
  return JSON.parse(stdout.trim().split("\n").at(-1));
}

export default async function (bench) {
  const options = { secret_key: "sk_test_bench", base_url: "http://127.0.0.1:1", webhook_secret: SECRET, return_url: "https://shop.example/{cart}" };
  const running = await bench.startShop(["--no-demo", ...Object.entries(options).flatMap(([name, one]) => ["--set", `plugins.payment-stripe.${name}=${one}`])]);
  const shop = { ...running.dev, roots: [running.process.pid] };
  try {
    const rates = [], cpu = [];
    for (let round = 0; round < bench.rounds; round++) {
      const got = await measure(shop.roots, () => send(bench, shop));
      if (got.failed) console.log(`    ${got.failed} FAILED`);
      rates.push(got.count / got.seconds);
      cpu.push(got.cpu / got.count);
    }
    bench.spread("webhooks verified and applied", rates, "/s", { least: 1000 });
    bench.spread("  CPU of each, database among it", cpu, "us");
  } finally {
    await running.stop();
  }
}

// Stripe's double in a process of its own: what it is at must not keep a client waiting that runs here.
//
//   const stripe = await startDouble();        stripe.url, stripe.pid
//   await stripe.pay([{ payment, cart, amount, currency, ends }, …]) -> [{ ref, charge, body }, …]
//        a PaymentIntent of each: `ends` captured at Stripe ("captured") or given back in part ("refunded"); `body` is the event
//        that tells of the last of it, as Stripe would send it
//   stripe.stop()
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const FILE = fileURLToPath(import.meta.url);

export async function startDouble() {
  const child = fork(FILE, ["serve"], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const next = async () => (await once(child, "message"))[0];
  const { url, key } = await next();
  return { url, key, pid: child.pid, stop: () => child.kill(), pay: async (list) => {
    child.send(list);
    return next();
  } };
}

const TOLD = { captured: "payment_intent.succeeded", refunded: "charge.refunded" };

function payOne({ world, intents, refunds }, { payment, cart, amount, currency, ends }) {
  const params = { amount, currency, payment_method: "pm_card_visa", payment_method_types: ["card"], confirm: true, capture_method: "automatic",
    metadata: { payment, cart } };
  const events = [], onEvent = world.onEvent;
  world.onEvent = (event) => events.push(event);
  const made = intents["POST /v1/payment_intents"]({ world, params, script: {} });
  if (ends === "refunded") refunds["POST /v1/refunds"]({ world, params: { payment_intent: made.id, amount: 100 }, script: {} });
  world.onEvent = onEvent;
  const told = events.findLast((event) => event.type === TOLD[ends]);
  for (const event of events) {
    if (event !== told) world.remove(event.id); // nor is it there to be polled for: the shop would have been told of it long ago
  }
  return { ref: made.id, charge: made.latest_charge, body: JSON.stringify(told) };
}

async function serve() {
  const at = (name) => import(new URL(`../../doubles/stripe/${name}.mjs`, import.meta.url));
  const [{ StripeDouble }, { intents }, { refunds }] = await Promise.all(["double", "intents", "refunds"].map(at));
  const double = await StripeDouble.start();
  process.on("message", (list) => process.send(list.map((one) => payOne({ world: double.world, intents, refunds }, one))));
  process.on("disconnect", () => process.exit());
  process.send({ url: double.url, key: double.key });
}

if (process.argv[2] === "serve") await serve();

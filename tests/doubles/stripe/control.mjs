// The double's own controls, in process and below /_double/: what the world outside of the API does (the shopper at his
// bank, the banks, the time), what was sent, and the script.
//
// POST bodies are JSON; every answer is JSON but the two pages that shoppers see.
import { act, settle } from "./confirm.mjs";
import { decide, failRefund, settleRefund } from "./refunds.mjs";
import { finishSetup } from "./people.mjs";
import { pay } from "./checkout.mjs";
import { autoPayout, endPayout } from "./payouts.mjs";
import { StripeError } from "./errors.mjs";

/** The shopper's answer at his bank, for a PaymentIntent or a SetupIntent. */
export function confirmAtBank(world, id, isApproved) {
  const setup = world.find("setup_intent", id);
  return setup ? finishSetup(world, setup, isApproved) : act(world, world.get("payment_intent", id), isApproved);
}

const ACTIONS = {
  script(double, { requests = [], events = [], clear }) {
    if (clear) double.script.clear();
    double.script.on(...requests);
    double.script.onEvent(...events);
    return {};
  },
  endpoint: (double, { url, ...options }) => double.endpoint(url, options),
  open: (double) => double.open() ?? {},
  release: async (double, options) => ({ sent: await double.webhooks.release(options) }),
  replay: async (double, { event, ...options }) => (await double.webhooks.replay(event, options)) && {},
  rotate: (double, { endpoint }) => ({ secret: double.webhooks.rotate(endpoint) }),
  retire: (double, { endpoint }) => double.webhooks.retire(endpoint) ?? {},
  advance: (double, { seconds }) => double.advance(seconds) ?? {},
  act: (double, { id, approved }) => confirmAtBank(double.world, id, approved),
  settle: (double, { id, decline }) => settle(double.world, double.world.get("payment_intent", id), decline),
  dispute: (double, { charge, ...options }) => double.world.dispute(double.world.get("charge", charge), options),
  decide: (double, { dispute, won }) => decide(double.world, double.world.get("dispute", dispute), won),
  fail_refund: (double, { refund, reason }) => failRefund(double.world, double.world.get("refund", refund), reason),
  settle_refund: (double, { refund }) => settleRefund(double.world, double.world.get("refund", refund)),
  payout: (double, options) => autoPayout(double.world, options),
  end_payout: (double, { payout, ...how }) => endPayout(double.world, double.world.get("payout", payout), how),
  pay: (double, { session, payment_method }) => pay(double.world, double.world.get("checkout.session", session), payment_method),
};

const VIEWS = {
  calls: (double) => double.calls.map(({ method, path, params, key, status }) => ({ method, path, params, key, status })),
  violations: (double) => double.violations,
  deliveries: (double) => double.webhooks.deliveries,
  books: (double) => double.world.books.entries,
  taken: (double, query) => double.taken(Object.fromEntries(new URLSearchParams(query))),
};

/** `double.do("act", { id, approved: true })`, and `double.do("dispute", …)`: each tells what it became. */
export function perform(double, name, options = {}) {
  if (!Object.hasOwn(ACTIONS, name)) throw new Error(`the double cannot ${name}; it can ${Object.keys(ACTIONS).join(", ")}`);
  return ACTIONS[name](double, options);
}

const PAGES = { "3ds": "approved", checkout: "payment_method" };

function page(answer, what) {
  const button = (value) => `<button name="${PAGES[what]}" value="${value}">${value}</button>`;
  const choices = what === "3ds" ? ["true", "false"] : ["pm_card_visa", "pm_card_visa_chargeDeclined"];
  answer.writeHead(200, { "content-type": "text/html" }).end(`<!doctype html><title>${what}</title><form method="post">${choices.map(button).join("")}</form>`);
}

function shopper(double, what, id, text) {
  const given = new URLSearchParams(text).get(PAGES[what]);
  if (what === "checkout") {
    const session = double.world.get("checkout.session", id);
    pay(double.world, session, given);
    return session.success_url.replaceAll("{CHECKOUT_SESSION_ID}", id);
  }
  const before = double.world.get(id.startsWith("seti_") ? "setup_intent" : "payment_intent", id);
  const back = before.next_action?.redirect_to_url?.return_url;
  const after = confirmAtBank(double.world, id, given === "true");
  const query = new URLSearchParams({ payment_intent: id, payment_intent_client_secret: after.client_secret,
    redirect_status: after.status === "requires_payment_method" ? "failed" : "succeeded" });
  return back && `${back}${back.includes("?") ? "&" : "?"}${query}`;
}

const json = (answer, status, body) => answer.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));

export async function control(double, call, answer) {
  const [, , name, id] = call.path.split("/");
  try {
    if (Object.hasOwn(PAGES, name) && call.method === "GET") return page(answer, name);
    if (Object.hasOwn(PAGES, name)) {
      const back = shopper(double, name, id, call.text);
      return answer.writeHead(back ? 303 : 200, back ? { location: back } : {}).end();
    }
    if (call.method === "GET" && Object.hasOwn(VIEWS, name)) return json(answer, 200, VIEWS[name](double, call.query));
    if (call.method !== "POST") return json(answer, 404, { error: `there is no ${call.method} ${call.path}` });
    json(answer, 200, (await perform(double, name, call.text ? JSON.parse(call.text) : {})) ?? {});
  } catch (error) {
    json(answer, error instanceof StripeError ? error.status : 400, { error: error.message });
  }
}

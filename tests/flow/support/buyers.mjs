// Many who buy at once, each over a connection of his own.
import http2 from "node:http2";
import { idem, newKey, until } from "./shop.mjs";
import { assertOk } from "./checks.mjs";

export const many = (n, fn) => Promise.all(Array.from({ length: n }, (_, i) => fn(i)));

/** client(): a connection of its own for each, so that all workers get some; close() ends them. */
export function buyersOf(shop) {
  const sessions = [];
  return {
    client() {
      const session = http2.connect(shop.dev.url, { ca: shop.ca });
      session.on("error", () => {});
      sessions.push(session);
      return (method, target, options = {}) => shop.h2(method, `/store/v1${target}`, { ...options, session });
    },
    stockOf: async (sku) => assertOk(await shop.admin("GET", `/inventory/${encodeURIComponent(sku)}`), 200).inventory,
    close: () => sessions.forEach((session) => session.destroy()),
  };
}

export const session = (ask, cart, body = { provider: "manual" }) => ask("POST", `/carts/${cart.id}/payment-sessions`, { body });
export const complete = (ask, cart, key) => ask("POST", `/carts/${cart.id}/complete`, { headers: idem(key), body: {} });

/** Repeats what the server asks to be repeated. */
export async function settled(ask) {
  let answer;
  await until("an answer that is final", async () => {
    answer = await ask();
    return answer.status !== 202 && answer.status !== 503 &&
      !["completion_in_progress", "idempotency_in_flight", "busy"].includes(answer.body?.code);
  }, 60_000);
  return answer;
}

/** Pays and completes, whatever has to be repeated: the answer that ended it. */
export async function purchase(ask, cart) {
  const held = await settled(() => session(ask, cart));
  if (held.status !== 201) return held;
  const key = newKey();
  return settled(() => complete(ask, cart, key));
}

/** Of many answers: those with an order, and the codes of the refused ones. */
export function sorted(answers) {
  const orders = answers.filter((a) => a.body.type === "order").map((a) => a.body.order);
  const codes = answers.filter((a) => a.body.type !== "order").map((a) => a.body.error?.code ?? a.body.code);
  return { orders, codes };
}

// Shoppers who pay by Stripe, each cart in a way of its own: once, twice at the same moment, under the same key after a broken
// connection, under a new one, by another card, after a visit to the bank or never again; and staff who cancel what they bought.
//
//   const payers = new Payers(shop, stripe, faults, { seed, shoppers: 50, most: 200 })
//                                isPaced: most who have bought wait for their money to be taken, so that it can be refunded
//                                and that no more is bought than is followed
//   await payers.done            all have their last answer; or `payers.isOver = true` to have them end
//   payers.all                   of each cart: { id, number, way, card, told, end, order }
import assert from "node:assert/strict";
import { ADDRESS, idem, makeProduct, newKey } from "../../flow/support/shop.mjs";
import { assertOk } from "../../flow/support/checks.mjs";
import { many, refusalOf } from "../../flow/support/crowd.mjs";
import { CARDS } from "../../doubles/stripe/cards.mjs";
import { Client } from "./market.mjs";
import { random } from "./random.mjs";

const DECLINED = Object.keys(CARDS).filter((name) => CARDS[name].decline && !CARDS[name].action);
const ASKED = ["pm_card_authenticationRequired", "pm_card_threeDSecure2Required", "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds"];
const WAYS = ["once", "once", "once", "once", "twice", "broken", "new key", "leaves", "changes"];
const AT_BANK = ["approves", "approves", "approves", "refuses", "stays away", "approves and stays away"];
const PRICES = [999, 1000, 2599, 12345];
const MOST_CARDS = 3;
const REFUSALS = ["payment_declined", "payment_requires_action", "cart_incomplete"]; // the last: what he had chosen was let go of
const PATIENCE_MS = 20_000; // of somebody who is told to wait

export class Payers {
  isOver = false;
  all = [];
  orders = 0;
  cancelled = 0;
  #next = 0;

  constructor(shop, stripe, faults, { seed, shoppers, most = Infinity, isPaced = false }) {
    Object.assign(this, { shop, stripe, faults, seed, most, isPaced });
    this.done = this.#run(shoppers);
    this.done.catch(() => {}); // whoever waits for something next is told
  }

  async #run(shoppers) {
    this.variants = [];
    for (const price of PRICES) this.variants.push((await makeProduct(this.shop, { price, stock: 100_000 })).variant.id);
    await many(shoppers, () => this.#shopper());
  }

  async #shopper() {
    const client = new Client(this.shop);
    try {
      while (!this.isOver && this.#next < this.most) await this.#visit(client, this.#next++);
    } catch (error) {
      this.isOver = true;
      throw error;
    } finally {
      client.close();
    }
  }

  async #visit(client, number) {
    const pick = random(this.seed + 7919 * number);
    const card = pick(10) < 6 ? "pm_card_visa" : pick(2) ? ASKED[pick(ASKED.length)] : DECLINED[pick(DECLINED.length)];
    const cart = { number, way: WAYS[pick(WAYS.length)], bank: AT_BANK[pick(AT_BANK.length)], card, isPatient: pick(3) > 0, told: [], order: null };
    const send = (method, target, body, options) => client.insist(method, `/store/v1/carts${target}`, { body, headers: idem(), ...options });
    cart.id = assertOk(await send("POST", "", { currency: "GBP", country: "GB" }), 201).cart.id;
    this.all.push(cart);
    this.faults.of(cart.id, random(this.seed + 7919 * number + 1));
    const variant = this.variants[pick(PRICES.length)];
    assertOk(await send("POST", `/${cart.id}/lines`, { variant_id: variant, quantity: 1 + pick(3) }));
    await this.#address(send, cart);
    assert.ok(await this.#choose(send, cart, card), "the first card is taken up");
    await this.#pay(send, cart, { client, variant });
    if (cart.order && this.isPaced && pick(4) > 0) await this.#captured(client, cart);
    if (cart.order && pick(this.isPaced ? 3 : 6) === 0) await this.#cancel(client, cart);
  }

  async #address(send, cart) {
    const head = { email: `${newKey()}@example.com`, shipping_address: ADDRESS, billing_address: ADDRESS };
    if (!this.shipping) {
      assertOk(await send("PATCH", `/${cart.id}`, head), 200);
      this.shipping = assertOk(await send("GET", `/${cart.id}/shipping-options`), 200).data[0].id;
    }
    assertOk(await send("PATCH", `/${cart.id}`, { ...head, shipping_option_id: this.shipping }), 200);
  }

  async #choose(send, cart, payment_method) {
    const answer = await send("POST", `/${cart.id}/payment-sessions`, { provider: "stripe", data: { payment_method } });
    cart.told.push(`${payment_method}: ${answer.status} ${answer.status === 201 ? "" : refusalOf(answer)}`);
    assert.ok([201, 409].includes(answer.status), `${cart.id}: ${answer.text}`);
    return answer.status === 201;
  }

  /** Until he has what he wants, or enough of it. `end`: "order", "refused" as the last word, or "left": who knows. */
  async #pay(send, cart, { client, variant }) {
    let body = {}, { way } = cart;
    for (let cards = 1; ; ) {
      const answer = await this.#complete(client, send, cart, way, body);
      body = {};
      if (!answer) return (cart.end = "left");
      if (answer.body.type === "order") return this.#ordered(cart, answer.body.order);
      const code = refusalOf(answer);
      assert.ok(REFUSALS.includes(code), `${cart.id} (${cart.way}) is refused without a reason of his: ${answer.status} ${answer.text}`);
      cart.end = "refused";
      if (code === "payment_requires_action") {
        if (!(await this.#bank(cart, answer.body.error.action.url))) return (cart.end = "left");
        body = { data: { returned: true } };
        way = "once";
        continue;
      }
      if (!cart.isPatient || ++cards > MOST_CARDS) return undefined;
      if (way === "changes") {
        const changed = await send("POST", `/${cart.id}/lines`, { variant_id: variant, quantity: 1 });
        cart.told.push(`one more: ${changed.status}`);
      }
      if (!(await this.#choose(send, cart, "pm_card_mastercard"))) return (cart.end = "left");
      cart.end = undefined;
      way = "once";
    }
  }

  #ordered(cart, order) {
    assert.ok(!cart.order || cart.order.id === order.id, `${cart.id}: two orders were told of`);
    if (!cart.order) ++this.orders;
    cart.order = order;
    cart.end = "order";
  }

  async #complete(client, send, cart, way, body) {
    const ask = async (options, by = client) => {
      const end = Date.now() + PATIENCE_MS, leaves = () => Date.now() > end;
      const answer = await by.insist("POST", `/store/v1/carts/${cart.id}/complete`, { body, headers: idem(), leaves, ...options });
      cart.told.push(`complete: ${answer ? `${answer.status} ${answer.body?.type === "order" ? answer.body.order.id : refusalOf(answer)}` : "nothing yet"}`);
      return answer;
    };
    if (way === "leaves") return ask({ leaves: () => true });
    if (way === "new key") {
      const answer = await ask({ leaves: () => true });
      return answer ?? ask({});
    }
    if (way === "twice") {
      const both = await Promise.all([ask({}), ask({})]);
      return both.find((one) => one?.body.type === "order") ?? ask({});
    }
    const headers = idem();
    if (way === "broken") await this.#breakOff(cart, headers, body);
    return ask({ headers });
  }

  /** Goes away as soon as Stripe has heard of him, or is told before. */
  async #breakOff(cart, headers, body) {
    const other = new Client(this.shop), calls = this.stripe.calls.length;
    let isTold = false;
    const asked = other.insist("POST", `/store/v1/carts/${cart.id}/complete`, { body, headers, leaves: () => true })
      .then(() => (isTold = true), () => (isTold = true));
    while (!isTold && !this.stripe.calls.slice(calls).some((call) => call.text.includes(cart.id))) await new Promise((go) => setTimeout(go, 10));
    other.close();
    await asked;
  }

  async #bank(cart, url) {
    cart.told.push(`${cart.bank} at his bank`);
    if (cart.bank !== "stays away") {
      const form = new URLSearchParams({ approved: String(cart.bank.startsWith("approves")) });
      const back = await fetch(url, { method: "POST", body: form, redirect: "manual" });
      await back.arrayBuffer();
    }
    return !cart.bank.endsWith("stays away");
  }

  /** Or the job is late: then he does not wait any more. */
  async #captured(client, cart) {
    const end = Date.now() + PATIENCE_MS;
    for (let status; status !== "captured" && Date.now() < end && !this.isOver; ) {
      await new Promise((go) => setTimeout(go, 200)); // as who looks at a page
      status = (await client.insist("GET", `/admin/v1/orders/${cart.order.id}`, { key: this.shop.dev.admin_key })).body.order?.payment_status;
    }
  }

  async #cancel(client, cart) {
    const done = await client.insist("POST", `/admin/v1/orders/${cart.order.id}/cancel`, { key: this.shop.dev.admin_key, body: {}, headers: idem() });
    cart.told.push(`cancelled: ${done.status}`);
    assert.equal(done.status, 200, done.text);
    cart.isCancelled = true;
    ++this.cancelled;
  }
}

// A shop under way while everything breaks: shoppers who buy what is scarce in every way there is and come again under
// the same key when a connection broke, and staff who send back, refill and change things meanwhile.
//
//   const market = await Market.open(shop, { seed, shoppers: 50 })
//   market.placed                   how many orders shoppers were told of
//   market.act(name)                one act of the merchant: see ACTS
//   await market.close()            all have their last answer
//   await market.assertAsTold()     the tables say what shoppers were told
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { ADDRESS, Line, idem, makeProduct, newKey } from "../../flow/support/shop.mjs";
import { assertOk } from "../../flow/support/checks.mjs";
import { few, isOrder, refusalOf } from "../../flow/support/crowd.mjs";
import { bin, count, idOf, query } from "../../flow/support/db.mjs";
import { random } from "./random.mjs";

const AGAIN = ["completion_in_progress", "idempotency_in_flight", "busy"];
/** What a shopper may be told instead of an order, by the step. */
const REFUSALS = {
  line: ["sold_out", "out_of_stock", "insufficient_stock"],
  code: ["promotion_refused"],
  pay: ["sold_out"],
  complete: ["sold_out", "promotion_refused", "price_changed", "payment_declined", "payment_requires_action"],
};
/** What price_changed leaves, where that answer was lost. */
const OF_OLD_TOTAL = /^the cart comes to another total than its payment was for/;
const PATIENCE_MS = 90_000;
const TOKENS = ["tok_ok", "tok_ok", "tok_ok", "tok_late", "tok_declined"];

/** Somebody with a connection of his own, which is made anew when it broke. */
export class Client {
  constructor(shop) {
    this.shop = shop;
    this.line = new Line(shop);
    this.broken = 0;
  }

  close() {
    this.line.close();
  }

  /**
   * Asks until there is an answer for good: after a broken connection, and after what says that it may be asked again. Of
   * answers that are the server's fault only a 503 that names its time may come, and a 504. `leaves()`: he may go away meanwhile,
   * and gets nothing.
   */
  async insist(method, target, { leaves = () => false, ...options } = {}) {
    const end = Date.now() + PATIENCE_MS;
    for (let last = "nothing"; ; ) {
      const answer = await this.shop.h2(method, target, { ...options, session: this.line.session }).catch((error) => {
        last = error.message;
        this.line.close();
        ++this.broken;
      });
      let pause = 50;
      if (answer) {
        last = `${answer.status} ${answer.text}`;
        if (answer.status === 504) {
          assert.equal(answer.body?.code, "timeout", last); // it may have happened: only the key makes it safe to ask again
        } else if (answer.status >= 500) {
          assert.equal(answer.status, 503, `${method} ${target}: ${last}`);
          assert.ok(Number(answer.headers["retry-after"]) >= 1 && answer.body?.code, `503 says why, and when to come again: ${last}`);
          pause = 300; // sooner than it says: what it says it may mean for many
        } else if (!(answer.status === 202 && /\/(complete|cancel)$/.test(target)) && answer.status !== 429 && !AGAIN.includes(answer.body?.code)) {
          return answer;
        }
      }
      if (leaves(answer)) return null;
      assert.ok(Date.now() < end && !this.shop.exit, `${method} ${target} was never answered; last: ${last}`);
      await new Promise((resolve) => setTimeout(resolve, pause * (0.5 + Math.random())));
    }
  }
}

export class Market {
  static async open(shop, { seed, shoppers, dir }) {
    const market = new Market();
    Object.assign(market, { shop, dir, pick: random(seed), orders: new Map(), answers: [], gone: new Set(), seen: new Set(), carts: 0, refused: {},
      isOver: false, words: 0, cancelled: 0, admin: new Client(shop) });
    await market.#fill();
    market.running = [
      ...Array.from({ length: shoppers }, (_, i) => market.#shopper(random(seed + i + 1))),
      market.#until(() => market.#refill(), new Client(shop)), market.#until((client) => market.#cancel(client), new Client(shop)),
    ];
    market.done = Promise.all(market.running);
    market.done.catch(() => {}); // whoever waits for something next is told
    return market;
  }

  get placed() {
    return this.orders.size;
  }

  ask(method, target, body, { client = this.admin, headers = idem() } = {}) {
    return client.insist(method, `/admin/v1${target}`, { key: this.shop.dev.admin_key, body, headers });
  }

  async #fill() {
    const { shop } = this;
    const made = async (stock) => ({ ...(await makeProduct(shop, { stock })), least: stock });
    this.hot = [await made(12), await made(12)];
    this.spread = await few(8, 4, () => made(6));
    const [pot, cup, jug] = await few(3, 3, (i) => made([8, 24, 6][i]));
    this.bundles = await few(2, 2, () => made(0));
    this.late = await made(2); // backordered
    this.odd = await made(9); // bought by nobody: its sum is made wrong
    this.parts = [pot, cup, jug];
    for (const [i, parts] of [[[pot, 1], [cup, 3]], [[jug, 1], [pot, 1]]].entries())
      assertOk(await this.ask("PUT", `/variants/${this.bundles[i].variant.id}/parts`,
        { parts: parts.map(([part, quantity]) => ({ variant_id: part.variant.id, quantity })) }), 200);
    assertOk(await this.ask("PUT", `/inventory/${this.late.sku}/backorders`, { policy: "backorder", limit: 300 }), 200);
    this.codes = [newKey(), newKey()];
    for (const [i, code] of this.codes.entries()) {
      const usage_limit = [5, 100000][i], terms = { level: "order", type: "percent", value: "20" };
      const made = await this.ask("POST", "/promotions", { code, name: `Code ${i}`, status: "active", usage_limit, terms });
      this.scarce ??= assertOk(made, 201).promotion;
    }
  }

  #wish(pick) {
    const kind = pick(10), lines = [];
    if (kind < 5) lines.push([this.hot[pick(2)], 1]);
    if (kind >= 3 && kind < 8) lines.push([this.spread[pick(8)], 1 + pick(2)]);
    if (kind === 8) lines.push([this.bundles[pick(2)], 1]);
    if (kind === 9) lines.push([this.late, 1]);
    return { lines, code: pick(4) === 0 ? this.codes[pick(3) === 0 ? 0 : 1] : null, isPatient: pick(10) > 0,
      payment: pick(3) === 0 ? { provider: "manual" } : { provider: "test", data: { token: TOKENS[pick(TOKENS.length)] } } };
  }

  async #until(act, client) {
    try {
      while (!this.isOver) await act(client);
    } finally {
      client.close();
    }
  }

  #shopper(pick) {
    return this.#until((client) => this.#visit(client, this.#wish(pick)), new Client(this.shop));
  }

  #refusal(step, answer) {
    const words = answer.body?.error?.detail ?? answer.body?.detail;
    const code = step === "complete" && OF_OLD_TOTAL.test(words) ? "price_changed" : refusalOf(answer);
    assert.ok(REFUSALS[step].includes(code) && words?.length > 0, `${step} is refused without a clear word: ${answer.status} ${answer.text}`);
    this.refused[code] = (this.refused[code] ?? 0) + 1;
  }

  async #visit(client, { lines, code, payment, isPatient }) {
    const store = (method, target, body, options) => client.insist(method, `/store/v1/carts${target}`, { body, headers: idem(), ...options });
    const { cart } = assertOk(await store("POST", "", { currency: "GBP", country: "GB" }), 201);
    ++this.carts;
    for (const [{ variant }, quantity] of lines) {
      const added = await store("POST", `/${cart.id}/lines`, { variant_id: variant.id, quantity });
      if (added.status === 409) return this.#refusal("line", added);
      assertOk(added);
    }
    const head = { email: `${newKey()}@example.com`, shipping_address: ADDRESS, billing_address: ADDRESS };
    if (this.shipping) head.shipping_option_id = this.shipping;
    assertOk(await store("PATCH", `/${cart.id}`, head), 200);
    if (!head.shipping_option_id) {
      const options = assertOk(await store("GET", `/${cart.id}/shipping-options`), 200);
      this.shipping = options.data[0].id;
      assertOk(await store("PATCH", `/${cart.id}`, { shipping_option_id: this.shipping }), 200);
    }
    const reduced = code && await store("POST", `/${cart.id}/promotions`, { code });
    if (reduced && reduced.status !== 200) this.#refusal("code", reduced); // he buys without it
    const held = await store("POST", `/${cart.id}/payment-sessions`, payment);
    if (held.status !== 201) return this.#refusal("pay", held);
    await this.#complete(store, cart, isPatient);
  }

  async #complete(store, cart, isPatient) {
    const headers = idem(), ask = (options) => store("POST", `/${cart.id}/complete`, {}, { headers, ...options });
    const first = await ask({ leaves: () => !isPatient });
    if (!first) return this.gone.add(cart.id); // whatever becomes of it, he does not ask
    if (isOrder(first)) this.orders.set(first.body.order.id, first.body.order);
    else this.#refusal("complete", first);
    if (first.status === 200) this.answers.push({ target: `/store/v1/carts/${cart.id}/complete`, headers, body: first.body });
  }

  // ---- staff --------------------------------------------------------------------------------

  async #refill() {
    if (this.pick(20) === 0) {
      const { headers, body } = await this.ask("GET", `/promotions/${this.scarce.id}`);
      const raised = await this.ask("PATCH", `/promotions/${this.scarce.id}`, { usage_limit: body.promotion.usage_limit + 2 },
        { headers: { "if-match": headers.etag } });
      assert.ok([200, 412].includes(raised.status), raised.text); // his own, of which he lost the answer
    }
    const all = [...this.hot, ...this.spread, ...this.parts, this.late];
    const { sku, least } = all[this.pick(all.length)];
    const { available } = assertOk(await this.ask("GET", `/inventory/${sku}`), 200).inventory;
    if (available < least / 2) assertOk(await this.ask("POST", `/inventory/${sku}/adjustments`, { delta: 1 + least, reason: "received" }), 201);
  }

  /** Cancels an order of those told of, and asks again under the same key. */
  async #cancel(client) {
    const order = [...this.orders.values()].find((o) => !this.seen.has(o.id));
    if (!order) return new Promise((resolve) => setTimeout(resolve, 50));
    this.seen.add(order.id);
    if (this.pick(3) > 0) return undefined;
    const headers = idem(), ask = () => this.ask("POST", `/orders/${order.id}/cancel`, {}, { client, headers });
    const done = assertOk(await ask(), 200);
    assert.deepEqual(assertOk(await ask(), 200), done, "a cancellation is told of again as it was told");
    ++this.cancelled;
    return undefined;
  }

  /** Acts of a merchant, by what the names of faults begin with that only they meet. */
  static ACTS = {
    async generation(market) {
      const folder = path.join(market.dir, "probe-word");
      fs.mkdirSync(folder, { recursive: true });
      fs.writeFileSync(path.join(folder, "plugin.lua"), 'return { name = "probe-word", version = "1.0.0", api = 1, hooks = { "order.placed" } }\n');
      fs.writeFileSync(path.join(folder, "handler.lua"), `return { ["order.placed"] = function() end } -- ${++market.words}\n`);
      await market.shop.cli("reload");
    },
    async rules(market) {
      const text = "return function() return {} end";
      const { rule } = assertOk(await market.ask("POST", "/rules", { name: `nothing${++market.words}`, hook: "promo.evaluate", text }), 201);
      for (const act of ["publish", "unpublish"]) {
        const done = await market.ask("POST", `/rules/${rule.id}/${act}`, { reason: "to see" });
        if (done.status === 409) return assert.match(done.body.detail, /is not live/, done.text); // a worker died of it: said so
        assertOk(done, 200);
      }
      return undefined;
    },
    async reconcile(market) {
      await query(market.shop, `UPDATE stock SET on_hand = on_hand + 1 WHERE variant_id = ${bin(market.odd.variant.id)}`, { force: true });
      assertOk(await market.ask("POST", "/stock-checks", { repairs: true }), 202);
      await market.hurryChecks();
    },
    async sql({ shop }) {
      const busy = await query(shop, "SELECT id FROM information_schema.processlist WHERE user = 'moontill' AND id <> CONNECTION_ID()", { force: true });
      await query(shop, busy.map(([id]) => `KILL CONNECTION ${id};`).join("\n"), { force: true });
    },
  };

  /** A slice that was dropped is another's after a minute; here after a second. */
  hurryChecks() {
    return query(this.shop, "UPDATE stock_checks SET claimed_until = LEAST(claimed_until, UTC_TIMESTAMP(3) + INTERVAL 1 SECOND)", { force: true });
  }

  async close() {
    this.isOver = true;
    await this.done;
  }

  async assertAsTold() {
    const { shop } = this;
    const rows = await query(shop, "SELECT HEX(id), HEX(cart_id) FROM orders WHERE cart_id IS NOT NULL");
    const untold = rows.filter(([id, cart]) => !this.orders.has(idOf("ord", id)) && !this.gone.has(idOf("cart", cart)));
    assert.deepEqual(untold, [], "who came again was told of his order, and who was refused has none");
    assert.equal(rows.filter(([id]) => this.orders.has(idOf("ord", id))).length, this.orders.size, "every order that somebody was told of is there");
    await few(this.answers.length, 16, async (i) => {
      const { target, headers, body } = this.answers[i];
      const again = await this.admin.insist("POST", target, { headers, body: {} });
      if (body.type === "order") return assert.deepEqual(again.body, body, `the same key says the same: ${target}`);
      // the record of a refusal may be lost, for it has no transaction of its own; what is refused once more is refused alike
      return assert.deepEqual([again.body.type, refusalOf(again)], ["cart", body.error.code], `the same key says the same: ${again.text}`);
    });
    assert.equal(await count(shop, "orders", "cart_id IS NOT NULL"), rows.length, "and nothing is bought by asking again");
    this.admin.close();
  }
}

// The number of a payment card has no business here: what holds one is refused, kept nowhere, and no log line shows it.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { ADDRESS, Shop, buy, idem, makeCart, makeProduct, newKey, until } from "./support/shop.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";

const CARD = "4539148803436467"; // Luhn's, of nobody, and in no other file of a shop
const SPELT = ["4539148803436467", "4539 1488 0343 6467", "4539-1488-0343-6467", "4539\u00a01488\u00a00343\u00a06467"];

let shop, variant, cart, order;
before(async () => {
  shop = await Shop.start();
  ({ variant } = await makeProduct(shop, { stock: 50 }));
  cart = await makeCart(shop, variant.id);
  ({ order } = assertOk(await buy(shop, await makeCart(shop, variant.id)), 200));
});
after(() => shop?.stop());

const readLog = () => fs.readFileSync(path.join(shop.dir, "moontill.log"), "utf8");
const readCart = async () => (await shop.store("GET", `/carts/${cart.id}`)).body;

/** The file below `dir` in which the number stands in one of its spellings, or undefined: tables and their logs, Redis', ours. */
function findIn(dir) {
  for (const entry of fs.readdirSync(dir, { withFileTypes: true })) {
    const inside = path.join(dir, entry.name);
    const found = entry.isDirectory() ? findIn(inside)
      : entry.isFile() && SPELT.some((text) => fs.readFileSync(inside).includes(text)) ? inside : undefined;
    if (found) return found;
  }
  return undefined;
}

function assertRefused(answer) {
  const doc = assertProblem(answer, 422, "card_number_refused");
  assert.match(doc.detail, /before byte \d+ looks like the number of a payment card.*token/);
  for (const text of SPELT) assert.ok(!answer.text.includes(text), "the number is told back");
}

describe("a card number in a body", () => {
  const bodies = {
    "as a text": JSON.stringify({ email: CARD }),
    "by fours": JSON.stringify({ shipping_address: { ...ADDRESS, address2: `Card ${SPELT[1]}, 12/27` } }),
    "with dashes": JSON.stringify({ shipping_address: { ...ADDRESS, company: SPELT[2] } }),
    "with blanks that do not break": JSON.stringify({ email: SPELT[3] }),
    "as a number": `{"quantity":${CARD}}`,
    "as a key": `{"${CARD}":1}`,
    "behind escapes": String.raw`{"email":"\u0034539\u00201488 0343-6467"}`,
    "where nothing is known": JSON.stringify({ made: { up: [[{ deep: CARD }]] } }),
  };
  for (const [name, body] of Object.entries(bodies)) {
    it(`is refused ${name}, over both protocols`, async () => {
      const seen = await readCart();
      for (const protocol of ["h2", "h1"])
        assertRefused(await shop[protocol]("PATCH", `/store/v1/carts/${cart.id}`, { body }));
      assert.deepEqual(await readCart(), seen, "a refused request changed the cart");
    });
  }

  it("is refused as what a shopper gives for the provider, who then pays with the same key", async () => {
    const mine = await makeCart(shop, variant.id);
    assertRefused(await shop.store("POST", `/carts/${mine.id}/payment-sessions`,
      { headers: idem(), body: { provider: "manual", data: { number: CARD, cvc: "123" } } }));
    const key = newKey();
    assertRefused(await shop.store("POST", `/carts/${mine.id}/complete`, { headers: idem(key), body: { data: { number: CARD } } }));
    assertOk(await buy(shop, mine, { key }), 200);
  });

  it("is refused as the key of a request, which would be kept", async () => {
    for (const key of [SPELT[0], SPELT[2], `"${CARD}"`]) {
      const answer = await shop.store("POST", `/carts/${cart.id}/complete`, { headers: idem(key), body: {} });
      assert.match(assertProblem(answer, 422, "card_number_refused").detail, /Idempotency-Key/);
      for (const text of SPELT) assert.ok(!answer.text.includes(text), "the number is told back");
    }
  });

  it("is refused of staff, too", async () => {
    const notes = `/orders/${order.id}/notes`;
    assertRefused(await shop.admin("POST", notes, { headers: idem(), body: { text: `rang up, ${SPELT[1]}` } }));
  });

  it("is refused of whom nobody knows only after 401", async () => {
    assertProblem(await shop.h2("POST", `/admin/v1/orders/${order.id}/notes`, { key: null, headers: idem(), body: { text: CARD } }), 401, "unauthorized");
  });

  it("may be any other number", async () => {
    for (const address2 of ["4539148803436468", "4006381333931", "GB29 NWBK 6016 1331 9268 19", "550e8400-e29b-41d4-a716-446655440000", "ref_4111111111111111"])
      assertOk(await shop.store("PATCH", `/carts/${cart.id}`, { body: { shipping_address: { ...ADDRESS, address2, phone: "+592 600-1234" } } }), 200);
  });

  it("is kept nowhere", async () => {
    await until("the last request is logged", () => readLog().includes(`/notes","route"`));
    assert.equal(findIn(shop.dir), undefined);
    for (const text of SPELT) assert.ok(!shop.log.includes(text), "it was told on the terminal");
  });
});

describe("a card number in a path", () => {
  it("is masked in the log, and the line is JSON still", async () => {
    for (const text of [CARD, "4539%201488%200343%206467"])
      await shop.store("GET", `/products/${text}`);
    const lines = await until("both requests are logged", () => {
      const found = readLog().split("\n").filter((line) => line.includes("/store/v1/products/***6467"));
      return found.length === 2 && found;
    });
    for (const line of lines) assert.equal(JSON.parse(line.slice(line.indexOf("{"))).event, "http.request");
    assert.equal(findIn(shop.dir), undefined);
  });
});

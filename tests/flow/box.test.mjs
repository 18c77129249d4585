// Boxes of rules die while shoppers buy: by kill -9, by what a rule does to them. Nobody loses more than that rule's discount.
import assert from "node:assert/strict";
import fs from "node:fs";
import { after, before, describe, it } from "node:test";
import { Shop, idem, makeProduct, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";
import { isAlive, workers } from "./support/process.mjs";

const MINUTE = 60_000;
const CRASH = "local _ for _ in (nil):foo() do end";

let shop, variant;
before(async () => {
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=2", "--set", "rules.kills=1000"] });
  ({ variant } = await makeProduct(shop, { price: 1000, stock: 100000 }));
});
after(() => shop?.stop());

/** [{pid, parent, name}] of all processes. */
function processes() {
  return fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((pid) => {
    try {
      const [, name, rest] = fs.readFileSync(`/proc/${pid}/stat`, "utf8").match(/\((.*)\) (.*)/s);
      return [{ pid: Number(pid), parent: Number(rest.split(" ")[1]), name, isZombie: rest.startsWith("Z") }];
    } catch {
      return []; // it ended while we looked
    }
  });
}

/** The boxes and keepers of this shop's workers. */
async function boxes() {
  const all = processes(), ours = (await workers(shop)).map((w) => w.pid);
  const keepers = all.filter((p) => p.name === "box-keeper" && ours.includes(p.parent));
  return { keepers, boxes: all.filter((p) => !p.isZombie && p.name === "moontill-box" && keepers.some((k) => k.pid === p.parent)) };
}

let serial = 0;

/** A rule that is live until `end()`. */
async function publish(text) {
  const post = async (path, body, status) => assertOk(await shop.admin("POST", path, { headers: idem(), body }), status);
  const { rule } = await post("/rules", { name: `box-${process.pid}-${++serial}`, hook: "promo.evaluate", title: "Of the box",
    text, schema: {}, reason: "a test" }, 201);
  await post(`/rules/${rule.id}/publish`, { reason: "a test" }, 200);
  return { rule, end: () => post(`/rules/${rule.id}/unpublish`, { reason: "it is over" }, 200) };
}

const off = (percent) => `return function() return { { id = "off", label = "Off", level = "order", type = "percent", value = "${percent}" } } end`;

/** A shopper's cart, and its discount when it is priced anew by any worker. */
async function shopper() {
  const { cart } = assertOk(await shop.store("POST", "/carts", { body: { currency: "GBP", country: "GB" } }), 201);
  assertOk(await shop.store("POST", `/carts/${cart.id}/lines`, { body: { variant_id: variant.id, quantity: 1 } }));
  let n = 0;
  return async () => {
    const answer = await shop.h1("PATCH", `/store/v1/carts/${cart.id}`, { agent: false, body: { email: `a${++n}@example.com` } });
    return assertOk(answer).cart.discount_total.amount;
  };
}

/** `n` shoppers until `stop()`, which gives what their discounts were. */
async function underLoad(n) {
  const discounts = new Map(), shoppers = await Promise.all(Array.from({ length: n }, shopper));
  let isOver = false;
  const all = Promise.all(shoppers.map(async (price) => {
    while (!isOver) {
      const discount = await price();
      discounts.set(discount, (discounts.get(discount) ?? 0) + 1);
    }
  }));
  return { discounts, priced: () => [...discounts.values()].reduce((a, b) => a + b, 0), stop: async () => { isOver = true; await all; return [...discounts.keys()]; } };
}

async function replaced(victim) {
  await until("another box is there", async () => (await boxes()).boxes.some((b) => b.parent === victim.parent && b.pid !== victim.pid), MINUTE);
}

describe("kill -9 of boxes under load", () => {
  it("takes no shopper's discount: what the box was at is asked again", async () => {
    const { end } = await publish(off(10));
    const load = await underLoad(4);
    const before = await workers(shop);
    for (let i = 0; i < 20; ++i) {
      const seen = load.priced();
      await until("carts are priced", () => load.priced() > seen + 4, MINUTE);
      const victim = await until("there is a box", async () => (await boxes()).boxes.at(-(i % 2)), MINUTE);
      process.kill(victim.pid, "SIGKILL");
      await replaced(victim);
    }
    assert.deepEqual(await load.stop(), [100]);
    assert.deepEqual((await workers(shop)).map((w) => w.pid), before.map((w) => w.pid), "no worker noticed");
    await end();
  });
});

describe("a rule that crashes its box under load", () => {
  it("costs its own discount alone", async () => {
    const honest = await publish(off(10)), crash = await publish(`${CRASH}\n${off(50)}`).catch((error) => error);
    assert.ok(crash instanceof Error, "a text that crashes its box is refused before it is published");
    const late = await publish("return function(args, cart)\n  local t = {}\n  while true do t[#t + 1] = cart end\nend\n");
    const load = await underLoad(3);
    await until("carts are priced", () => load.priced() > 30, MINUTE);
    assert.deepEqual(await load.stop(), [100]);
    await late.end();
    await honest.end();
  });
});

describe("boxes and keepers", () => {
  it("end with their worker, however that ends", async () => {
    const { end } = await publish(off(10));
    const price = await shopper();
    await until("every web worker has a box", async () => {
      await price();
      return (await boxes()).boxes.length >= 2;
    }, MINUTE);
    const victims = (await workers(shop)).filter((w) => w.name.startsWith("web")), old = await boxes();
    for (const { pid } of victims) process.kill(pid, "SIGKILL");
    await until("they are gone", () => [...old.boxes, ...old.keepers].every((p) => !isAlive(p.pid)), MINUTE);
    await until("others serve", async () => (await workers(shop)).every((w) => w.state === "ready" && !victims.some((v) => v.pid === w.pid)), MINUTE);
    assert.equal(await price(), 100);
    await end();
  });

  it("are gone after the server's end", async () => {
    const { end } = await publish(off(10));
    const price = await shopper();
    await price();
    await end();
    const old = await boxes();
    assert.ok(old.boxes.length > 0 && old.keepers.length > 0);
    await shop.stop();
    shop = undefined;
    await until("they are gone", () => [...old.boxes, ...old.keepers].every((p) => !isAlive(p.pid)), MINUTE);
  });
});

// Streams on several machines, on one database: one shares the Redis of the first, one has a Redis of its own, where no hint ever comes.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { BINARY, Shop, freePort, idem, makeCart, makeProduct, tempDir, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";
import { sse1, ws } from "./support/live.mjs";

const MINUTE = 60_000;
const OPTIONS = ["--set", "server.workers=1", "--set", "server.jobs_workers=1"];

let shop, sharing, apart;
before(async () => {
  shop = await Shop.start({ args: ["--no-demo", ...OPTIONS] });
  [sharing, apart] = await Promise.all([startMachine("sharing"), startMachine("apart", { ownRedis: true })]);
});
after(async () => {
  for (const machine of [sharing, apart]) {
    machine?.line.close();
    machine?.server.kill("SIGTERM");
    await machine?.exited;
    machine?.redis?.kill("SIGTERM");
    if (machine) fs.rmSync(machine.dir, { recursive: true, force: true });
  }
  await shop?.stop();
});

/** `moontill serve` on the shop's database; with one worker. */
async function startMachine(name, { ownRedis = false } = {}) {
  const machine = Object.assign(new Shop(), { dir: tempDir(name), port: await freePort(), ca: shop.ca, output: "" });
  machine.dev = { ...shop.dev, url: `https://127.0.0.1:${machine.port}` };
  let redis = shop.dev.redis_socket;
  if (ownRedis) {
    redis = path.join(machine.dir, "redis.sock");
    machine.redis = spawn("redis-server", ["--port", "0", "--unixsocket", redis, "--save", "", "--dir", machine.dir], { stdio: "ignore" });
    await until("its Redis listens", () => fs.existsSync(redis));
  }
  machine.server = spawn(BINARY, ["serve", "--var", machine.dir, "--set", `mysql.socket=${shop.dev.mysql_socket}`, "--set", `redis.socket=${redis}`,
    "--set", `mysql.database=${shop.dev.database}`, "--set", "plugins.payment-test.enabled=true", "--listen", `127.0.0.1:${machine.port}`,
    "--set", `server.cert_file=${path.join(shop.dir, "tls/cert.pem")}`, "--set", `server.key_file=${path.join(shop.dir, "tls/key.pem")}`, ...OPTIONS],
  { stdio: ["ignore", "pipe", "pipe"] });
  machine.exited = once(machine.server, "exit").then(() => (machine.isGone = true));
  for (const stream of [machine.server.stdout, machine.server.stderr]) stream.on("data", (piece) => (machine.output += piece));
  await until(`${name} serves`, () => machine.output.includes("ready ") || machine.isGone, MINUTE);
  assert.ok(!machine.isGone, machine.output);
  return machine;
}

/** A stream of `target` on each machine, of either kind, with its first event there. */
async function streamsOf(target) {
  const open = [shop, sharing, apart].flatMap((machine) => [sse1, ws].map((kind) => kind(machine, target)));
  const streams = await Promise.all(open);
  for (const stream of streams) await stream.event("the present state", () => true);
  return streams;
}

async function all(streams, what, fits) {
  for (const stream of streams) await stream.event(what, fits);
}

describe("streams on three machines", { timeout: 4 * MINUTE }, () => {
  it("hear of a cart that was changed on one of them, and of the order on another", async () => {
    const { variant } = await makeProduct(shop);
    const cart = await makeCart(shop, variant.id);
    const streams = await streamsOf(`/store/v1/carts/${cart.id}/events`);
    let version = cart.version;
    for (const machine of [shop, sharing, apart]) {
      const changed = assertOk(await machine.store("POST", `/carts/${cart.id}/lines`, { body: { variant_id: variant.id, quantity: 1 } })).cart;
      assert.ok(changed.version > version);
      ({ version } = changed);
      await all(streams, `the line of ${machine.dir}`, (e) => e.data.cart?.version === version);
    }
    assertOk(await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider: "manual" } }));
    assertOk(await shop.store("POST", `/carts/${cart.id}/complete`, { headers: idem(), body: {} }));
    await all(streams, "the order", (e) => e.data.cart?.state === "completed" && /^ord_/.test(e.data.cart.order_id));
    streams.forEach((stream) => stream.close());
  });

  it("end for the guest when the cart becomes a customer's, and not for him who has come already", async () => {
    const { variant } = await makeProduct(shop);
    const email = `live-${Date.now()}@example.com`, password = "correct horse battery";
    assertOk(await shop.h2("POST", "/auth/v1/customers", { body: { email, password } }));
    const cart = await makeCart(shop, variant.id), target = `/store/v1/carts/${cart.id}/events`;
    const guest = await sse1(apart, target);
    await guest.event("the present state", () => true);
    const { token } = assertOk(await shop.h2("POST", "/auth/v1/customers/sessions", { body: { email, password, cart_id: cart.id } }));
    const customer = await sse1(apart, target, { key: token }); // within the second in which nobody there knows of it
    await guest.over();
    assert.equal(guest.events.pop().data.reason, "not_found");
    const changed = assertOk(await shop.store("POST", `/carts/${cart.id}/lines`, { key: token, body: { variant_id: variant.id, quantity: 1 } })).cart;
    await customer.event("the line", (e) => e.data.cart?.version === changed.version);
    assert.equal(customer.isOver, false);
    customer.close();
  });

  it("hear what the first one's staff say of stock", async () => {
    const { variant, sku } = await makeProduct(shop, { stock: 1 });
    const cart = await makeCart(shop, variant.id);
    const [products, carts] = [await streamsOf(`/store/v1/stock/events?sku=${sku}`), await streamsOf(`/store/v1/carts/${cart.id}/events`)];
    for (const [units, availability] of [[0, "out_of_stock"], [3, "in_stock"]]) {
      const seen = [...products, ...carts].map((stream) => stream.events.length);
      assertOk(await shop.admin("POST", `/inventory/${sku}/adjustments`, { headers: idem(), body: { set_to: units, reason: "test" } }));
      for (const [i, stream] of [...products, ...carts].entries())
        await until(`${availability} is told`, () => stream.events.slice(seen[i]).some((e) =>
          (e.data.stock ?? e.data.cart.lines[0]).availability === availability));
    }
    [...products, ...carts].forEach((stream) => stream.close());
  });
});

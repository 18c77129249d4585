// Streams of changes: two devices with one cart, stock that runs out, both protocols and WebSocket, and what may go wrong.
import assert from "node:assert/strict";
import http2 from "node:http2";
import { after, before, describe, it } from "node:test";
import { Shop, SLOWNESS, idem, makeCart, makeProduct, until } from "./support/shop.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";
import { closeCode, frame, rawWs, sse1, sse2, ws } from "./support/live.mjs";
import { query } from "./support/db.mjs";
import { serverOf, workers } from "./support/process.mjs";

let shop, session;
before(async () => {
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=2", "--set", "live.heartbeat_ms=1000",
    "--set", "live.max_per_client=40", "--set", "server.send_timeout_ms=2000"] });
  session = http2.connect(shop.dev.url, { ca: shop.ca });
  session.on("error", () => {});
});
after(async () => {
  session?.close();
  await shop?.stop();
});

const pathOf = (cart) => `/store/v1/carts/${cart.id}/events`;
const KINDS = {
  "HTTP/1.1": (path, options) => sse1(shop, path, options),
  "HTTP/2": (path, options) => sse2(shop, path, { session, ...options }),
  WebSocket: (path, options) => ws(shop, path, options),
};

const add = async (cart, variant, quantity = 1) =>
  assertOk(await shop.store("POST", `/carts/${cart.id}/lines`, { body: { variant_id: variant.id, quantity } })).cart;
const setStock = async (sku, units) => assertOk(await shop.admin("POST", `/inventory/${encodeURIComponent(sku)}/adjustments`, {
  headers: idem(), body: { set_to: units, reason: "test" } }));
const pidsOf = async () => (await workers(shop)).filter((w) => w.name.startsWith("web")).map((w) => w.pid);
const metric = async (name) => {
  const { text } = await shop.ops("/metrics");
  return text.split("\n").filter((line) => line.startsWith(name)).reduce((sum, line) => sum + Number(line.split(" ").pop()), 0);
};
const idle = () => until("no stream is open", async () => (await metric("till_live_streams{")) === 0);

async function freshCart(options) {
  const { variant, sku } = await makeProduct(shop, options);
  return { variant, sku, cart: await makeCart(shop, variant.id) };
}

for (const [name, open] of Object.entries(KINDS)) {
  describe(`over ${name}`, () => {
    it("begins with the present state, and tells two devices of every change", async () => {
      const { cart, variant } = await freshCart();
      const one = await open(pathOf(cart)), two = await open(pathOf(cart));
      for (const stream of [one, two]) {
        const first = await stream.event("the present state", (e) => e.event === "cart");
        assert.deepEqual(first.data.changed, []);
        assert.equal(first.data.cart.version, cart.version);
        assert.equal(first.data.cart.lines[0].availability, "in_stock");
      }
      const changed = await add(cart, variant, 2);
      for (const stream of [one, two]) {
        const told = await stream.event("the line", (e) => e.data.cart?.version === changed.version);
        assert.deepEqual(told.data.changed, ["lines", "totals"]);
        assert.equal(told.data.cart.lines[0].quantity, 3);
        assert.deepEqual(told.data.cart.total, changed.total);
        stream.close();
      }
      await idle();
    });

    it("tells which line ran short, which is gone, and that it is back", async () => {
      const { cart, variant, sku } = await freshCart({ stock: 5 });
      await add(cart, variant, 2);
      const stream = await open(pathOf(cart));
      for (const [units, availability] of [[2, "short"], [0, "out_of_stock"], [9, "in_stock"]]) {
        await setStock(sku, units);
        const told = await stream.event(availability, (e) => e.data.changed.length && e.data.cart.lines[0].availability === availability);
        assert.deepEqual(told.data.changed, ["availability"]);
        assert.equal(told.data.cart.lines[0].sku, sku);
      }
      stream.close();
      await idle();
    });

    it("tells when others buy the last one, but not who holds it", async () => {
      const { cart, variant } = await freshCart({ stock: 1 });
      const other = await makeCart(shop, variant.id);
      const mine = await open(pathOf(cart)), theirs = await open(pathOf(other));
      assertOk(await shop.store("POST", `/carts/${other.id}/payment-sessions`, { body: { provider: "manual" } }));
      await mine.event("it is gone", (e) => e.data.cart.lines[0].availability === "out_of_stock");
      assertOk(await shop.store("POST", `/carts/${other.id}/complete`, { headers: idem(), body: {} }));
      const placed = await theirs.event("the order", (e) => e.data.cart.state === "completed");
      assert.match(placed.data.cart.order_id, /^ord_/);
      assert.ok(placed.data.changed.includes("state"), JSON.stringify(placed));
      assert.ok(theirs.events.every((e) => e.data.cart.state !== "open" || e.data.cart.lines[0].availability === "in_stock"));
      mine.close();
      theirs.close();
      await idle();
    });

    it("tells of the stock of products", async () => {
      const a = await makeProduct(shop, { stock: 1 }), b = await makeProduct(shop, { stock: 0 });
      const stream = await open(`/store/v1/stock/events?sku=${a.sku},${b.sku},${a.sku}`);
      await stream.event("a", (e) => e.data.stock?.sku === a.sku && e.data.stock.availability === "in_stock");
      await stream.event("b", (e) => e.data.stock?.sku === b.sku && e.data.stock.availability === "out_of_stock");
      assert.equal(stream.events.length, 2);
      await setStock(b.sku, 3);
      const told = await stream.event("b is there", (e) => e.data.stock.sku === b.sku && e.data.stock.availability === "in_stock");
      assert.deepEqual(told.data.changed, ["availability"]);
      stream.close();
      await idle();
    });

    it("is for whom the cart is for", async () => {
      const { cart } = await freshCart();
      const other = assertOk(await shop.admin("POST", "/keys", { headers: idem(), body: { kind: "publishable", name: "other" } }));
      for (const [key, status, code] of [[null, 401, "unauthorized"], ["mtp_wrong", 401, "unauthorized"],
        [other.key.key, 404, "not_found"]])
        assertProblem(await open(pathOf(cart), { key, protocols: [] }).then(asAnswer), status, code);
      assertProblem(await open("/store/v1/carts/cart_01J9ZC8Q4V3M5N7P8R9S0T1V2W/events").then(asAnswer), 404, "not_found");
      assertProblem(await open("/store/v1/stock/events?sku=nothing-like-it").then(asAnswer), 404, "not_found");
      assertProblem(await open("/store/v1/stock/events").then(asAnswer), 422, "invalid_request");
      const many = Array.from({ length: 51 }, (_, i) => `s${i}`).join(",");
      assertProblem(await open(`/store/v1/stock/events?sku=${many}`).then(asAnswer), 422, "invalid_request");
    });

    it("gives signs of life", async () => {
      const { cart } = await freshCart();
      const stream = await open(pathOf(cart));
      await until("two of them", () => stream.beats >= 2);
      assert.equal(stream.isOver, false);
      stream.close();
      await idle();
    });

    it("goes on through reloads, and holds none up", async () => {
      const { cart, variant } = await freshCart();
      const stream = await open(pathOf(cart));
      await stream.event("the present state", (e) => e.event === "cart");
      for (let i = 0; i !== 3; ++i) assert.equal((await shop.cli("reload", "--reason", "test")).code, 0);
      await until("old generations are closed", async () => (await metric("till_vm_generations")) <= 3);
      const changed = await add(cart, variant);
      const told = await stream.event("the line", (e) => e.data.cart.version === changed.version);
      assert.deepEqual(told.data.changed, ["lines", "totals"]);
      stream.close();
      await idle();
    });

    it("sees a change that nobody has told of, within its second", async () => {
      const { cart } = await freshCart();
      const stream = await open(pathOf(cart));
      await stream.event("the present state", (e) => e.event === "cart");
      await query(shop, `UPDATE carts SET email = 'bob@example.com', version = version + 1 WHERE version = ${cart.version}
        AND id = (SELECT id FROM (SELECT id FROM carts ORDER BY id DESC LIMIT 1) c)`);
      const told = await stream.event("the change", (e) => e.data.cart.version === cart.version + 1);
      assert.deepEqual(told.data.changed, ["details"]);
      stream.close();
      await idle();
    });

    it("ends politely when its worker ends, and the present state comes with the next", async () => {
      const { cart, variant } = await freshCart();
      const streams = await Promise.all([1, 2, 3, 4].map(() => open(pathOf(cart))));
      for (const pid of await pidsOf()) process.kill(pid, "SIGTERM");
      await Promise.all(streams.map((s) => s.over()));
      for (const s of streams) {
        if (name === "WebSocket") assert.equal(s.code, 1012);
        else {
          assert.deepEqual(s.events.pop(), { event: "end", retry: String(s.retry), data: { reason: "restart" } });
          assert.ok(s.retry >= 1000 && s.retry <= 5000);
        }
      }
      session.close();
      session = http2.connect(shop.dev.url, { ca: shop.ca });
      session.on("error", () => {});
      const changed = await until("it serves again", () => add(cart, variant).catch(() => null));
      const again = await until("a stream", () => open(pathOf(cart)).catch(() => null));
      assert.equal((await again.event("the present state", (e) => e.event === "cart")).data.cart.version, changed.version);
      again.close();
      await idle();
    });
  });
}

const asAnswer = (got) => ({ ...got, text: JSON.stringify(got.body ?? null) });

describe("without", () => {
  it("Redis: changes are found by looking", async () => {
    const { cart, variant } = await freshCart();
    const streams = await Promise.all(Object.values(KINDS).map((open) => open(pathOf(cart))));
    const pid = serverOf(shop, "redis-server");
    process.kill(pid, "SIGSTOP");
    try {
      const changed = await add(cart, variant);
      for (const s of streams) await s.event("the line", (e) => e.data.cart?.version === changed.version);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    const changed = await until("it takes changes", () => add(cart, variant).catch(() => null));
    for (const s of streams) await s.event("the line", (e) => e.data.cart?.version === changed.version);
    streams.forEach((s) => s.close());
    await idle();
  });

  it("the database for a moment: streams stay, and hear what came", async () => {
    const { cart, variant } = await freshCart();
    const stream = await sse1(shop, pathOf(cart));
    await stream.event("the present state", (e) => e.event === "cart");
    const pid = serverOf(shop, "mariadbd");
    process.kill(pid, "SIGSTOP");
    const beats = stream.beats ?? 0;
    await until("signs of life", () => (stream.beats ?? 0) >= beats + 3);
    process.kill(pid, "SIGCONT");
    const changed = await until("it takes changes", () => add(cart, variant).catch(() => null));
    await stream.event("the line", (e) => e.data.cart.version === changed.version);
    stream.close();
    await idle();
  });

  it("a worker (kill -9): its clients come back to the present state", async () => {
    const { cart, variant } = await freshCart();
    let open = await Promise.all([1, 2, 3, 4].map(() => ws(shop, pathOf(cart))));
    for (const pid of await pidsOf()) process.kill(pid, "SIGKILL");
    await Promise.all(open.map((s) => s.over()));
    const changed = await until("it serves again", () => add(cart, variant).catch(() => null));
    open = await Promise.all(Object.values(KINDS).slice(2).map((again) => until("a stream", () => again(pathOf(cart)).catch(() => null))));
    for (const s of open) {
      assert.equal((await s.event("the present state", (e) => e.event === "cart")).data.cart.version, changed.version);
      s.close();
    }
    session = http2.connect(shop.dev.url, { ca: shop.ca });
    session.on("error", () => {});
    await idle();
  });
});

describe("who listens badly", () => {
  it("a slow reader is told the newest state alone, or hung up on; nobody else waits", async () => {
    const products = [];
    for (let i = 0; i !== 30; ++i) products.push(await makeProduct(shop));
    const cart = await makeCart(shop, products[0].variant.id);
    for (const p of products.slice(1)) await add(cart, p.variant);
    const raw = await rawWs(shop, pathOf(cart)), good = await ws(shop, pathOf(cart));
    const slow = await sse1(shop, pathOf(cart));
    raw.socket.pause();
    slow.socket.pause();
    const before = await metric("till_live_ended_total{why=\"slow\"}");
    let changed, n = 0;
    await until("both were hung up on", async () => {
      changed = await add(cart, products[0].variant);
      return ++n && (await metric("till_live_ended_total{why=\"slow\"}")) >= before + 2;
    }, 120_000 * SLOWNESS);
    await until("the newest", () => good.isOver || good.cart.version === changed.version);
    assert.equal(good.isOver, false, `it was closed with ${good.code}`);
    good.close();
    raw.socket.destroy();
    slow.close();
    await idle();
  });

  it("one client has so many streams and no more", async () => {
    const { cart } = await freshCart();
    const streams = await Promise.all(Array.from({ length: 100 }, () => sse1(shop, pathOf(cart))));
    const refused = streams.filter((s) => s.status !== 200);
    assert.ok(refused.length >= 20, `${refused.length}`); // 40 a worker
    for (const s of refused) {
      assertProblem(asAnswer(s), 429, "quota_exceeded");
      assert.ok(Number(s.headers["retry-after"]) > 0);
    }
    streams.forEach((s) => s.close());
    await idle();
  });

  it("a thousand that come at once leave nothing behind", async () => {
    const { cart, variant } = await freshCart();
    const results = await Promise.allSettled(Array.from({ length: 1000 }, (_, i) => (i % 2 ? ws : sse1)(shop, pathOf(cart))));
    const open = results.filter((r) => r.status === "fulfilled").map((r) => r.value);
    assert.ok(open.some((s) => s.status === 429));
    assertOk({ status: 200, text: "", body: await add(cart, variant) });
    open.forEach((s) => s.close?.());
    await idle();
  });
});

describe("WebSocket", () => {
  let cart;
  before(async () => ({ cart } = await freshCart()));

  it("answers pings, echoes the close, and takes small messages in pieces", async () => {
    const stream = await ws(shop, pathOf(cart));
    assert.equal(stream.socket.protocol, "moontill.v1");
    let pong;
    stream.socket.on("pong", (data) => (pong = String(data)));
    stream.socket.send("hé", { fin: false });
    stream.socket.ping("mark");
    stream.socket.send("llo", { fin: true });
    await until("the pong", () => pong === "mark");
    stream.socket.close(4001, "enough");
    await stream.over();
    assert.equal(stream.code, 4001);
    await idle();
  });

  const bad = {
    "not masked": [frame(1, "x", { masked: false }), 1002],
    "a reserved bit": [frame(1, "x", { rsv: 0x40 }), 1002],
    "an opcode that is none": [frame(3, "x"), 1002],
    "a ping in pieces": [frame(9, "x", { fin: false }), 1002],
    "a ping over 125 bytes": [frame(9, "x".repeat(126)), 1002],
    "a piece of nothing": [frame(0, "x"), 1002],
    "a message inside of another": [Buffer.concat([frame(1, "x", { fin: false }), frame(1, "y")]), 1002],
    "text that is not UTF-8": [frame(1, Buffer.from([0xc3, 0x28])), 1007],
    "a close with half a code": [frame(8, "x"), 1002],
    "a close with a forbidden code": [frame(8, Buffer.from([0x03, 0xed])), 1002],
    "a reason that is not UTF-8": [frame(8, Buffer.from([0x03, 0xe8, 0xff])), 1007],
    "a frame of 2^62 bytes": [frame(2, "", { length: 1n << 62n }), 1009],
    "one of 5000": [frame(2, "x".repeat(5000)), 1009],
    "pieces that come to 5000": [Buffer.concat([frame(2, "x".repeat(4000), { fin: false }), frame(0, "x".repeat(1000))]), 1009],
    "a hundred frames at once": [Buffer.concat(Array.from({ length: 100 }, () => frame(10))), 1008],
  };
  for (const [what, [bytes, code]] of Object.entries(bad)) {
    it(`is closed with ${code} for ${what}`, async () => {
      const raw = await rawWs(shop, pathOf(cart));
      raw.socket.write(bytes);
      await until("the close", () => closeCode(raw) !== undefined || raw.isClosed);
      assert.equal(closeCode(raw), code);
      await until("the end", () => raw.isClosed);
      await idle();
    });
  }

  it("outlives garbage", async () => {
    const pids = await pidsOf();
    for (let i = 0; i !== 60; ++i) {
      const raw = await rawWs(shop, pathOf(cart));
      raw.socket.write(Buffer.from(Array.from({ length: 1 + i * 7 }, (_, k) => (k * 131 + i * 29) & 0xff)));
      if (i % 3 === 0) raw.socket.destroy();
      else raw.socket.end();
      await until("the end", () => raw.isClosed);
    }
    assert.deepEqual(await pidsOf(), pids);
    await idle();
  });

  it("takes the key as a browser can give it, and its cookie only from the shop's own pages", async () => {
    const email = `ws-${Date.now()}@example.com`, { cart } = await freshCart();
    assertOk(await shop.h2("POST", "/auth/v1/customers", { body: { email, password: "correct horse battery" } }));
    const login = assertOk(await shop.h2("POST", "/auth/v1/customers/sessions", { body: { email, password: "correct horse battery", cart_id: cart.id } }));
    assert.equal(login.cart.id, cart.id);
    const byCookie = { cookie: `till_session=${login.token}` };
    assertProblem(asAnswer(await ws(shop, pathOf(cart), { key: null, headers: { ...byCookie, origin: "https://evil.example" } })), 403, "forbidden");
    assertProblem(asAnswer(await ws(shop, pathOf(cart), { key: null, headers: byCookie })), 403, "forbidden");
    const own = await ws(shop, pathOf(cart), { key: null, headers: { ...byCookie, origin: shop.dev.url } });
    const byProtocol = await ws(shop, pathOf(cart), { key: null, protocols: ["moontill.v1", `bearer.${login.token}`] });
    for (const s of [own, byProtocol]) {
      assert.equal((await s.event("the cart", (e) => e.event === "cart")).data.cart.id, cart.id);
      s.close();
    }
    await idle();
  });

  it("is refused with the reason where the handshake is none", async () => {
    const ask = (headers) => shop.h1("GET", pathOf(cart), { headers: { connection: "Upgrade", upgrade: "websocket", ...headers }, agent: false });
    const old = await ask({ "sec-websocket-version": "8", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==" });
    assertProblem(old, 426, "upgrade_required");
    assert.equal(old.headers["sec-websocket-version"], "13");
    assertProblem(await ask({ "sec-websocket-version": "13" }), 400, "bad_request");
    assertProblem(await ask({ "sec-websocket-version": "13", "sec-websocket-key": "short" }), 400, "bad_request");
  });
});

// Events to a real RabbitMQ: in order per aggregate and at least once, whatever becomes of the broker, and never in anybody's way.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { Broker } from "./support/broker.mjs";
import { Shop, until } from "./support/shop.mjs";
import { count, query } from "./support/db.mjs";

const MINUTE = 60_000;
const LONG = 3 * MINUTE;
const MESSAGE_MOST = 50_000;

let broker, shop;
before(async () => {
  broker = await Broker.start({ config: `max_message_size = ${MESSAGE_MOST}` });
  await broker.bind("all", "#");
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=1", "--set", "server.jobs_workers=2",
    "--set", "jobs.lease_ms=4000", "--set", "jobs.poll_ms=100", ...settings()] });
});
after(async () => {
  await shop?.stop();
  await broker?.stop();
});

const settings = (more = {}) => Object.entries({ host: "127.0.0.1", port: broker.port, user: "guest", password: "guest", ...more })
  .flatMap(([name, value]) => ["--set", `plugins.events-rabbitmq.${name}=${value}`]);

/** `n` events of each of `aggregates`, in one transaction each, as whoever trades appends them. */
let appended = 0;
async function append(n, aggregates, type = "test.happened") {
  const rows = [];
  for (let i = 0; i < n; ++i)
    for (const aggregate of aggregates)
      rows.push(`('${aggregate}', '${type}', '{"n": ${++appended}}', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01')`);
  await query(shop, `INSERT INTO outbox (aggregate, type, payload, traceparent) VALUES ${rows.join(", ")}`);
}

const logOf = (of) => fs.readFileSync(path.join(of.dir, "moontill.log"), "utf8");
const published = () => until("all is published", async () => (await count(shop, "outbox", "state = 'pending'")) === 0, LONG);
const waiting = () => count(shop, "outbox", "state = 'pending' AND type = 'publish.events-rabbitmq'");

/** Of each aggregate the ids rise where the first copy of each is looked at, and none of `wanted` is missing. */
async function assertAllInOrder(messages, where) {
  const wanted = (await query(shop, `SELECT id FROM outbox WHERE ${where} AND type NOT LIKE 'publish.%' ORDER BY id`)).map(([id]) => id);
  const seen = new Set(), last = new Map();
  for (const { id, aggregate } of messages) {
    if (seen.has(id)) continue;
    seen.add(id);
    assert.ok(Number(id) > (last.get(aggregate) ?? 0), `${aggregate}: ${id} came after ${last.get(aggregate)}`);
    last.set(aggregate, Number(id));
  }
  assert.deepEqual([...seen].sort((a, b) => a - b), wanted);
}

const names = (kind, n) => Array.from({ length: n }, (_, i) => `${kind}:${i}`);

describe("events", { timeout: 10 * MINUTE }, () => {
  it("arrive as what they are, with what a receiver needs to know a second one", async () => {
    await append(1, ["order:ord_1"], "test.told");
    await published();
    const [message] = await broker.take("all");
    const [[id]] = await query(shop, "SELECT id FROM outbox WHERE type = 'test.told'");
    assert.equal(message.id, id);
    assert.deepEqual([message.type, message.key, message.aggregate], ["test.told", "test.told", "order:ord_1"]);
    assert.equal(message.traceparent.slice(0, 35), "00-4bf92f3577b34da6a3ce929d0e0e4736");
    assert.deepEqual([message.properties.delivery_mode, message.properties.content_type, message.properties.app_id], [2, "application/json", "moontill"]);
    assert.deepEqual(message.body.data, { n: 1 });
    assert.deepEqual([message.body.id, message.body.type, message.body.aggregate], [id, "test.told", "order:ord_1"]);
    assert.ok(Math.abs(Date.parse(message.body.created_at) / 1000 - message.properties.timestamp) <= 1);
  });

  it("arrive in order within their aggregate, from two jobs workers", async () => {
    await append(12, names("cart", 20));
    await published();
    const messages = await broker.take("all");
    await assertAllInOrder(messages, "aggregate LIKE 'cart:%'");
  });

  it("arrive all and in order where the broker is killed amid them, again and again", async () => {
    const messages = [];
    for (let round = 0; round < 2; ++round) {
      await append(40, names("stock", 30));
      await until("some are on their way", async () => (await count(shop, "outbox", "state = 'done' AND aggregate LIKE 'events-rabbitmq:stock:%'")) > 100 * (round + 1), MINUTE);
      await broker.kill();
      await append(2, names("stock", 30));
      await broker.run();
    }
    await published();
    messages.push(...await broker.take("all"));
    await assertAllInOrder(messages, "aggregate LIKE 'stock:%'");
    assert.equal(await count(shop, "outbox", "state = 'dead'"), 0);
  });

  it("wait while the broker is away; nothing else does", async () => {
    await broker.kill();
    await append(3, names("order", 10), "order.told");
    await until("they are done but for the broker", async () =>
      (await count(shop, "outbox", "state = 'pending' AND type = 'order.told'")) === 0, MINUTE);
    assert.equal(await waiting(), 30);
    await until("somebody reads why", () => /"publish\.away".*connecting to 127\.0\.0\.1/.test(logOf(shop)));
    const { body } = await shop.admin("GET", "/jobs");
    const row = body.data.find((entry) => entry.type === "publish.events-rabbitmq");
    assert.equal(row.pending, 30);
    assert.equal(await count(shop, "outbox", "type = 'publish.events-rabbitmq' AND state = 'pending' AND attempts > 1"), 0, "an attempt was counted");
    await broker.run();
    await published();
    await assertAllInOrder(await broker.take("all"), "type = 'order.told'");
  });

  it("that no queue wants are tried again, then dead letters that can be replayed", async () => {
    await broker.unbind("all", "#");
    await append(1, ["order:lost"], "test.lost");
    await until("it came back", async () => (await count(shop, "outbox",
      "aggregate = 'events-rabbitmq:order:lost' AND last_error LIKE 'no queue is bound%'")) === 1, MINUTE);
    await query(shop, "UPDATE outbox SET attempts = 9, available_at = NOW(3) WHERE aggregate = 'events-rabbitmq:order:lost'");
    await until("it is dead", async () => (await count(shop, "outbox", "state = 'dead'")) === 1, MINUTE);
    await broker.bind("all", "#");
    const replayed = await shop.admin("POST", "/jobs/replay", { body: { type: "publish.events-rabbitmq" } });
    assert.deepEqual([replayed.status, replayed.body.replayed], [202, 1]);
    await published();
    const got = await broker.take("all");
    assert.deepEqual(got.map((m) => m.type), ["test.lost"]);
  });

  it("over which the broker closes the channel keep nobody else back, and end as dead letters that say why", async () => {
    const bad = (more = "") => count(shop, "outbox", `aggregate IN ('events-rabbitmq:doc:large', 'events-rabbitmq:doc:secret') ${more}`);
    const others = () => count(shop, "outbox", "state = 'pending' AND aggregate LIKE '%doc:%' AND aggregate NOT LIKE '%doc:large' AND aggregate NOT LIKE '%doc:secret'");
    await broker.must("PUT", "/topic-permissions/%2F/guest", { exchange: "moontill", write: "^(?!test\\.secret$)", read: ".*" });
    await query(shop, `INSERT INTO outbox (aggregate, type, payload) VALUES ('doc:0', 'test.happened', '{}'),
      ('doc:large', 'test.happened', '{"text": "${"x".repeat(MESSAGE_MOST)}"}'), ('doc:1', 'test.happened', '{}'),
      ('doc:secret', 'test.secret', '{}'), ('doc:large', 'test.happened', '{"is": "newer"}')`);
    await append(3, names("doc", 40));
    await until("all others are published", async () => (await others()) === 0, MINUTE);
    await append(1, names("doc", 40));
    await until("all newer ones too", async () => (await others()) === 0, MINUTE);
    const got = await broker.take("all");
    await assertAllInOrder(got, "aggregate LIKE 'doc:%' AND aggregate NOT IN ('doc:large', 'doc:secret')");
    assert.equal(await bad("AND state = 'pending' AND (attempts > 0 OR payload LIKE '%newer%')"), 3);
    assert.equal(await bad("AND last_error LIKE '%PRECONDITION_FAILED%message size%'"), 1);
    assert.equal(await bad("AND last_error LIKE '%ACCESS_REFUSED%test.secret%'"), 1);

    await query(shop, `UPDATE outbox SET attempts = 9, available_at = NOW(3) WHERE state = 'pending' AND attempts > 0 AND aggregate LIKE '%doc:%'`);
    await until("they are dead", async () => (await bad("AND state = 'dead'")) === 2, MINUTE);
    await published();
    assert.deepEqual((await broker.take("all")).map(({ body }) => body.data), [{ is: "newer" }]);
  });

  it("wait where the broker takes none of them, and no attempt is counted", async () => {
    await broker.kill(); // a channel that is open remembers for a while what it may
    await broker.run();
    await broker.must("PUT", "/permissions/%2F/guest", { configure: ".*", write: "^amq", read: ".*" });
    await append(1, names("closed", 3));
    await until("somebody reads why", () => /"publish\.away".*ACCESS_REFUSED.*exchange 'moontill'/.test(logOf(shop)), MINUTE);
    assert.equal(await count(shop, "outbox", "state = 'pending' AND aggregate LIKE 'events-rabbitmq:closed:%' AND attempts > 1"), 0);
    await broker.must("PUT", "/permissions/%2F/guest", { configure: ".*", write: ".*", read: ".*" });
    await published();
    const got = (await broker.take("all")).filter(({ aggregate }) => aggregate.startsWith("closed:")); // it was killed after what was taken before
    await assertAllInOrder(got, "aggregate LIKE 'closed:%'");
  });
});

describe("a broker that does not let us in", { timeout: 5 * MINUTE }, () => {
  it("is told of in words, by doctor too, and the shop goes on", async () => {
    const other = await Shop.start({ args: ["--no-demo", "--set", "server.workers=1", ...settings({ password: "wrong" })] });
    try {
      await query(other, `INSERT INTO outbox (aggregate, type, payload) VALUES ('order:1', 'order.told', '{}')`);
      await until("the log says why", () => /"publish\.away".*logging in as guest.*ACCESS_REFUSED/.test(logOf(other)), MINUTE);
      assert.equal(await count(other, "outbox", "state = 'done' AND type = 'order.told'"), 1);
      await query(other, "UPDATE outbox SET created_at = created_at - INTERVAL 2 MINUTE WHERE state = 'pending'");
      let found;
      await until("doctor says so", async () => {
        found = JSON.parse((await other.cli("doctor", "--json")).stdout).findings.find(({ check }) => check === "jobs.late");
        return found;
      }, MINUTE);
      assert.match(found.finding, /publish\.events-rabbitmq: 1 wait, .*logging in as guest.*ACCESS_REFUSED/);
    } finally {
      await other.stop();
    }
  });
});

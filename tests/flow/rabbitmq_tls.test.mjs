// Events to a RabbitMQ behind TLS, with authorities of our own: whom it believes, and what becomes of it when the broker stands still.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { Broker } from "./support/broker.mjs";
import { Shop, freePort, tempDir, until } from "./support/shop.mjs";
import { count, query } from "./support/db.mjs";

const MINUTE = 60_000;

let dir, port, broker, shop;
const file = (name) => path.join(dir, name);
const openssl = (...args) => execFileSync("openssl", args, { stdio: ["ignore", "ignore", "pipe"] });

/** `name`.pem, and what it signed: the first one signs the broker's, which is for localhost and nobody else. */
function authority(name) {
  openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", `/CN=${name}`,
    "-keyout", file(`${name}.key`), "-out", file(`${name}.pem`));
  if (name !== "ours") return;
  openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost",
    "-keyout", file("broker.key"), "-out", file("broker.csr"));
  fs.writeFileSync(file("names"), "subjectAltName=DNS:localhost\n");
  openssl("x509", "-req", "-in", file("broker.csr"), "-CA", file("ours.pem"), "-CAkey", file("ours.key"), "-CAcreateserial", "-days", "2",
    "-extfile", file("names"), "-out", file("broker.pem"));
  fs.chmodSync(file("broker.key"), 0o644);
}

before(async () => {
  dir = tempDir("tls");
  fs.chmodSync(dir, 0o755);
  authority("ours");
  authority("strange");
  port = await freePort();
  broker = await Broker.start({ config: [`listeners.ssl.1 = 127.0.0.1:${port}`, `ssl_options.cacertfile = ${file("ours.pem")}`,
    `ssl_options.certfile = ${file("broker.pem")}`, `ssl_options.keyfile = ${file("broker.key")}`, "ssl_options.verify = verify_none"].join("\n") });
  await broker.bind("all", "#");
  const settings = { host: "localhost", port, user: "guest", password: "guest", tls: true, ca_file: file("ours.pem") };
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=1", "--set", "server.jobs_workers=1", "--set", "jobs.poll_ms=100",
    ...Object.entries(settings).flatMap(([name, value]) => ["--set", `plugins.events-rabbitmq.${name}=${value}`])] });
});
after(async () => {
  await shop?.stop();
  await broker?.stop();
  fs.rmSync(dir, { recursive: true, force: true });
});

const append = (aggregates, n) => query(shop, `INSERT INTO outbox (aggregate, type, payload) VALUES ${
  Array.from({ length: n }, (_, i) => aggregates.map((a) => `('${a}', 'test.happened', '{"n": ${i}}')`)).flat().join(", ")}`);
const published = () => until("all is published", async () => (await count(shop, "outbox", "state = 'pending'")) === 0, 3 * MINUTE);

/** Publishes one message as a plugin does, to what differs by `more`: what came of it. */
async function publish(more) {
  const target = { host: "localhost", port, user: "guest", password: "guest", vhost: "/", exchange: "", tls: true, ca_file: file("ours.pem"), ...more };
  const fields = Object.entries(target).map(([name, value]) => `${name} = ${JSON.stringify(value)}`).join(", ");
  fs.writeFileSync(file("told_spec.lua"), `local t = require "till.test"
local amqp = require "till.prim.amqp"
t.it("tells", function()
  local verdicts, e = amqp.publish({ ${fields} },
    { { routing_key = "direct", id = "1", type = "test", body = "{}", timestamp = 1 } })
  error("<" .. (verdicts and verdicts[1] or e.code .. ": " .. tostring(e.message)) .. ">", 0)
end)\n`);
  const { stdout, stderr } = await shop.cli("spec", file("told_spec.lua"));
  return /<([^>]*)>/.exec(stdout + stderr)?.[1] ?? stdout + stderr;
}

describe("a broker behind TLS", { timeout: 8 * MINUTE }, () => {
  it("gets events", async () => {
    await append(["order:1", "order:2"], 5);
    await published();
    const got = await broker.take("all");
    assert.deepEqual(got.filter((m) => m.aggregate === "order:1").map((m) => m.body.data.n), [0, 1, 2, 3, 4]);
    assert.equal(got.length, 10);
  });

  it("is believed only where our authorities have signed it, for the name that we asked for", async () => {
    assert.equal(await publish({}), "unroutable"); // it has come as far as to the queues, of which there is none
    assert.match(await publish({ ca_file: file("strange.pem") }), /^unavailable: connecting to localhost:\d+: SSL peer cert verification failed$/);
    assert.match(await publish({ host: "127.0.0.1" }), /^unavailable: connecting to 127\.0\.0\.1:\d+: SSL hostname verification failed$/);
    assert.match(await publish({ ca_file: file("nothing.pem") }), /^unavailable: TLS: the authorities' file cannot be read: .*nothing\.pem/);
  });

  it("that speaks no TLS there, or only TLS, is told of", async () => {
    assert.match(await publish({ port: broker.port }), /^unavailable: connecting to localhost:\d+/);
    assert.match(await publish({ tls: false }), /^(unavailable|timeout): /);
  });

  it("that stands still holds nobody up beyond the time that was given, and nothing is lost", async () => {
    process.kill(-broker.process.pid, "SIGSTOP");
    try {
      assert.match(await publish({ timeout_ms: 1500 }), /^(unavailable|timeout): /);
      await append(["cart:1", "cart:2", "cart:3"], 1);
      await until("it waits", async () => (await count(shop, "outbox", "state = 'pending' AND type LIKE 'publish.%'")) === 3, MINUTE);
    } finally {
      process.kill(-broker.process.pid, "SIGCONT");
    }
    await published();
    const seen = new Set((await broker.take("all")).filter((m) => m.aggregate.startsWith("cart:")).map((m) => m.id));
    assert.equal(seen.size, 3);
    assert.equal(await count(shop, "outbox", "state = 'dead'"), 0);
  });
});

// conf/haproxy.cfg as it is shipped, started in front of a shop: a journey through it, and whose request it was.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http2 from "node:http2";
import net from "node:net";
import path from "node:path";
import tls from "node:tls";
import { after, before, describe, it } from "node:test";
import { ROOT, Shop, buy, freePort, makeCart, makeProduct, tempDir, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";

const CLIENT = "127.0.0.77"; // all of 127/8 is this machine

const dir = tempDir();
const log = path.join(dir, "log");
let shop, front, url, said = "";
before(async () => {
  shop = await Shop.start({ dir, args: ["--no-demo", "--set", "server.trust_forwarded=true",
    "--set", `log.file=${log}`] });
  const pem = path.join(shop.dir, "front.pem");
  fs.writeFileSync(pem, ["cert.pem", "key.pem"].map((name) => fs.readFileSync(path.join(shop.dir, "tls", name), "utf8")).join(""));
  const port = await freePort();
  url = `https://127.0.0.1:${port}`;
  front = spawn("haproxy", ["-db", "-f", path.join(ROOT, "conf/haproxy.cfg")], { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env,
    MOONTILL_BIND: `127.0.0.1:${port}`, MOONTILL_CERT: pem, MOONTILL_SERVER: `127.0.0.1:${shop.port}`, MOONTILL_CA: shop.dev.ca_file } });
  for (const stream of [front.stdout, front.stderr]) stream.on("data", (piece) => (said += piece));
  await until("HAProxy listens", () => front.exitCode !== null || canConnect(port));
  assert.equal(front.exitCode, null, said);
});
after(async () => {
  if (front?.exitCode === null) {
    const ended = once(front, "exit");
    front.kill();
    await ended;
  }
  await shop?.stop();
});

const canConnect = (port) => new Promise((resolve) => {
  const socket = net.connect(port, "127.0.0.1", () => resolve(true) || socket.destroy()).on("error", () => resolve(false));
});

/** A session through HAProxy, from an address that is nobody else's. */
function connect() {
  const { port } = new URL(url);
  return http2.connect(url, { createConnection: () => tls.connect({ host: "127.0.0.1", port, localAddress: CLIENT, ca: shop.ca,
    ALPNProtocols: ["h2"], servername: "localhost" }) });
}

/** The line of the log about the request with this id. */
const lineOf = (id) => until("the line in the log", () => fs.readFileSync(log, "utf8").split("\n").filter((line) => line.includes("http.request"))
  .map((line) => JSON.parse(line)).find((line) => line.request_id === id));

describe("behind HAProxy", () => {
  it("a journey ends in an order", async () => {
    const { variant } = await makeProduct(shop);
    const session = connect();
    const send = (method, target, options) => shop.h2(method, target, { ...options, session });
    const cart = await makeCart(shop, variant.id, { send });
    const through = { store: (method, target, options) => send(method, `/store/v1${target}`, options) };
    const done = assertOk(await buy(through, cart));
    assert.equal(done.type, "order");
    assert.equal(assertOk(await send("GET", `/store/v1/orders/${done.order.id}`)).order.id, done.order.id);
    session.close();
  });

  it("the client's address is the one that HAProxy saw", async () => {
    const session = connect();
    const answer = await shop.h2("GET", "/store/v1/products", { session, headers: { "x-forwarded-for": "6.6.6.6", forwarded: "for=6.6.6.6" } });
    session.close();
    const line = await lineOf(answer.headers["x-request-id"]);
    assert.equal(line.peer, CLIENT);
    assert.equal(line.protocol, "HTTP/1.1", "what one client does over HTTP/2 must not be held against all");
  });

  it("a line that the client sent itself does not count, whoever stands in front", async () => {
    const answer = await shop.h1("GET", "/store/v1/products", { headers: { "x-forwarded-for": ["6.6.6.6", "1.2.3.4, 10.0.0.9"] } });
    assert.equal((await lineOf(answer.headers["x-request-id"])).peer, "10.0.0.9");
  });

  it("a body that is too large is refused before Moontill sees it", async () => {
    const session = connect();
    const answer = await shop.h2("POST", "/store/v1/carts", { session, body: Buffer.alloc(2_000_000, " ") });
    session.close();
    assert.equal(answer.status, 413);
    assert.equal(answer.headers["x-request-id"], undefined);
  });
});

// The server is changed while it serves, and no request is lost: HUP, USR2, workers replaced, TERM with a successor.
//
// What counts as lost. Every request that was written to a connection counts, whatever its method, and nothing is
// asked twice. There is one exception, which every HTTP/1.1 client needs with every server (RFC 9112, 9.3.1): a
// connection that lay idle and that the server had ended in order by the time of the writing (an end of file without
// a byte of an answer, not a reset). Such a client asks again on another connection. The server gives idle
// connections a second's notice before it ends them, so a client that is busy never comes there; `retries` counts
// those who did, and the busy ones below must have none.
// Over HTTP/2 the frames are looked at: the server must not reset a stream, nor name a last one in a GOAWAY that is
// before one whose HEADERS were written. What a client had not written yet when it read the GOAWAY was never asked (Node
// says REFUSED_STREAM of it too); it is asked over the next connection.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import https from "node:https";
import net from "node:net";
import path from "node:path";
import tls from "node:tls";
import { after, before, describe, it } from "node:test";
import { BINARY, ROOT, Shop, buy, freePort, makeCart, makeProduct, moontill, tempDir, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";
import { Tap } from "./support/frames.mjs";
import { assertInvariants } from "./support/db.mjs";
import { control, isAlive, workers } from "./support/process.mjs";

const MINUTE = 60_000;

let shop, release, binary, conf, variant;
before(async () => {
  release = tempDir("release");
  binary = path.join(release, "moontill");
  install();
  conf = path.join(release, "moontill.lua");
  configure({});
  shop = await Shop.start({ binary, env: { MOONTILL_ROOT: ROOT }, args: ["--no-demo", "--conf", conf] });
  ({ variant } = await makeProduct(shop, { stock: 100000 }));
});
after(async () => {
  await shop?.stop();
  if (release) fs.rmSync(release, { recursive: true, force: true });
});

/** Puts a program where the server finds it: the good one, or other content. */
function install(content = fs.readFileSync(BINARY)) {
  fs.writeFileSync(`${binary}.new`, content, { mode: 0o755 });
  fs.renameSync(`${binary}.new`, binary);
}

function configure(server, more = "") {
  const all = { workers: 2, shutdown_timeout_ms: 10000, ...server };
  const lines = Object.entries(all).map(([name, value]) => `    ${name} = ${JSON.stringify(value)},`);
  fs.writeFileSync(conf, `return {\n  server = {\n${lines.join("\n")}\n  },\n${more}}\n`);
}

/** Busy clients of both protocols until `stop()`: it gives what went wrong and how much was asked. */
class Load {
  constructor({ url = shop.dev.url, ca = shop.ca, orders = true } = {}) {
    Object.assign(this, { url, ca, failures: [], asked: { h1: 0, h2: 0, orders: 0 }, retries: 0, taps: [], isOver: false });
    this.agent = new https.Agent({ keepAlive: true, ca, ALPNProtocols: ["http/1.1"] });
    this.running = [this.h1(), this.h1(), this.h1(), this.h2(), this.h2()];
    if (orders) this.running.push(this.buyer());
  }

  async loop(kind, ask) {
    while (!this.isOver) {
      try {
        const status = await ask();
        if (status >= 400) this.failures.push(`${kind}: ${status}`);
      } catch (error) {
        this.failures.push(`${kind}: ${error.code} ${error.message}`);
      }
      ++this.asked[kind];
      if (this.failures.length > 20) return;
    }
  }

  /** A keep-alive connection, one request after the other; the second attempt is the exception above. */
  h1() {
    const ask = (isRetry) => new Promise((resolve, reject) => {
      const request = https.request(`${this.url}/store/v1/products?limit=3`, { agent: this.agent,
        headers: { authorization: `Bearer ${shop.dev.store_key}` } }, (answer) => {
        answer.resume();
        answer.on("end", () => (answer.complete ? resolve(answer.statusCode) : reject(new Error("cut off"))));
      });
      request.on("error", (error) => {
        const wasEnded = request.reusedSocket && error.message === "socket hang up" && !isRetry;
        if (!wasEnded) return reject(error);
        ++this.retries;
        resolve(ask(true));
      });
      request.end();
    });
    return this.loop("h1", () => ask(false));
  }

  /** Connections over HTTP/2, one after the other: after a GOAWAY what comes next goes over another. */
  connections() {
    let session;
    const open = () => {
      if (session && !session.closed && !session.destroyed) return session;
      session = Tap.connect(this.url, { ca: this.ca });
      session.on("error", (error) => this.failures.push(`h2 session: ${error.message}`));
      this.taps.push(session.tap);
      return session;
    };
    const ask = (send) => send(open()).catch((error) => {
      if (!error.isUnsent) throw error;
      return ask(send);
    });
    return { ask, close: () => session?.close() };
  }

  /** Four requests at a time. */
  h2() {
    const connections = this.connections();
    const send = (session) => new Promise((resolve, reject) => {
      const stream = session.request({ ":path": "/store/v1/products?limit=3", authorization: `Bearer ${shop.dev.store_key}` });
      let status = 0;
      stream.on("response", (headers) => (status = headers[":status"]));
      stream.resume();
      stream.on("end", () => (status ? resolve(status) : reject(new Error("ended without an answer"))));
      stream.on("error", reject);
      stream.on("close", () => reject(new Error("closed without an answer")));
    });
    const one = () => connections.ask(send);
    const done = this.loop("h2", async () => Math.max(...(await Promise.all([one(), one(), one(), one()]))));
    return done.then(connections.close);
  }

  /** Whole purchases over HTTP/2. */
  buyer() {
    const connections = this.connections();
    const send = (method, target, options) => connections.ask((session) => shop.h2(method, target, { ...options, session }));
    const other = Object.assign(Object.create(shop), { h2: send, store: (m, t, o) => send(m, `/store/v1${t}`, o) });
    const done = this.loop("orders", async () => {
      const answer = await buy(other, await makeCart(other, variant.id, { send }));
      return answer.body?.type === "order" ? answer.status : 599;
    });
    return done.then(connections.close);
  }

  async stop() {
    this.isOver = true;
    await Promise.all(this.running);
    this.agent.destroy();
    return this;
  }

  /** Goes on until everybody has been answered `n` more times. */
  async more(n = 10) {
    const before = { ...this.asked };
    await until("the load goes on", () => this.failures.length > 0 ||
      Object.entries(before).every(([kind, seen]) => kind === "orders" || this.asked[kind] >= seen + n), MINUTE);
  }

  assertNothingLost() {
    assert.deepEqual(this.failures, []);
    assert.deepEqual(this.taps.flatMap((tap) => tap.refused), [], "the server reset or refused a stream that was begun");
    assert.ok(this.taps.some((tap) => tap.goaways.length > 0), "no connection over HTTP/2 was told to go");
    assert.equal(this.retries, 0, "a busy client's connection was ended between two requests");
    assert.ok(this.asked.h1 > 20 && this.asked.h2 > 20, JSON.stringify(this.asked));
  }
}

const pids = async (kind = "web") => (await workers(shop)).filter((w) => w.name.startsWith(kind) && w.state === "ready").map((w) => w.pid).sort();
const gone = (list) => until("the old workers have gone", () => list.every((pid) => !isAlive(pid)), MINUTE);
const masterOf = async () => (await control(shop, "status")).pid;

describe("HUP", () => {
  it("with another configuration replaces every worker, and no request is lost", async () => {
    const load = new Load();
    for (const [i, count] of [3, 2, 4, 2].entries()) {
      const before = await pids();
      await load.more();
      configure({ workers: count, max_body_bytes: 500000 + i });
      process.kill(await masterOf(), "SIGHUP");
      await until(`${count} new workers serve`, async () => {
        const now = await pids();
        return now.length === count && now.every((pid) => !before.includes(pid));
      }, MINUTE);
      await gone(before);
    }
    await load.more();
    (await load.stop()).assertNothingLost();
    assert.ok(load.asked.orders > 0);
    await assertInvariants(shop);
  });

  it("makes an option of the server count", async () => {
    configure({ max_body_bytes: 2048 });
    const done = await shop.cli("reload", "--json");
    assert.equal(done.code, 0, done.stderr);
    const lines = done.stdout.trim().split("\n").map((line) => JSON.parse(line));
    assert.match(lines[0].progress, /server\.max_body_bytes/);
    assert.ok(lines.some((line) => /^web-\d+ \(pid \d+\) serves, \d+ ms$/.test(line.progress)), done.stdout);
    assert.ok(lines.some((line) => /^web-\d+ \(pid \d+\) drains, \d+ ms$/.test(line.progress)), done.stdout);
    assert.equal(lines.at(-1).replaced, true);
    const answer = await shop.h1("POST", "/store/v1/carts", { agent: false, body: { x: "y".repeat(3000) } });
    assert.equal(answer.status, 413);
    configure({});
    assert.equal((await shop.cli("reload")).code, 0);
  });

  it("twice in a row reads what stands there at the second", async () => {
    configure({ max_body_bytes: 4096 });
    const master = await masterOf();
    process.kill(master, "SIGHUP");
    await until("the first is under way", async () => (await workers(shop)).some((w) => w.state === "starting"));
    configure({ max_body_bytes: 1024 });
    process.kill(master, "SIGHUP");
    await until("the second counts", async () =>
      (await shop.h1("POST", "/store/v1/carts", { agent: false, body: { x: "y".repeat(2000) } })).status === 413, MINUTE);
    configure({});
    assert.equal((await until("it may be reloaded", async () => {
      const done = await shop.cli("reload");
      return done.code === 0 && done;
    })).code, 0);
  });

  it("moves to another address, and lets go of the old one", async () => {
    const port = await freePort();
    const url = (at) => `https://127.0.0.1:${at}`;
    // the command line of dev names its address, and wins: a server of its own has its own file
    const own = await serve({ conf: path.join(release, "own.lua"), listen: port });
    const next = await freePort();
    own.configure({ listen: `127.0.0.1:${next}` });
    const done = await own.cli("reload");
    assert.equal(done.code, 0, done.stderr);
    assert.equal(await ping(url(next)), 200);
    await until("the old port is free", () => ping(url(port)).then(() => false, (error) => error.code === "ECONNREFUSED"));
    const taken = net.createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    own.configure({ listen: `127.0.0.1:${taken.address().port}` });
    const refused = await own.cli("reload");
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, new RegExp(`cannot listen on 127.0.0.1:${taken.address().port}: Address already in use`));
    assert.equal(await ping(url(next)), 200);
    own.configure({ listen: `127.0.0.1:${next}`, control_socket: "elsewhere.sock" });
    assert.match((await own.cli("reload")).stderr, /server\.control_socket cannot change/);
    taken.close();
    await own.stop();
  });

  const wrong = {
    "a line that does not parse": [() => fs.writeFileSync(conf, "return {\n  server = { workers = },\n}\n"), /moontill\.lua: line 2: a value is expected/],
    "an option that there is not": [() => configure({ wrokers: 2 }), /moontill\.lua:\d+.*wrokers/],
    "a value out of range": [() => configure({ workers: 1000 }), /moontill\.lua:\d+.*workers/],
    "a user that there is not": [() => configure({ user: "nobody-of-that-name" }), /server\.user.*nobody-of-that-name/],
  };
  for (const [name, [write, expected]] of Object.entries(wrong)) {
    it(`with ${name} is refused, and the old one goes on`, async () => {
      const before = await pids();
      write();
      const refused = await shop.cli("reload");
      assert.equal(refused.code, 1, refused.stdout);
      assert.match(refused.stderr, expected);
      assert.deepEqual(await pids(), before);
      assertOk(await shop.h1("GET", "/store/v1/products", { agent: false }), 200);
      configure({});
    });
  }
});

describe("USR2", () => {
  it("replaces the program, and no request is lost", async () => {
    const load = new Load();
    for (let i = 0; i < 3; ++i) {
      const before = await pids(), old = await masterOf();
      await load.more();
      install();
      process.kill(i === 0 ? shop.process.pid : old, "SIGUSR2"); // dev passes it on
      await until("another server takes orders", async () => (await masterOf().catch(() => old)) !== old, MINUTE);
      await gone([...before, old]);
      assert.equal(fs.readFileSync(path.join(shop.dir, "moontill.pid"), "utf8").trim(), String(await masterOf()));
    }
    await load.more();
    (await load.stop()).assertNothingLost();
    await assertInvariants(shop);
  });

  it("is done by a command too, which waits for it", async () => {
    const old = await masterOf();
    const done = await shop.cli("upgrade");
    assert.equal(done.code, 0, done.stderr);
    assert.notEqual(await masterOf(), old);
    await gone([old]);
    assert.ok(shop.exit === undefined, "dev goes on with the new one");
  });

  it("ends the old one only after the new pid can be read, idle as it is", async () => {
    const file = path.join(shop.dir, "moontill.pid");
    for (let i = 0; i < 8; ++i) {
      const old = await masterOf();
      assert.equal((await shop.cli("upgrade")).code, 0);
      await gone([old]);
      assert.ok(shop.exit === undefined, "dev knows the successor");
      assert.equal(fs.readFileSync(file, "utf8").trim(), String(await masterOf()));
    }
  });

  const cursor = async () => (await shop.store("GET", "/products?limit=1")).body.next_cursor;
  it("leaves cursors valid that were given out before", async () => {
    await makeProduct(shop);
    const after = await cursor();
    assert.ok(after);
    const old = await masterOf();
    assert.equal((await shop.cli("upgrade")).code, 0);
    await gone([old]);
    assertOk(await shop.store("GET", `/products?limit=1&after=${after}`), 200);
  });

  const bad = {
    "that is none": ["#!/nonexistent/interpreter\n", /No such file|ended before it was ready/],
    "that ends at once": ["#!/bin/sh\nexit 3\n", /ended before it was ready/],
    "that crashes": ["#!/bin/sh\nkill -SEGV $$\n", /ended by signal 11/],
  };
  for (const [name, [content, expected]] of Object.entries(bad)) {
    it(`with a program ${name} says so, and the old one goes on`, async () => {
      const before = await pids(), old = await masterOf();
      install(content);
      const refused = await new Promise((resolve) => {
        const socket = net.connect(path.join(shop.dir, "control.sock"));
        let text = "";
        socket.on("data", (piece) => (text += piece));
        socket.on("end", () => resolve(JSON.parse(text.trim().split("\n").pop())));
        socket.write('{"command":"upgrade"}\n');
      });
      install();
      assert.equal(refused.ok, false);
      assert.match(refused.error, expected);
      assert.equal(await masterOf(), old);
      assert.deepEqual(await pids(), before);
      assertOk(await shop.h1("GET", "/store/v1/products", { agent: false }), 200);
    });
  }

  it("with a configuration that is wrong by now says so, and the old one goes on", async () => {
    const old = await masterOf();
    configure({ wrokers: 1 });
    const refused = await shop.cli("upgrade");
    configure({});
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /moontill\.lua:\d+.*wrokers/);
    assert.equal(await masterOf(), old);
  });
});

// ---- servers beside the shop's, on its database -----------------------------------------------------------------

const ping = (url) => new Promise((resolve, reject) => {
  const request = https.get(`${url}/store/v1/products?limit=1`, { ca: shop.ca, agent: false,
    headers: { authorization: `Bearer ${shop.dev.store_key}` } }, (answer) => {
    answer.resume();
    answer.on("end", () => resolve(answer.statusCode));
  });
  request.on("error", reject);
});

const quoted = JSON.stringify;

function writeConf(file, dir, listen, options) {
  const all = { listen: `127.0.0.1:${listen}`, workers: 2, jobs_workers: 0, cert_file: path.join(shop.dir, "tls/cert.pem"),
    key_file: path.join(shop.dir, "tls/key.pem"), ...options };
  const lines = Object.entries(all).map(([name, value]) => `    ${name} = ${quoted(value)},`);
  fs.writeFileSync(file, `return {\n  server = {\n${lines.join("\n")}\n  },\n` +
    `  mysql = { socket = ${quoted(shop.dev.mysql_socket)} },\n  redis = { socket = ${quoted(shop.dev.redis_socket)} },\n` +
    `  log = { file = ${quoted(path.join(dir, "log"))} },\n  plugins = { ["payment-test"] = { enabled = true } },\n}\n`);
}

/** `moontill serve` with a file of its own; a `manager` starts it with its sockets. */
async function serve({ conf: file, listen, manager, dir = tempDir("serve") }) {
  const server = { dir, configure: (options) => writeConf(file, dir, listen, options) };
  server.configure({});
  const out = path.join(dir, "out");
  const command = `exec "${BINARY}" serve --conf "${file}" --var "${dir}" >"${out}" 2>&1`;
  if (manager) manager.run(`LISTEN_PID=$$ LISTEN_FDS=2 ${command}`);
  else spawn("sh", ["-c", command], { stdio: "ignore", env: { ...process.env, MOONTILL_ROOT: ROOT } });
  const said = () => (fs.existsSync(out) ? fs.readFileSync(out, "utf8") : "");
  await until("serve is ready", () => /^ready /m.test(said()), MINUTE).catch((error) => assert.fail(`${error.message}\n${said()}`));
  server.pid = Number(fs.readFileSync(path.join(dir, "moontill.pid"), "utf8"));
  server.cli = (...args) => moontill([...args, "--var", dir]);
  server.ended = () => until("serve ends", () => !isAlive(server.pid), MINUTE);
  server.stop = async () => {
    process.kill(server.pid, "SIGTERM");
    await server.ended();
    assert.doesNotMatch(said(), /ERROR|Sanitizer/);
    fs.rmSync(dir, { recursive: true, force: true });
  };
  return server;
}

/** A service manager that holds two listeners and accepts from none: a shell. */
async function startManager() {
  const made = [net.createServer(), net.createServer()];
  for (const one of made) await once(one.listen(0, "127.0.0.1"), "listening");
  const { port } = made[0].address();
  const shell = spawn("sh", [], { stdio: ["pipe", "inherit", "inherit", ...made.map((one) => one._handle.fd)],
    env: { ...process.env, MOONTILL_ROOT: ROOT } });
  for (const one of made) one.close(); // this process would accept
  return {
    port,
    run: (command) => shell.stdin.write(`sh -c '${command}' &\n`),
    stop: () => shell.stdin.end(),
  };
}

describe("TERM", () => {
  it("with another server on the same listeners loses no request", async () => {
    const manager = await startManager();
    const start = (i) => serve({ conf: path.join(release, `s${i}.lua`), listen: manager.port, manager });
    let first = await start(0);
    const load = new Load({ url: `https://127.0.0.1:${manager.port}` });
    for (let i = 1; i <= 2; ++i) {
      await load.more();
      const second = await start(i);
      await first.stop();
      first = second;
    }
    await load.more();
    (await load.stop()).assertNothingLost();
    await first.stop();
    manager.stop();
  });

  it("ends an idle HTTP/1.1 connection in order: its client sees the end and no reset", async () => {
    const port = await freePort();
    const own = await serve({ conf: path.join(release, "idle.lua"), listen: port });
    const socket = tls.connect({ port, host: "127.0.0.1", ca: shop.ca, servername: "localhost", ALPNProtocols: ["http/1.1"] });
    await once(socket, "secureConnect");
    let text = "", error;
    socket.on("data", (piece) => (text += piece));
    socket.on("error", (e) => (error = e));
    socket.write("GET /livez-not-here HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await until("an answer", () => text.includes("\r\n\r\n"));
    const ended = once(socket, "end");
    const stopped = own.stop();
    await ended;
    assert.equal(error, undefined);
    await stopped;
  });

  it("answers a busy HTTP/1.1 client's next request, and tells it to go", async () => {
    const port = await freePort();
    const own = await serve({ conf: path.join(release, "busy.lua"), listen: port });
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1, ca: shop.ca });
    const ask = () => new Promise((resolve, reject) => {
      const request = https.get(`https://127.0.0.1:${port}/store/v1/products?limit=1`, { agent,
        headers: { authorization: `Bearer ${shop.dev.store_key}` } }, (answer) => {
        answer.resume();
        answer.on("end", () => resolve({ status: answer.statusCode, connection: answer.headers.connection, reused: request.reusedSocket }));
      });
      request.on("error", reject);
    });
    assert.equal((await ask()).connection, "keep-alive");
    const stopped = own.stop();
    await until("it has stopped to listen", () => ping(`https://127.0.0.1:${port}`).then(() => false, (e) => e.code === "ECONNREFUSED"));
    assert.deepEqual(await ask(), { status: 200, connection: "close", reused: true });
    await stopped;
    agent.destroy();
  });
});

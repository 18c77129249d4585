// The master is killed, certificates are renewed, workers run as somebody else, and one that dies again and again.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http2 from "node:http2";
import path from "node:path";
import tls from "node:tls";
import { after, before, describe, it } from "node:test";
import { Shop, moontill, tempDir, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";
import { control, isAlive, workers } from "./support/process.mjs";

const MINUTE = 60_000;
const isRoot = process.getuid() === 0;

const MANIFEST = `return { name = "probe-word", version = "1.0.0", api = 1, hooks = { "http.route" } }\n`;
const handler = (word) => `return { ["http.route"] = function()
  return { { method = "GET", path = "/plugins/probe-word/word", auth = "none", summary = "The word",
    handler = function(ctx) return ctx:json(200, { word = "${word}" }) end } }
end }
`;

let shop, plugins, conf;
const write = (word) => fs.writeFileSync(path.join(plugins, "probe-word", "handler.lua"), handler(word));

before(async () => {
  plugins = tempDir("plugins");
  fs.mkdirSync(path.join(plugins, "probe-word"));
  fs.writeFileSync(path.join(plugins, "probe-word", "plugin.lua"), MANIFEST);
  write("one");
  conf = path.join(plugins, "moontill.lua");
  // the only one besides root who may enter the folder of dev's database
  const user = isRoot ? `, user = "mysql"` : "";
  fs.writeFileSync(conf, `return { server = { workers = 2${user} } }\n`);
  shop = await Shop.start({ args: ["--no-demo", "--conf", conf, "--plugins", plugins] });
});
after(async () => {
  await shop?.stop();
  if (plugins) fs.rmSync(plugins, { recursive: true, force: true });
});

const word = async () => assertOk(await shop.h1("GET", "/plugins/probe-word/word", { key: null, agent: false }), 200).word;
const masterOf = async () => (await control(shop, "status")).pid;
const ready = () => until("all workers serve", async () => {
  const all = await workers(shop).catch(() => []);
  return all.length > 2 && all.every((w) => w.state === "ready") && all;
}, MINUTE);

/** dev starts a server again, but not one that dies within two seconds. */
const grown = () => until("it is no newborn",
  () => Date.now() - fs.statSync(path.join(shop.dir, "moontill.pid")).mtimeMs > 3000);

describe("the master that is killed", () => {
  it("takes its workers along, and what was live is live again, not what the folders hold", async () => {
    write("two");
    assert.equal((await shop.cli("reload")).code, 0);
    assert.equal((await shop.cli("rollback")).code, 0);
    assert.equal(await word(), "one");
    await grown();
    const before = await workers(shop), live = (await control(shop, "generations")).live.name, master = await masterOf();
    process.kill(master, "SIGKILL");
    await until("another master serves", async () => (await masterOf().catch(() => master)) !== master, MINUTE);
    await until("the old workers are gone", () => before.every((w) => !isAlive(w.pid)), MINUTE);
    await ready();
    assert.equal((await control(shop, "generations")).live.name, live);
    assert.equal(await word(), "one");
    assert.equal((await shop.cli("reload")).code, 0);
    assert.equal(await word(), "two", "a reload reads the folders");
  });

  it("leaves no worker that holds the port, stuck or not", async () => {
    const [web] = await workers(shop), master = await masterOf();
    await grown();
    process.kill(web.pid, "SIGSTOP"); // it sees nothing; and is not continued before the new server needs the port
    process.kill(master, "SIGKILL");
    await until("nobody runs but the stopped one", async () => !isAlive(master));
    process.kill(web.pid, "SIGCONT");
    await until("another master serves", async () => (await masterOf().catch(() => master)) !== master, MINUTE);
    await until("the one that was stopped is gone", () => !isAlive(web.pid), MINUTE);
    await ready();
    assert.equal(await word(), "two");
  });
});

/** A self-signed certificate for the shop; its serial tells one from the other. */
function certify(serial, days = 30) {
  const at = path.join(shop.dir, "tls");
  execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", `${at}/new.key`, "-out", `${at}/new.pem`,
    "-days", String(days), "-subj", "/CN=localhost", "-set_serial", String(serial), "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
  { stdio: "ignore" });
  fs.renameSync(`${at}/new.key`, `${at}/key.pem`);
  fs.renameSync(`${at}/new.pem`, `${at}/cert.pem`);
  return fs.readFileSync(`${at}/cert.pem`);
}

async function shown(protocol) {
  const socket = tls.connect({ port: shop.port, host: "127.0.0.1", servername: "localhost", rejectUnauthorized: false, ALPNProtocols: [protocol] });
  await once(socket, "secureConnect");
  const got = { serial: parseInt(socket.getPeerCertificate().serialNumber, 16), protocol: socket.alpnProtocol };
  socket.destroy();
  return got;
}

describe("a certificate that is renewed", () => {
  // the key of dev is of an elliptic curve, this one of RSA: one must not stay beside the other
  it("is shown to who comes then; connections that are there go on, over both protocols", async () => {
    const session = http2.connect(shop.dev.url, { ca: shop.ca });
    const overH2 = () => shop.h2("GET", "/plugins/probe-word/word", { key: null, session });
    assertOk(await overH2(), 200);
    const plain = tls.connect({ port: shop.port, host: "127.0.0.1", servername: "localhost", ca: shop.ca, ALPNProtocols: ["http/1.1"] });
    let text = "";
    plain.on("data", (piece) => (text += piece));
    await once(plain, "secureConnect");
    const pids = (await workers(shop)).map((w) => w.pid);
    const ca = certify(77);
    assert.equal((await shop.cli("reload")).code, 0);
    for (const protocol of ["h2", "http/1.1", "h2", "http/1.1", "h2", "http/1.1"]) {
      assert.deepEqual(await until("the new one is shown", async () => {
        const got = await shown(protocol);
        return got.serial === 77 && got;
      }), { serial: 77, protocol });
    }
    assertOk(await overH2(), 200);
    assert.ok(!session.closed, "the connection is the same");
    plain.write("GET /plugins/probe-word/word HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await until("an answer on the old connection", () => text.includes('"word"'));
    assert.deepEqual((await workers(shop)).map((w) => w.pid), pids, "the processes are the same");
    session.close();
    plain.destroy();
    shop.ca = ca;
  });

  it("is refused where it does not fit its key, and the old one goes on", async () => {
    const key = path.join(shop.dir, "tls/key.pem"), good = fs.readFileSync(key);
    execFileSync("openssl", ["genrsa", "-out", key, "2048"], { stdio: "ignore" });
    const refused = await shop.cli("reload");
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /server\.key_file is not the key of the certificate/);
    fs.writeFileSync(key, "nonsense");
    assert.match((await shop.cli("reload")).stderr, /server\.key_file holds no key/);
    fs.rmSync(key);
    assert.match((await shop.cli("reload")).stderr, /server\.key_file: .*key\.pem cannot be read/);
    assert.equal((await shown("h2")).serial, 77);
    fs.writeFileSync(key, good, { mode: 0o600 });
    assert.equal((await shop.cli("reload")).code, 0);
  });
});

describe("workers of a server that root started", () => {
  it("are the user of server.user, and take a certificate that they may not read", { skip: !isRoot }, async () => {
    const user = Number(execFileSync("id", ["-u", "mysql"], { encoding: "utf8" }));
    for (const { pid } of await workers(shop)) {
      const uids = /^Uid:\s+(.*)$/m.exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"))[1].split(/\s+/).map(Number);
      assert.deepEqual(uids, [user, user, user, user]);
    }
    assert.equal(fs.statSync(path.join(shop.dir, "tls/key.pem")).mode & 0o077, 0);
    certify(78);
    fs.chmodSync(path.join(shop.dir, "tls/key.pem"), 0o600);
    assert.equal((await shop.cli("reload")).code, 0);
    await until("the new one is shown", async () => (await shown("h2")).serial === 78);
    shop.ca = fs.readFileSync(path.join(shop.dir, "tls/cert.pem"));
  });
});

describe("a worker that dies again and again", () => {
  it("is started with a growing delay, and others serve on", async () => {
    const gaps = [];
    const victim = async () => (await workers(shop)).find((w) => w.name.startsWith("jobs-"));
    for (let i = 0; i < 5; ++i) {
      const { pid } = await until("it runs", async () => {
        const now = await victim();
        return now.pid !== 0 && now;
      }, MINUTE);
      process.kill(pid, "SIGKILL");
      const began = performance.now();
      await until("it is started again", async () => {
        const now = await victim();
        return now.pid !== 0 && now.pid !== pid;
      }, MINUTE);
      gaps.push(performance.now() - began);
      assert.equal(await word(), "two");
    }
    assert.ok(gaps[4] >= 700, `the last of its starts came after ${gaps.map(Math.round).join(", ")} ms`);
    assert.ok(gaps[4] < 10_000 + MINUTE / 6);
    assert.ok((await victim()).restarts >= 5);
  });
});

describe("a second server", () => {
  it("in the same folder is refused, and the first goes on", async () => {
    const done = await moontill(["serve", "--conf", conf, "--var", shop.dir]);
    assert.equal(done.code, 1);
    assert.match(done.stderr, /another server runs there already/);
    assert.equal(await word(), "two");
  });
});

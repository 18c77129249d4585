// moontill doctor: each finding seen, on servers, files and limits that are really wrong.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { BINARY, Shop, moontill, tempDir, until } from "./support/shop.mjs";

const LEVELS = ["ok", "warn", "fail"];
let shop;
let dir;

/** {code, findings, at: check → finding (the worst one of its name)} */
async function doctor(args = [], options = {}) {
  const done = await moontill(["doctor", "--json", ...args], options);
  assert.equal(done.stderr, "", done.stderr);
  const told = JSON.parse(done.stdout);
  const at = {};
  for (const f of told.findings) {
    assert.ok(LEVELS.includes(f.level) && f.finding.length > 0, JSON.stringify(f));
    assert.equal(f.advice !== undefined, f.level !== "ok", JSON.stringify(f));
    if (!(LEVELS.indexOf(at[f.check]?.level) > LEVELS.indexOf(f.level))) at[f.check] = f;
  }
  for (const level of LEVELS) assert.equal(told[level], told.findings.filter((f) => f.level === level).length);
  assert.equal(done.code, told.fail > 0 ? 1 : 0);
  return { code: done.code, findings: told.findings, at };
}

function assertFinding(told, check, level, pattern) {
  const found = told.at[check];
  assert.ok(found, `no finding ${check}: ${JSON.stringify(told.findings)}`);
  assert.equal(found.level, level, JSON.stringify(found));
  if (pattern) assert.match(found.finding, pattern);
}

const file = (name, text, mode = 0o600) => {
  const at = path.join(dir, name);
  fs.writeFileSync(at, text);
  fs.chmodSync(at, mode);
  return at;
};
const openssl = (...args) => execFileSync("openssl", args, { cwd: dir, stdio: ["ignore", "pipe", "pipe"] });

before(async () => {
  dir = tempDir("doctor");
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=1"] });
  await until("all workers are ready", async () => JSON.parse((await shop.cli("status", "--json")).stdout).workers.every((w) => w.state === "ready"));
});
after(async () => {
  if (shop && !shop.exit) await shop.stop();
  fs.rmSync(shop.dir, { recursive: true, force: true });
  fs.rmSync(dir, { recursive: true, force: true });
});

describe("a shop that runs", () => {
  it("has nothing that fails, and every group is looked at", async () => {
    const told = await doctor(["--var", shop.dir]);
    assert.equal(told.code, 0, JSON.stringify(told.findings.filter((f) => f.level === "fail")));
    for (const check of ["versions", "server", "server.workers", "generation", "server.trust_forwarded", "config.secrets", "limits.files",
      "limits.somaxconn", "disk.var", "certificate.dates", "certificate.key", "certificate.names", "database.version",
      "database.innodb_flush_log_at_trx_commit", "database.innodb_doublewrite", "database.session", "database.charset",
      "database.connections", "database.clock", "database.schema", "redis.version", "redis.memory", "redis.latency", "jobs", "box"]) assertFinding(told, check, "ok");
    assertFinding(told, "versions", "ok", /moontill \d.*libh2o 2\.2\.5.*LuaJIT 2\.1.*mariadb client 3.*libcurl 7.*hiredis 0\.14.*OpenSSL 3/);
    assertFinding(told, "server.workers", "ok", /^2, all ready$/);
    assertFinding(told, "shop.signing_secret", "warn", /empty/);
    assertFinding(told, "certificate.chain", "warn", /does not trust it/);
  });

  it("is told of in lines for people too", async () => {
    const done = await moontill(["doctor", "--var", shop.dir]);
    assert.equal(done.code, 0);
    assert.match(done.stdout, /^ok {4}database\.schema +current, \d+ migrations$/m);
    assert.match(done.stdout, /^ +-> Set it, the same on all machines/m);
    assert.match(done.stdout, /^\d+ ok, \d+ warnings?, 0 failures$/m);
  });

  it("loads its code, or it is said where it does not; the rest is looked at all the same", async () => {
    const plugins = path.join(dir, "plugins", "promo-broken");
    fs.mkdirSync(plugins, { recursive: true });
    fs.writeFileSync(path.join(plugins, "plugin.lua"), 'return { name = "promo-broken", version = "1.0.0", api = 1, hooks = { "promo.evaluate" } }\n');
    fs.writeFileSync(path.join(plugins, "handler.lua"), "return {\n  ['promo.evaluate'] = function( end,\n}\n");
    const told = await doctor(["--var", shop.dir, "--plugins", path.join(dir, "plugins")]);
    assertFinding(told, "generation", "fail", /promo-broken\/handler\.lua:2/);
    assertFinding(told, "database.schema", "ok");
    fs.writeFileSync(path.join(plugins, "handler.lua"), "return { ['promo.evaluate'] = function() end }\n");
    assertFinding(await doctor(["--var", shop.dir, "--plugins", path.join(dir, "plugins")]), "generation", "warn", /the folders hold \w{12}, the server runs \w{12}/);
  });

  it("is told when a worker is away", async () => {
    const { workers } = JSON.parse((await shop.cli("status", "--json")).stdout);
    process.kill(workers.find((w) => w.name === "web-0").pid, "SIGKILL");
    await until("it is seen", async () => {
      const { at } = await doctor(["--var", shop.dir]);
      return at["server.workers"].level !== "ok" || /restarted 1 times/.test(at["server.workers"].finding);
    });
    await until("it is back", async () => /all are ready, but they were restarted 1 times/.test((await doctor(["--var", shop.dir])).at["server.workers"].finding));
  });
});

describe("the command", () => {
  it("refuses what it does not know, and helps", async () => {
    assert.equal((await moontill(["doctor", "--nonsense"])).code, 2);
    const help = await moontill(["doctor", "--help"]);
    assert.equal(help.code, 0);
    assert.match(help.stdout, /--json/);
  });

  it("has one finding where the configuration cannot be read", async () => {
    const conf = file("wrong.lua", "return {\n  server = {\n    wokers = 2,\n  },\n}\n");
    const told = await doctor(["--config", conf, "--var", path.join(dir, "none")]);
    assert.equal(told.findings.length, 1);
    assertFinding(told, "config", "fail", /wrong\.lua:3:.*wokers/);
    const text = await moontill(["doctor", "--config", conf]);
    assert.equal(text.code, 1);
    assert.match(text.stdout, /^fail {2}config/);
  });

  it("makes nothing", async () => {
    await doctor(["--var", path.join(dir, "none")]);
    assert.ok(!fs.existsSync(path.join(dir, "none")));
  });
});

describe("files and options", () => {
  const set = (...options) => ["--var", path.join(dir, "none"), ...options.flatMap((option) => ["--set", option])];

  it("that hold secrets are not for everybody", async () => {
    const secret = file("secret", "s3cret", 0o644);
    const open = file("open.lua", `return { mysql = { password = "s3cret" }, plugins = {} }\n`, 0o644);
    assertFinding(await doctor(["--config", open, ...set()]), "config.secrets", "fail", /open\.lua holds `password`/);
    fs.chmodSync(open, 0o640);
    assertFinding(await doctor(["--config", open, ...set()]), "config.secrets", "ok");
    const pointing = file("pointing.lua", `return { mysql = { password = file("${secret}") } } -- password = "none"\n`, 0o644);
    assertFinding(await doctor(["--config", pointing, ...set()]), "config.secrets", "fail", /can read .*secret/);
    fs.chmodSync(secret, 0o600);
    assertFinding(await doctor(["--config", pointing, ...set()]), "config.secrets", "ok");
  });

  it("that trust whoever comes are told of", async () => {
    assertFinding(await doctor(set("server.listen=0.0.0.0:0", "server.trust_forwarded=true")), "server.trust_forwarded", "warn", /from outside/);
    assertFinding(await doctor(set("server.listen=0.0.0.0:0")), "server.cert_file", "warn", /from outside/);
    assertFinding(await doctor(set("server.trust_forwarded=true")), "server.trust_forwarded", "ok", /proxy/);
    assertFinding(await doctor(set("shop.signing_secret=0123456789abcdef0123456789abcdef")), "shop.signing_secret", "ok");
  });

  it("want no more than the machine has", async () => {
    const told = await doctor(set("server.backlog=65535", "server.workers=200", "vm.memory_cap_mb=4096"));
    assertFinding(told, "limits.somaxconn", "warn", /server\.backlog 65535/);
    assertFinding(told, "limits.tcp_max_syn_backlog", "warn");
    assertFinding(told, "server.workers.count", "warn", /200 web/);
    assertFinding(told, "limits.memory", "warn");
    assertFinding(await doctor(set("server.jobs_workers=0")), "server.jobs_workers", "warn");
    const limited = await new Promise((resolve) => {
      const child = spawn("sh", ["-c", 'ulimit -n 512; exec "$0" "$@"', BINARY, "doctor", "--json", ...set()], { stdio: ["ignore", "pipe", "inherit"] });
      let text = "";
      child.stdout.on("data", (piece) => (text += piece));
      child.on("close", () => resolve(JSON.parse(text)));
    });
    assert.match(limited.findings.find((f) => f.check === "limits.files" && f.level === "fail").finding, /^512 descriptors/);
  });

  it("find their port taken", async () => {
    const taken = net.createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => taken.once("listening", resolve));
    const told = await doctor(set(`server.listen=127.0.0.1:${taken.address().port}`));
    assertFinding(told, "server.listen", "fail", /in use/);
    taken.close();
    assertFinding(await doctor(set("server.listen=127.0.0.1:0")), "server.listen", "ok");
  });
});

describe("a certificate", () => {
  const look = (cert, key) => doctor(["--var", path.join(dir, "none"), "--set", `server.cert_file=${path.join(dir, cert)}`, "--set", `server.key_file=${path.join(dir, key)}`]);
  const make = (name, { days = 365, bits = 2048, san = "DNS:shop.example" } = {}) => {
    openssl("genrsa", "-out", `${name}.key`, String(bits));
    openssl("req", "-new", "-key", `${name}.key`, "-subj", "/CN=shop.example", "-out", `${name}.csr`);
    fs.writeFileSync(path.join(dir, `${name}.ext`), san ? `subjectAltName=${san}\n` : "basicConstraints=CA:FALSE\n");
    openssl("x509", "-req", "-in", `${name}.csr`, "-signkey", `${name}.key`, "-days", String(days), "-extfile", `${name}.ext`, "-out", `${name}.pem`);
  };

  it("has an end", async () => {
    make("good");
    make("old", { days: -1 });
    make("soon", { days: 5 });
    const good = await look("good.pem", "good.key");
    for (const check of ["dates", "key", "names"]) assertFinding(good, `certificate.${check}`, "ok");
    assertFinding(good, "certificate.names", "ok", /shop\.example/);
    assertFinding(await look("old.pem", "old.key"), "certificate.dates", "fail", /it ended on/);
    assertFinding(await look("soon.pem", "soon.key"), "certificate.dates", "warn", /4 days|5 days/);
  });

  it("has a key, its own and long enough", async () => {
    assertFinding(await look("good.pem", "old.key"), "certificate.key", "fail", /not the key/);
    make("short", { bits: 1024 });
    assertFinding(await look("short.pem", "short.key"), "certificate.key", "fail", /1024 bits/);
    fs.chmodSync(path.join(dir, "good.key"), 0o644);
    assertFinding(await look("good.pem", "good.key"), "config.secrets", "fail", /good\.key/);
  });

  it("has names, and a chain in order", async () => {
    make("nameless", { san: null });
    assertFinding(await look("nameless.pem", "nameless.key"), "certificate.names", "fail");
    const both = ["good.pem", "short.pem"].map((name) => fs.readFileSync(path.join(dir, name)));
    fs.writeFileSync(path.join(dir, "mixed.pem"), Buffer.concat(both));
    assertFinding(await look("mixed.pem", "good.key"), "certificate.chain", "fail", /did not sign/);
  });

  it("can be read", async () => {
    assertFinding(await look("none.pem", "good.key"), "certificate", "fail", /none\.pem/);
    file("garbage.pem", "garbage");
    assertFinding(await look("garbage.pem", "good.key"), "certificate", "fail", /garbage\.pem/);
    assertFinding(await look("good.pem", "garbage.pem"), "certificate", "fail", /private key/);
  });
});

describe("without its servers", () => {
  const own = [];
  after(() => own.forEach((server) => server.kill("SIGKILL")));

  const run = async (name, args, ready) => {
    const log = fs.openSync(path.join(dir, `${name}.log`), "a");
    const server = spawn(name, args, { stdio: ["ignore", log, log] });
    own.push(server);
    await until(`${name} is there`, () => ready() || (server.exitCode !== null && assert.fail(fs.readFileSync(path.join(dir, `${name}.log`), "utf8"))), 60_000);
    return server;
  };

  it("a shop is told that they are away, and that its ports are free", async () => {
    await shop.stop({ keep: true });
    const told = await doctor(["--var", shop.dir]);
    assertFinding(told, "server", "ok", /does not run/);
    assertFinding(told, "server.listen", "ok");
    assertFinding(told, "database", "fail", /nobody answers/);
    assertFinding(told, "redis", "fail", /no connection/);
  });

  it("is told what is wrong with a MariaDB", async () => {
    const socket = path.join(shop.dir, "mysql", "wrong.sock");
    const data = path.join(shop.dir, "mysql", "data");
    const user = process.getuid() === 0 ? [`--user=${execFileSync("stat", ["-c", "%U", data], { encoding: "utf8" }).trim()}`] : [];
    await run("mariadbd", ["--no-defaults", `--datadir=${data}`, `--socket=${socket}`, "--skip-networking", ...user, "--innodb-flush-log-at-trx-commit=2",
      "--skip-innodb-doublewrite", "--log-bin=wrong", "--binlog-format=STATEMENT", "--sync-binlog=0", "--max-connections=20", "--wait-timeout=30",
      "--max-allowed-packet=1M", "--innodb-buffer-pool-size=6M", "--init-connect=SET @@timestamp = UNIX_TIMESTAMP() - 3600"], () => fs.existsSync(socket));
    const sql = (text) => execFileSync("mariadb", [`--socket=${socket}`, "-e", text, "moontill"]);
    sql("CREATE TABLE moontill.big (x INT PRIMARY KEY, y TEXT); INSERT INTO moontill.big SELECT seq, REPEAT('x', 1000) FROM seq_1_to_9000; ANALYZE TABLE moontill.big;"
      + " CREATE DATABASE plain CHARACTER SET latin1; GRANT ALL ON plain.* TO moontill@localhost; DELETE FROM moontill.schema_migrations WHERE version = 9;"
      + " SET GLOBAL read_only = 1; SET GLOBAL max_prepared_stmt_count = 900");
    const look = (...sets) => doctor(["--var", shop.dir, ...[`mysql.socket=${socket}`, "mysql.connections=16", ...sets].flatMap((one) => ["--set", one])]);
    const told = await look();
    assertFinding(told, "database.version", "ok", /MariaDB/);
    assertFinding(told, "database.innodb_flush_log_at_trx_commit", "fail", /is 2/);
    assertFinding(told, "database.innodb_doublewrite", "fail", /is OFF/);
    assertFinding(told, "database.read_only", "fail", /is ON/);
    assertFinding(told, "database.binlog", "fail", /STATEMENT/);
    assertFinding(told, "database.sync_binlog", "warn", /is 0/);
    assertFinding(told, "database.connections", "fail", /max_connections is 20/);
    assertFinding(told, "database.statements", "warn", /max_prepared_stmt_count is 900;/);
    assertFinding(told, "database.wait_timeout", "warn", /30 s/);
    assertFinding(told, "database.max_allowed_packet", "warn", /1\.0 MB/);
    assertFinding(told, "database.buffer_pool", "warn", /is 6 MB/);
    assertFinding(told, "database.clock", "fail", /\d{7} ms/);
    assertFinding(told, "database.schema", "fail", /never applied|0009/);
    const plain = await look("mysql.database=plain");
    assertFinding(plain, "database.charset", "fail", /latin1/);
    assertFinding(plain, "database.schema", "fail", /(\d+) of \1 migrations are not applied/);
    assertFinding(await look("mysql.database=none"), "database", "fail", /no rights on mysql.database|no database of the name/);
    assertFinding(await look("mysql.user=nobody"), "database", "fail", /mysql\.user or mysql\.password is wrong/);
  });

  it("is told what is wrong with a Redis", async () => {
    const socket = path.join(dir, "redis.sock");
    const folder = path.join(dir, "gone");
    fs.mkdirSync(folder);
    await run("redis-server", ["--port", "0", "--unixsocket", socket, "--dir", folder, "--save", "3600 1"], () => fs.existsSync(socket));
    const cli = (...args) => execFileSync("redis-cli", ["-s", socket, ...args], { encoding: "utf8" });
    const look = () => doctor(["--var", shop.dir, "--set", `redis.socket=${socket}`]);
    assertFinding(await look(), "redis.memory", "warn", /not set/);
    cli("config", "set", "maxmemory", "64mb", "maxmemory-policy", "allkeys-lru");
    assertFinding(await look(), "redis.memory", "warn", /allkeys-lru/);
    cli("config", "set", "maxmemory-policy", "volatile-ttl");
    assertFinding(await look(), "redis.memory", "ok");
    fs.rmSync(folder, { recursive: true });
    cli("set", "a", "b");
    cli("bgsave");
    await until("its save has failed", () => cli("info", "persistence").includes("rdb_last_bgsave_status:err"));
    assertFinding(await look(), "redis", "fail", /cannot be used/);
    cli("config", "set", "stop-writes-on-bgsave-error", "no");
    assertFinding(await look(), "redis.persistence", "warn", /save failed/);
    cli("config", "set", "requirepass", "s3cret");
    assertFinding(await look(), "redis", "fail", /cannot be used/);
  });
});

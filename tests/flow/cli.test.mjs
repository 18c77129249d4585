// The command line: imports, migrations, misuse, configuration, and what `moontill dev` promises.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { BINARY, ROOT, SLICE, Shop, makeProduct, moontill, tempDir, until } from "./support/shop.mjs";
import { assertOk, assertProblem } from "./support/checks.mjs";
import { assertInvariants, count, query, value } from "./support/db.mjs";
import { processesOf } from "./support/process.mjs";

let shop, dir;
before(async () => {
  dir = tempDir("files");
  shop = await Shop.start({ dir: tempDir("cli") });
});
after(async () => {
  await shop?.stop();
  if (dir) fs.rmSync(dir, { recursive: true, force: true });
});

const file = (name, content) => {
  const at = path.join(dir, name);
  fs.writeFileSync(at, content);
  return at;
};

/** What the tables hold; times of change apart. */
async function checksums() {
  const tables = (await query(shop, "SHOW TABLES")).map(([name]) => name)
    .filter((name) => !["idempotency_keys", "sessions", "outbox", "job_schedules", "job_slots", "stock_checks", "stock_checkpoints",
      "stock_findings", "alerts", "locks", "sagas", "audit_entries"].includes(name));
  return query(shop, `CHECKSUM TABLE ${tables.join(", ")}`);
}

/** Refused, with a sentence that names what is wrong; no trace of the machinery. */
function assertRefused(done, code, pattern) {
  const text = done.stdout + done.stderr;
  assert.equal(done.code, code, text);
  assert.match(text, pattern);
  assert.doesNotMatch(text, /stack traceback|AddressSanitizer|runtime error/);
}

describe("import", () => {
  it("reads the catalogue and the orders, and the second time changes nothing", async () => {
    for (const kind of ["products", "orders"]) {
      const first = await shop.cli("import", kind, SLICE, "--json");
      assert.equal(first.code, 0, first.stderr);
      const report = JSON.parse(first.stdout);
      assert.equal(report.ok, true);
      assert.ok(await count(shop, kind) > 0);
    }
    const seen = await checksums();
    for (const kind of ["products", "orders"]) assert.equal((await shop.cli("import", kind, SLICE)).code, 0);
    assert.deepEqual(await checksums(), seen);
    assert.equal(await count(shop, "orders o", "NOT EXISTS (SELECT 1 FROM order_lines l WHERE l.order_id = o.id)"), 0);
    assert.equal(await value(shop, `SELECT COUNT(*) FROM orders o
      WHERE total <> shipping_total + (SELECT SUM(total) FROM order_lines l WHERE l.order_id = o.id)`), "0");
    await assertInvariants(shop);
  });

  const HEAD = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";
  const GOOD = "900001,99101,A TESTED THING,2,2011-01-05T10:00:00Z,3.50,17850,United Kingdom\n";
  const BAD = "900001,99102,ANOTHER,two,2011-01-05T10:00:00Z,1.00,17850,United Kingdom\n";

  it("leaves out what cannot be read, and reports it with its line", async () => {
    const report = path.join(dir, "report.json");
    const done = await shop.cli("import", "products", file("some.csv", HEAD + GOOD + BAD), "--report", report);
    assert.equal(done.code, 0, done.stderr);
    assert.equal(await count(shop, "variants", "sku = '99101'"), 1);
    const text = fs.readFileSync(report, "utf8");
    JSON.parse(text);
    assert.match(text, /"bad":true.*"rows":\[3\]/);
  });

  it("changes nothing with --on-error reject-all where one row is bad", async () => {
    const seen = await checksums();
    const done = await shop.cli("import", "products", file("bad.csv", HEAD + GOOD.replaceAll("99101", "99103") + BAD), "--on-error", "reject-all");
    assertRefused(done, 1, /cannot be read/);
    assert.deepEqual(await checksums(), seen);
  });

  it("refuses files that are none of its kind, with a sentence", async () => {
    const seen = await checksums();
    const files = {
      "missing column": [file("missing.csv", "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID\n1,2,3,4,5,6,7\n"), /Country/],
      "empty": [file("empty.csv", ""), /empty|header|InvoiceNo|row/i],
      "binary": [file("binary.csv", fs.readFileSync(BINARY).subarray(0, 200000)), /./],
      "cut short": [file("cut.csv.xz", fs.readFileSync(SLICE).subarray(0, 30000)), /./],
      "no xz": [file("no.csv.xz", "InvoiceNo,StockCode"), /./],
      "a folder": [dir, /./],
      "not there": [path.join(dir, "none.csv"), /none\.csv|No such file/],
    };
    for (const [name, [at, pattern]] of Object.entries(files)) {
      for (const kind of ["products", "orders"]) {
        const done = await shop.cli("import", kind, at, "--on-error", "reject-all");
        assertRefused(done, 1, pattern);
        assert.ok((done.stdout + done.stderr).length < 5000, `${name}: too many words`);
      }
    }
    assert.deepEqual(await checksums(), seen);
  });

  it("is not misunderstood", async () => {
    assertRefused(await shop.cli("import"), 2, /products/);
    assertRefused(await shop.cli("import", "customers", SLICE), 2, /products/);
    assertRefused(await shop.cli("import", "products"), 2, /FILE/);
    assertRefused(await shop.cli("import", "products", SLICE, "--on-error", "perhaps"), 2, /reject-all/);
    assertRefused(await shop.cli("import", "products", SLICE, SLICE), 2, /one FILE/);
    assertRefused(await shop.cli("import", "products", SLICE, "--quickly"), 2, /--quickly/);
  });
});

describe("migrate", () => {
  it("tells what was applied, for people and machines", async () => {
    const shown = await shop.cli("migrate", "--status");
    assert.equal(shown.code, 0, shown.stderr);
    const files = fs.readdirSync(path.join(ROOT, "sql")).filter((name) => name.endsWith(".sql"));
    for (const name of files) assert.ok(shown.stdout.includes(name.replace(".sql", "")), name);
    assert.doesNotMatch(shown.stdout, /not applied/);
    const { data } = JSON.parse((await shop.cli("migrate", "--status", "--json")).stdout);
    assert.equal(data.length, files.length);
    assert.equal((await shop.cli("migrate", "--check")).code, 0);
    assert.equal((await shop.cli("migrate")).code, 0, "a second time changes nothing");
    assertRefused(await shop.cli("migrate", "--everything"), 2, /--everything/);
  });

  it("refuses a schema that was changed or is newer, and so does the server", async () => {
    const [table] = (await query(shop, "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name LIKE '%migrations%'"))[0];
    const columns = (await query(shop, `SHOW COLUMNS FROM ${table}`)).map(([name]) => name);
    const hash = columns.find((c) => /sum|hash|sha|digest/.test(c));
    const serve = async () => {
      const done = await moontill(["serve", "--var", shop.dir, "--listen", "127.0.0.1:0"], { timeout: 30_000 });
      return done;
    };
    const kept = await value(shop, `SELECT HEX(${hash}) FROM ${table} WHERE version = 3`);
    await query(shop, `UPDATE ${table} SET ${hash} = REVERSE(${hash}) WHERE version = 3`);
    try {
      assertRefused(await shop.cli("migrate", "--check"), 1, /0003/);
      assertRefused(await serve(), 1, /0003.*(?:\n|.)*$/);
    } finally {
      await query(shop, `UPDATE ${table} SET ${hash} = UNHEX('${kept}') WHERE version = 3`);
    }
    const others = columns.filter((c) => c !== "version");
    await query(shop, `INSERT INTO ${table} (version, ${others.join(", ")}) SELECT 9999, ${others.join(", ")} FROM ${table} WHERE version = 3`);
    try {
      assertRefused(await shop.cli("migrate", "--check"), 1, /newer|9999/);
      assertRefused(await serve(), 1, /newer|9999/);
    } finally {
      await query(shop, `DELETE FROM ${table} WHERE version = 9999`);
    }
    assert.equal((await shop.cli("migrate", "--check")).code, 0);
  });
});

describe("every command", () => {
  const commands = ["dev", "serve", "reload", "rollback", "generations", "status", "stop", "migrate", "import", "jobs", "sagas", "orders", "user", "key"];
  it("helps, and knows what it does not know", async () => {
    const all = await moontill(["--help"]);
    assert.equal(all.code, 0);
    for (const command of commands) {
      assert.ok(all.stdout.includes(`\n  ${command} `), command);
      const help = await moontill([command, "--help"]);
      assert.equal(help.code, 0, `${command}: ${help.stderr}`);
      assert.match(help.stdout, new RegExp(`moontill ${command}`), command);
      const wrong = await moontill([command, "--no-such-option", "--var", shop.dir]);
      assertRefused(wrong, 2, /no-such-option/);
    }
    assertRefused(await moontill(["sell"]), 2, /sell/);
    assertRefused(await moontill([]), 2, /usage/);
    assert.match((await moontill(["--version"])).stdout, /^moontill \d+\.\d+\.\d+\n$/);
  });

  it("of a running server says so where none runs", async () => {
    for (const command of ["reload", "rollback", "generations", "status", "stop"])
      assertRefused(await moontill([command, "--var", dir]), 1, /./);
  });

  it("answers machines in JSON", async () => {
    for (const args of [["status"], ["generations"], ["jobs"], ["jobs", "dead"], ["jobs", "schedules"], ["sagas"], ["key", "list"], ["user", "list"], ["migrate", "--status"]]) {
      const done = await shop.cli(...args, "--json");
      assert.equal(done.code, 0, `${args.join(" ")}: ${done.stderr}`);
      for (const line of done.stdout.trim().split("\n")) JSON.parse(line);
    }
  });

  it("makes keys and people that work, and takes them back", async () => {
    const made = await shop.cli("key", "create", "--name", "From the command line", "--kind", "publishable");
    assert.equal(made.code, 0, made.stderr);
    const key = made.stdout.match(/mtp_[\w-]+/)[0];
    assertOk(await shop.store("GET", "/products?limit=1", { key }), 200);
    const id = (await shop.cli("key", "list")).stdout.split("\n").find((line) => line.includes("From the command line")).match(/key_\w+/)[0];
    assert.equal((await shop.cli("key", "revoke", id)).code, 0);
    await until("it is refused", async () => (await shop.h1("GET", "/store/v1/products?limit=1", { key, agent: false })).status === 401);
    const env = { ...process.env, MOONTILL_PASSWORD: "a long enough password" };
    const person = await moontill(["user", "create", "--email", "cli@example.com", "--name", "Cli", "--role", "viewer", "--var", shop.dir], { env });
    assert.equal(person.code, 0, person.stderr);
    assertOk(await shop.h2("POST", "/auth/v1/staff/sessions", { key: null, body: { email: "cli@example.com", password: env.MOONTILL_PASSWORD } }), 201);
    assertRefused(await moontill(["user", "create", "--email", "cli@example.com", "--role", "viewer", "--var", shop.dir], { env }), 1, /already/);
    assert.equal((await moontill(["user", "password", "--email", "CLI@example.com", "--var", shop.dir], { env })).code, 0);
    assert.equal((await shop.cli("user", "disable", person.stdout.trim())).code, 0);
    const audit = async (subject) => assertOk(await shop.admin("GET", `/audit?subject=${subject}`), 200).data.map((entry) => [entry.actor, entry.action]);
    assert.deepEqual(await audit(id), [["command", "key.revoke"], ["command", "key.create"]]);
    assert.deepEqual(await audit(person.stdout.trim()), ["disable", "password", "create"].map((what) => ["command", `staff.${what}`]));
    assertRefused(await shop.cli("key", "revoke", "key_nonsense"), 2, /id/);
    const channel = ["key", "create", "--name", "Kiosk", "--kind", "publishable", "--reservation-minutes"];
    assert.equal((await shop.cli(...channel, "5")).code, 0);
    const { data } = (await shop.admin("GET", "/keys")).body;
    assert.equal(data.find((key) => key.name === "Kiosk").reservation_minutes, 5);
    for (const minutes of ["0", "1441", "soon"]) assertRefused(await shop.cli(...channel, minutes), 2, /1 to 1440/);
    assertRefused(await shop.cli("key", "create", "--name", "x", "--reservation-minutes", "5"), 2, /publishable/);
  });
});

describe("the configuration", () => {
  const start = (args) => moontill(["dev", "--no-demo", "--var", path.join(dir, "conf"), "--listen", "127.0.0.1:28443", ...args], { timeout: 60_000 });

  it("is refused with file and line where it is wrong", async () => {
    const wrong = {
      "return {\n  server = {\n    wokers = 2,\n  },\n}\n": /wrong\.lua:3:.*wokers/,
      "return {\n  server = { workers = \"two\" },\n}\n": /wrong\.lua:2:.*workers/,
      "return {\n  server = { workers = 100000 },\n}\n": /wrong\.lua:2:.*workers/,
      "return {\n  server = {\n}\n": /wrong\.lua: ?(?:line )?\d/,
      "return {\n  shop = { name = os.getenv(\"HOME\") },\n}\n": /wrong\.lua: ?(?:line )?2/,
      "": /wrong\.lua/,
    };
    for (const [text, pattern] of Object.entries(wrong)) {
      const done = await start(["--conf", file("wrong.lua", text)]);
      assertRefused(done, done.code === 2 ? 2 : 1, pattern);
    }
    assertRefused(await start(["--conf", path.join(dir, "none.lua")]), 1, /none\.lua/);
  });

  it("is refused where an option of the command line is wrong", async () => {
    for (const [set, pattern] of [["server.wokers=2", /wokers/], ["server.workers=two", /workers/], ["server.workers=-1", /workers/],
      ["server.workers", /server\.workers/], ["nothing=1", /nothing/], ["vault.keys=a:b", /vault\.keys: entry 1 is not the base64 of 32 bytes/], ["plugins.no-such.x=1", /no-such/]]) {
      const done = await start(["--set", set]);
      assert.ok(done.code === 1 || done.code === 2, `${set}: ${done.code}`);
      assertRefused(done, done.code, pattern);
    }
    assertRefused(await start(["--listen", "nowhere"]), 2, /HOST:PORT/);
    assertRefused(await start(["--set"]), 2, /--set/);
  });
});

describe("dev", () => {
  it("is ready with one line and a file for its owner alone", async () => {
    assert.equal(shop.stdout, `ready https://127.0.0.1:${shop.port}\n`);
    const at = path.join(shop.dir, "dev.json");
    assert.equal(fs.statSync(at).mode & 0o777, 0o600);
    assert.deepEqual(Object.keys(shop.dev).sort(), ["admin_email", "admin_key", "admin_password", "ca_file", "database", "mysql_socket", "ops_url",
      "redis_socket", "store_key", "url"]);
    assert.equal(shop.dev.url, `https://127.0.0.1:${shop.port}`);
    assert.equal(shop.dev.ops_url, `http://127.0.0.1:${shop.port + 1}`);
    for (const name of ["ca_file", "mysql_socket", "redis_socket"]) assert.ok(fs.existsSync(shop.dev[name]), name);
    const { admin_email: email, admin_password: password } = shop.dev;
    assertOk(await shop.h2("POST", "/auth/v1/staff/sessions", { key: null, body: { email, password } }), 201);
  });

  it("runs once in a folder, and beside others in other folders", async () => {
    const second = await moontill(["dev", "--no-demo", "--var", shop.dir, "--listen", "127.0.0.1:28449"], { timeout: 60_000 });
    assertRefused(second, 1, /another one runs/);
    assertOk(await shop.store("GET", "/products?limit=1"), 200);
    const other = await Shop.start();
    try {
      const { product } = await makeProduct(other);
      assertOk(await other.store("GET", `/products/${product.id}`), 200);
      assertProblem(await shop.store("GET", `/products/${product.id}`), 404, "not_found");
      assertProblem(await shop.store("GET", "/products", { key: other.dev.store_key }), 401, "unauthorized");
    } finally {
      await other.stop();
    }
  });

  it("stops everything that it started, keeps its data, and starts again with it", async () => {
    const own = await Shop.start();
    const { product } = await makeProduct(own);
    const { store_key: storeKey, admin_key: adminKey } = own.dev;
    const pids = processesOf(own.dir).map((p) => p.pid);
    assert.ok(pids.length >= 5, "dev, serve, workers, mariadbd and redis-server");
    const exit = await own.stop({ keep: true });
    assert.deepEqual(exit, { code: 0, signal: null });
    assert.deepEqual(processesOf(own.dir), []);
    const again = await Shop.start({ dir: own.dir });
    assert.equal(again.dev.store_key, storeKey);
    assert.equal(again.dev.admin_key, adminKey);
    assertOk(await again.store("GET", `/products/${product.id}`), 200);
    again.process.kill("SIGKILL");
    await until("its children have seen it die", () => processesOf(own.dir).length === 0);
    fs.rmSync(own.dir, { recursive: true, force: true });
  });
});

// What watches a shop: /metrics is clean, and rules and dashboard speak of metrics that there are.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { Provider } from "./support/provider.mjs";
import { ROOT, Shop, buy, idem, makeCart, makeProduct, newKey, tempDir, until } from "./support/shop.mjs";

const MONITORING = path.join(ROOT, "conf/monitoring");
const read = (name) => fs.readFileSync(path.join(MONITORING, name), "utf8");

function promtool(args, input) {
  const done = spawnSync("promtool", args, { input, encoding: "utf8" });
  assert.equal(done.error, undefined, "promtool is of the package prometheus: scripts/deps.sh test");
  return { code: done.status, text: done.stdout + done.stderr };
}

/** Names of metrics that a text speaks of, without what histograms add to theirs. */
function namesIn(text) {
  return new Set([...text.matchAll(/\btill_[a-z0-9_]+/g)].map(([name]) => name.replace(/_(bucket|count|sum)$/, "")));
}

const documented = new Map([...fs.readFileSync(path.join(ROOT, "docs/metrics.md"), "utf8")
  .matchAll(/^\| `(till_[a-z0-9_]+)` \| ([a-z]+) \|([^|]*)\|/gm)]
  .map(([, name, kind, labels]) => [name, { kind, labels: [...labels.matchAll(/`([a-z]+)`/g)].map(([, label]) => label) }]));

let shop;
let provider;
let plugins;
let text;

/** The value of a series that has these labels, and maybe more; undefined where there is none. */
function value(name, labels = {}) {
  for (const [, series, pairs = "", n] of text.matchAll(/^([a-z_]+)(\{.*\})? ([0-9.e+-]+)$/gm)) {
    if (series === name && Object.entries(labels).every(([key, wanted]) => pairs.includes(`${key}="${wanted}"`))) return Number(n);
  }
  return undefined;
}

async function scrape() {
  text = (await shop.ops("/metrics")).text;
  return text;
}

before(async () => {
  provider = await Provider.start();
  plugins = tempDir("plugins");
  shop = await Shop.start({ args: ["--no-demo", ...provider.plugin(plugins), "--set", "server.workers=2"] });
  const { variant } = await makeProduct(shop);
  const cart = await makeCart(shop, variant.id);
  const key = newKey();
  assert.equal((await buy(shop, cart, { key })).status, 200);
  assert.equal((await shop.store("POST", `/carts/${cart.id}/complete`, { headers: idem(key), body: {} })).headers["idempotent-replayed"], "true");
  await buy(shop, await makeCart(shop, variant.id), { provider: "probe" });
  const { admin_email: email, admin_password: password } = shop.dev;
  assert.equal((await shop.h2("POST", "/auth/v1/staff/sessions", { key: null, body: { email, password: `not ${password}` } })).status, 401);
  await until("jobs have told of their backlog", async () => (await scrape()).includes("till_outbox_oldest_age_seconds"));
});
after(async () => {
  await shop?.stop();
  provider?.stop();
  if (plugins) fs.rmSync(plugins, { recursive: true });
});

describe("/metrics", () => {
  it("is clean for promtool check metrics", async () => {
    assert.deepEqual(promtool(["check", "metrics"], await scrape()), { code: 0, text: "" });
  });

  it("shows what docs/metrics.md tells of, of that kind and with those labels", async () => {
    await scrape();
    for (const [, name, kind] of text.matchAll(/^# TYPE (till_[a-z0-9_]+) ([a-z]+)$/gm)) assert.equal(documented.get(name)?.kind, kind, name);
    for (const [, series, pairs = ""] of text.matchAll(/^(till_[a-z0-9_]+)(\{.*\})? /gm)) {
      const name = documented.has(series) ? series : series.replace(/_(bucket|count|sum)$/, "");
      const labels = [...pairs.matchAll(/([a-z_]+)="/g)].map(([, label]) => label).filter((label) => label !== "le");
      assert.deepEqual(labels.sort(), [...(documented.get(name)?.labels ?? [])].sort(), series);
    }
  });

  it("counts requests by route, providers by host, logins, replays and what is left to do", async () => {
    await until("the workers have told", async () => {
      await scrape();
      return value("till_http_requests_total", { route: "/store/v1/carts/{id}/complete", method: "POST", status: "2xx" }) >= 3;
    });
    assert.ok(value("till_http_request_duration_seconds_count", { route: "/store/v1/carts/{id}/complete" }) >= 3);
    assert.ok(value("till_http_responses_total", { status: "401" }) >= 1);
    assert.ok(value("till_outbound_requests_total", { host: "127.0.0.1", status: "2xx" }) >= 1, text);
    assert.equal(value("till_idempotent_replays_total"), 1);
    assert.equal(value("till_logins_total", { kind: "staff", result: "refused" }), 1);
    assert.equal(value("till_outbox_dead"), 0);
    assert.equal(value("till_sagas", { name: "checkout", state: "parked" }), 0);
  });

  it("tells of every process and of the machine", async () => {
    await until("each has told once", async () => {
      await scrape();
      return ["master", "web-0", "web-1", "jobs-0"].every((process) => value("till_process_open_fds", { process }) > 0);
    });
    for (const process of ["master", "web-0", "web-1", "jobs-0"]) {
      assert.ok(value("till_process_resident_memory_bytes", { process }) > 1e6, process);
      assert.ok(Math.abs(value("till_process_start_time_seconds", { process }) - Date.now() / 1000) < 600, process);
      assert.ok(value("till_process_max_fds", { process }) >= value("till_process_open_fds", { process }), process);
    }
    assert.equal(value("till_workers", { kind: "web", state: "ready" }), 2);
    assert.equal(value("till_workers", { kind: "web", state: "down" }), 0);
    assert.equal([...text.matchAll(/^till_generation_info\{.*\} (\d+)$/gm)].map(([, n]) => n).join(), "3");
    assert.ok(value("till_certificate_expiry_time_seconds") > Date.now() / 1000);
    assert.ok(value("till_disk_free_bytes", { place: "var" }) <= value("till_disk_size_bytes", { place: "var" }));
    await until("statements were told of", async () => {
      await scrape();
      return value("till_sql_statement_duration_seconds_count") > 10;
    });
    assert.equal(value("till_sql_connections_limit"), 3 * 8);
    assert.equal(value("till_metrics_dropped_total"), 0);
  });
});

describe("workers that nobody asks for anything", () => {
  const LEAST_MS = 3000, MOST_A_SECOND = 400; // some 100 of both; one that wakes each millisecond makes 1500

  /** Turns of all loops, as they were told last. */
  async function turns() {
    await scrape();
    return value("till_loop_turn_duration_seconds_count");
  }

  it("sleep", async () => {
    const told = await turns();
    await until("turns are told", async () => (await turns()) !== told);
    const first = value("till_loop_turn_duration_seconds_count"), begin = performance.now();
    await until("turns are told again, a while later", async () => {
      if (performance.now() - begin < LEAST_MS) return false;
      return (await turns()) !== first;
    });
    const rate = (value("till_loop_turn_duration_seconds_count") - first) / (performance.now() - begin) * 1000;
    assert.ok(rate < MOST_A_SECOND, `${rate.toFixed(0)} turns a second`);
  });
});

describe("alert rules", () => {
  const names = [...read("rules.yml").matchAll(/- alert: (\w+)/g)].map(([, name]) => name);

  it("are in order, and so is the example of a configuration", () => {
    for (const args of [["check", "rules", "rules.yml"], ["check", "config", "prometheus.yml"]]) {
      const done = promtool([...args.slice(0, 2), path.join(MONITORING, args[2])]);
      assert.equal(done.code, 0, done.text);
    }
  });

  it("fire where they should and keep still where they should not", () => {
    const done = promtool(["test", "rules", path.join(MONITORING, "rules_test.yml")]);
    assert.equal(done.code, 0, done.text);
    const tests = read("rules_test.yml");
    for (const name of names) {
      for (const how of ["fires", "keeps still"]) assert.ok(tests.includes(`- name: ${name} ${how}\n`), `no test: ${name} ${how}`);
    }
  });

  it("each say how bad it is, what happens and what to do", () => {
    for (const rule of read("rules.yml").split("- alert: ").slice(1)) {
      assert.match(rule, /labels: \{severity: (page|ticket)\}/, rule);
      assert.match(rule, /summary: ".{20,}"/, rule);
      assert.match(rule, /runbook: ".{20,}"/, rule);
    }
    assert.ok(names.length >= 20);
  });

  it("speak of metrics that there are", () => {
    for (const name of namesIn(read("rules.yml"))) assert.ok(documented.has(name), name);
  });
});

describe("the dashboard", () => {
  const dashboard = JSON.parse(read("dashboard.json"));
  const targets = dashboard.panels.flatMap((panel) => panel.targets ?? []);

  it("speaks of metrics that there are, and leaves none out", () => {
    const shown = namesIn(targets.map((target) => target.expr).join("\n"));
    for (const name of shown) assert.ok(documented.has(name), name);
    for (const name of documented.keys()) assert.ok(shown.has(name), `no panel of conf/monitoring/dashboard.json shows ${name}`);
  });

  it("has expressions that Prometheus understands", () => {
    const expressions = [...new Set(targets.map((target) => target.expr))]
      .map((expr) => expr.replaceAll("$__rate_interval", "5m").replaceAll("$instance", ".*"));
    const rules = expressions.map((expr, i) => `  - record: dashboard:${i}\n    expr: ${JSON.stringify(expr)}\n`).join("");
    const file = path.join(shop.dir, "dashboard-rules.yml");
    fs.writeFileSync(file, `groups:\n- name: dashboard\n  rules:\n${rules}`);
    const done = promtool(["check", "rules", file]);
    assert.equal(done.code, 0, done.text);
  });

  it("draws no panel over another", () => {
    const taken = new Set();
    for (const { gridPos: { x, y, w, h }, title } of dashboard.panels) {
      for (let i = x; i < x + w; ++i) {
        for (let j = y; j < y + h; ++j) {
          assert.ok(i < 24 && !taken.has(`${i} ${j}`), title);
          taken.add(`${i} ${j}`);
        }
      }
    }
  });
});

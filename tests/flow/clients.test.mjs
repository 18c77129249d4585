// Clients that people use, at what they do in earnest, with every guard on: nobody of them is hung up on.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http2 from "node:http2";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { ROOT, Shop, makeProduct } from "./support/shop.mjs";
import { Chromium, PROGRAM as CHROMIUM } from "./support/chromium.mjs";

const ASSET = "/openapi.json";
const FILE = "/static/README.txt"; // never queued: many at once are not turned away as overload (503)
const CART = JSON.stringify({ currency: "GBP", country: "GB" });
const LARGE = CART + " ".repeat(900_000); // JSON may be followed by blanks

let shop, large;
before(async () => {
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=1", "--set", "server.jobs_workers=0"] });
  large = path.join(shop.dir, "large.json");
  fs.writeFileSync(large, LARGE);
  await makeProduct(shop);
});
after(async () => {
  const metrics = (await shop.ops("/metrics")).text;
  await shop.stop();
  assert.doesNotMatch(metrics, /^till_http_hostile_total\{[^}]*\} [1-9]/m, "a client was taken for an attacker");
});

async function run(program, args) {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
  const out = { stdout: "", stderr: "" };
  child.stdout.on("data", (piece) => (out.stdout += piece));
  child.stderr.on("data", (piece) => (out.stderr += piece));
  const [code] = await once(child, "close");
  assert.equal(code, 0, `${program} ${args.join(" ")}: ${out.stderr}${out.stdout.slice(-2000)}`);
  return out.stdout;
}

const auth = () => `authorization: Bearer ${shop.dev.store_key}`;

describe("curl", () => {
  const curl = (protocol, ...args) => run("curl", ["-sS", `--${protocol}`, "--cacert", shop.dev.ca_file, "--max-time", "30",
    "-w", "\n%{http_version} %{http_code}", ...args]);
  for (const [protocol, version] of [["http1.1", "1.1"], ["http2", "2"]]) {
    it(`reads over ${protocol}`, async () => {
      const out = await curl(protocol, "--compressed", shop.dev.url + ASSET);
      assert.ok(out.endsWith(`\n${version} 200`), out.slice(-100));
      assert.ok(JSON.parse(out.slice(0, out.lastIndexOf("\n"))).openapi);
    });
    for (const expect of ["", "100-continue"]) {
      it(`uploads over ${protocol}${expect && `, with Expect: ${expect}`}`, async () => {
        const out = await curl(protocol, "-H", auth(), "-H", "content-type: application/json", "-H", `expect: ${expect}`,
          "--data-binary", `@${large}`, `${shop.dev.url}/store/v1/carts`);
        assert.ok(out.endsWith(`\n${version} 201`), out.slice(-200));
      });
    }
    it(`asks for many things at once over ${protocol}`, async () => {
      const out = await curl(protocol, "--parallel", "--parallel-max", "50", ...Array.from({ length: 60 },
        (_, i) => [i === 0 ? [] : ["--next", "-sS", `--${protocol}`, "--cacert", shop.dev.ca_file, "-w", "\n%{http_version} %{http_code}"],
          "-o", "/dev/null", `${shop.dev.url}/store/v1/products?limit=${i % 50 + 1}`, "-H", auth()]).flat(2));
      assert.equal(out.split(`${version} 200`).length - 1, 60, out);
    });
  }
});

describe("Node's http2", { timeout: 60_000 }, () => {
  const withSession = async (act, options) => {
    const session = http2.connect(shop.dev.url, { ca: shop.ca, ...options });
    session.on("error", () => {});
    try {
      return await act(session);
    } finally {
      session.close();
    }
  };
  const all = (count, ask) => Promise.all(Array.from({ length: count }, (_, i) => ask(i)));

  it("asks for hundreds of things at once", () => withSession(async (session) => {
    for (let round = 0; round < 5; ++round) {
      const answers = await all(200, () => shop.h2("GET", FILE, { session }));
      assert.deepEqual([...new Set(answers.map((a) => a.status))], [200]);
    }
  }));

  it("uploads thirty bodies at once", () => withSession(async (session) => {
    const answers = await all(30, () => shop.h2("POST", "/store/v1/carts", { session, body: LARGE.slice(0, 400_000),
      headers: { "content-type": "application/json" } }));
    assert.deepEqual([...new Set(answers.map((a) => a.status))], [201]);
  }));

  it("downloads much through a small window", () => withSession(async (session) => {
    const whole = (await shop.h2("GET", ASSET, { session })).bytes.length;
    for (let round = 0; round < 5; ++round) {
      const answers = await all(40, () => shop.h2("GET", ASSET, { session }));
      for (const answer of answers) assert.equal(answer.bytes.length, whole);
    }
  }, { settings: { initialWindowSize: 1000 } }));

  it("uploads while it reads slowly", () => withSession(async (session) => {
    const slow = session.request({ ":path": ASSET });
    slow.pause();
    const answers = await all(10, () => shop.h2("POST", "/store/v1/carts", { session, body: LARGE,
      headers: { "content-type": "application/json" } }));
    assert.deepEqual([...new Set(answers.map((a) => a.status))], [201]);
    const pieces = [];
    slow.on("data", (piece) => pieces.push(piece));
    slow.resume();
    await once(slow, "end");
    assert.ok(JSON.parse(Buffer.concat(pieces)).openapi);
  }));

  it("takes back what it no longer wants", () => withSession(async (session) => {
    const streams = Array.from({ length: 90 }, () => session.request({ ":path": "/store/v1/products",
      authorization: `Bearer ${shop.dev.store_key}` }));
    const closed = Promise.all(streams.map((stream) => once(stream, "close")));
    for (const stream of streams) stream.close(http2.constants.NGHTTP2_CANCEL);
    await closed;
    assert.equal((await shop.h2("GET", ASSET, { session })).status, 200);
  }));
});

describe("nghttp", () => {
  it("reads pages, one beside the other", async () => {
    const out = await run("nghttp", ["-ans", "--no-verify-peer", `${shop.dev.url}/`, `${shop.dev.url}/docs`, shop.dev.url + ASSET]);
    const rows = [...out.matchAll(/\s(\d{3})\s+\S+\s+(\/\S*)$/gm)];
    assert.ok(rows.length >= 3, out);
    for (const [, status, url] of rows) assert.equal(status, "200", url);
  });
  it("uploads", async () => {
    const out = await run("nghttp", ["-v", "--no-verify-peer", "-H", auth(), "-H", "content-type: application/json", "-d", large,
      `${shop.dev.url}/store/v1/carts`]);
    assert.match(out, /:status: 201/);
  });
});

describe("h2load", () => {
  const load = async (...args) => {
    const out = await run("h2load", ["-t", "1", ...args]);
    const [, total, done, failed, errored, timedOut] = /requests: (\d+) total, \d+ started, (\d+) done, \d+ succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/.exec(out);
    assert.deepEqual([done, failed, errored, timedOut], [total, "0", "0", "0"], out);
    assert.match(out, new RegExp(`status codes: ${total} 2xx`), out);
  };
  it("has nothing failed, with many streams", () => load("-n", "4000", "-c", "4", "-m", "100", shop.dev.url + FILE));
  it("has nothing failed, with large answers", () => load("-n", "600", "-c", "5", "-m", "20", shop.dev.url + ASSET));
  it("has nothing failed, with small windows", () => load("-n", "200", "-c", "5", "-m", "10", "-w", "10", "-W", "12", shop.dev.url + ASSET));
  it("has nothing failed, with uploads", () => load("-n", "60", "-c", "3", "-m", "10", "-H", auth(), "-H", "content-type: application/json",
    "-d", large, `${shop.dev.url}/store/v1/carts`));
  it("has nothing failed, over HTTP/1.1", () => load("--h1", "-n", "500", "-c", "10", "-H", auth(), `${shop.dev.url}/store/v1/products?limit=1`));
});

describe("Chromium", { skip: CHROMIUM ? false : "no Chromium is installed" }, () => {
  let browser;
  before(async () => (browser = await Chromium.start()));
  after(() => browser?.stop());

  it("loads the front page and pictures", async () => {
    const names = fs.readdirSync(path.join(ROOT, "web/static/pictures")).filter((name) => name.endsWith(".svg"));
    await browser.open(`${shop.dev.url}/`);
    await browser.evaluate(`Promise.all(${JSON.stringify(names)}.map((name) => new Promise((resolve, reject) => {
      const picture = document.createElement("img");
      Object.assign(picture, { src: "/static/pictures/" + name, onload: () => resolve(1), onerror: () => reject(Error(name)) });
      document.body.append(picture);
    })))`);
    const ours = browser.responses.filter(({ url }) => url.startsWith(shop.dev.url) && !url.endsWith("/favicon.ico"));
    assert.equal(ours.length, names.length + 1);
    for (const r of ours) assert.deepEqual([r.status, r.protocol], [200, "h2"], r.url);
    assert.deepEqual(browser.failures, []);
  });

  it("fetches and posts by the dozen", async () => {
    const statuses = await browser.evaluate(`(async () => {
      const auth = { authorization: ${JSON.stringify(`Bearer ${shop.dev.store_key}`)} };
      const body = ${JSON.stringify(CART)} + " ".repeat(200000);
      const asked = [];
      for (let i = 0; i < 50; ++i) asked.push(fetch("/store/v1/products?limit=" + (i + 1), { headers: auth }));
      for (let i = 0; i < 30; ++i)
        asked.push(fetch("/store/v1/carts", { method: "POST", headers: { ...auth, "content-type": "application/json" }, body }));
      const answers = await Promise.all(asked);
      await Promise.all(answers.map((a) => a.json()));
      return answers.map((a) => a.status);
    })()`);
    assert.deepEqual(statuses, [...Array(50).fill(200), ...Array(30).fill(201)]);
  });

  it("leaves a page in the middle of its requests, and comes back", async () => {
    for (let i = 0; i < 3; ++i) { // in the same second on a slow machine, and a person leaves no hundreds of requests in one
      await browser.evaluate(`void Array.from({ length: 60 }, (_, i) => fetch("/openapi.json?n=" + i).catch(() => {}))`);
      await browser.open(`${shop.dev.url}/?n=${i}`);
    }
    assert.equal(await browser.evaluate(`fetch("/openapi.json").then((a) => a.status)`), 200);
  });
});

// A whole shop for the tests: `moontill dev` in a folder and on a port of its own, and clients for it.
//
// The server under test is build/dev/moontill (with sanitizers) unless MOONTILL names another.
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http2 from "node:http2";
import https from "node:https";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");
export const BINARY = process.env.MOONTILL ?? path.join(ROOT, "build/dev/moontill");
export const SLICE = path.join(ROOT, "sql/demo/online-retail-slice.csv.xz");

export const IS_SANITIZED = fs.existsSync(BINARY) && fs.readFileSync(BINARY).includes("__asan_init");
/** How much longer everything takes with sanitizers: bounds that are in time are so much wider. */
export const SLOWNESS = IS_SANITIZED ? 3 : 1;

const START_LIMIT_MS = 120_000;
// A worker with sanitizers on a busy machine is behind by itself, and would refuse who has done nothing. Those who test
// refusals set their own bounds. Whoever was not begun is refused before his time is up: after it, it is another answer.
export const PATIENCE = IS_SANITIZED ? ["server.queue_target_ms=3000", "server.queue_timeout_ms=8000", "mysql.connect_timeout_ms=6000",
  "redis.connect_timeout_ms=6000"].flatMap((option) => ["--set", option]) : [];

/** A provider of the tests that knows nothing of a payment will hear nothing of it later. */
export const SURE = ["--set", "payments.not_found_after_ms=1000"];

/** One that is free, and so is the next (the ops listener's): below those that the kernel gives to connections going out. */
export async function freePort() {
  for (;;) {
    const port = 20000 + Math.floor(Math.random() * 12000);
    if ((await isFree(port)) && (await isFree(port + 1))) return port;
  }
}

function isFree(port) {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

/** Waits until `condition()` is truthy and returns what it gave; fails after `limitMs` saying `what`. */
export async function until(what, condition, limitMs = 20_000) {
  const end = Date.now() + limitMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited ${limitMs} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** Runs the command line to its end: {code, stdout, stderr}. */
export async function moontill(args, options = {}) {
  const child = spawn(BINARY, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
  const out = { stdout: "", stderr: "" };
  child.stdout.on("data", (piece) => (out.stdout += piece));
  child.stderr.on("data", (piece) => (out.stderr += piece));
  const [code, signal] = await once(child, "close");
  return { code, signal, ...out };
}

export function tempDir(name = "shop") {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), `moontill-${name}-`));
  fs.chmodSync(dir, 0o711);
  return dir;
}

/** One started `moontill dev`. */
/** One connection to a shop, made anew when it has ended: a server closes what is idle. */
export class Line {
  #session;

  constructor(shop) {
    this.shop = shop;
  }

  get session() {
    if (!this.#session || this.#session.closed || this.#session.destroyed) {
      this.#session = http2.connect(this.shop.dev.url, { ca: this.shop.ca });
      this.#session.on("error", () => {});
    }
    return this.#session;
  }

  close() {
    this.#session?.destroy();
  }
}

export class Shop {
  line = new Line(this);

  static async start({ args = ["--no-demo"], dir = tempDir(), env = {}, port, binary = BINARY } = {}) {
    const shop = new Shop();
    shop.dir = dir;
    shop.port = port ?? (await freePort());
    shop.log = "";
    shop.process = spawn(binary, ["dev", "--var", dir, "--listen", `127.0.0.1:${shop.port}`, ...PATIENCE, ...SURE, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
    shop.exited = once(shop.process, "exit").then(([code, signal]) => (shop.exit = { code, signal }));
    shop.process.stderr.on("data", (piece) => (shop.log += piece));
    shop.stdout = "";
    shop.process.stdout.on("data", (piece) => (shop.stdout += piece));
    try {
      await until("ready line", () => shop.stdout.includes("\n") || shop.exit, START_LIMIT_MS);
      if (!shop.stdout.startsWith("ready ")) throw new Error(`moontill dev did not start:\n${shop.log}`);
    } catch (error) {
      shop.process.kill("SIGKILL");
      throw new Error(`${error.message}\n${shop.log.slice(-4000)}`);
    }
    shop.dev = JSON.parse(fs.readFileSync(path.join(dir, "dev.json"), "utf8"));
    shop.ca = fs.readFileSync(shop.dev.ca_file);
    return shop;
  }

  async stop({ keep = false } = {}) {
    this.line.close();
    this.process.kill("SIGTERM");
    await until("dev stops", () => this.exit, 30_000);
    if (!keep) fs.rmSync(this.dir, { recursive: true, force: true });
    return this.exit;
  }

  /** Runs a command against this shop. */
  cli(...args) {
    return moontill([...args, "--var", this.dir]);
  }

  /** One request over HTTP/2: {status, headers, text, body}. `body` is sent as JSON unless it is a string or Buffer. */
  h2(method, target, { key = this.dev.store_key, headers = {}, body, session } = {}) {
    const { payload, all } = prepare(method, key, headers, body);
    return new Promise((resolve, reject) => {
      const stream = (session ?? this.line.session).request({ ":method": method, ":path": target, ...all },
        { endStream: payload === undefined });
      const answer = { status: 0, headers: {}, text: "" };
      const pieces = [];
      stream.on("response", (got) => {
        answer.status = got[":status"];
        answer.headers = got;
      });
      stream.on("data", (piece) => pieces.push(piece));
      stream.on("end", () => (answer.status ? resolve(finish(answer, pieces)) : reject(new Error("no answer"))));
      stream.on("close", () => reject(new Error("closed before an answer"))); // after `end` it says nothing
      stream.on("error", reject);
      if (payload !== undefined) stream.end(payload);
    });
  }

  /** The same over HTTP/1.1. */
  h1(method, target, { key = this.dev.store_key, headers = {}, body, agent } = {}) {
    const { payload, all } = prepare(method, key, headers, body);
    return new Promise((resolve, reject) => {
      const request = https.request(this.dev.url + target, { method, headers: all, ca: this.ca, agent,
        ALPNProtocols: ["http/1.1"] }, (got) => {
        const pieces = [];
        got.on("data", (piece) => pieces.push(piece));
        got.on("end", () => resolve(finish({ status: got.statusCode, headers: got.headers }, pieces)));
      });
      request.on("error", reject);
      request.end(payload);
    });
  }

  store(method, target, options) {
    return this.h2(method, `/store/v1${target}`, options);
  }

  admin(method, target, options = {}) {
    return this.h2(method, `/admin/v1${target}`, { key: this.dev.admin_key, ...options });
  }

  async ops(target) {
    const answer = await fetch(this.dev.ops_url + target);
    return { status: answer.status, text: await answer.text(), headers: answer.headers };
  }
}

/** Waits until nothing is under way and nobody is refused for what was before. */
export function rested(shop) {
  return until("the server is at rest", async () => {
    const { text } = await shop.ops("/metrics");
    return /^till_http_in_flight 0$/m.test(text) && !/^till_admission_share\{[^}]*\} (?!0$)/m.test(text);
  }, 60_000);
}

let counter = 0;
/** A fresh Idempotency-Key. */
export const newKey = () => `test-p${process.pid}-t${Date.now()}-n${++counter}`; // letters: no digits of it are a card
/** Headers with one. */
export const idem = (key = newKey()) => ({ "idempotency-key": key });

function prepare(method, key, headers, body) {
  const all = { ...headers };
  if (key) all.authorization = `Bearer ${key}`;
  let payload;
  if (body !== undefined) {
    const raw = typeof body === "string" || Buffer.isBuffer(body);
    payload = raw ? Buffer.from(body) : Buffer.from(JSON.stringify(body));
    all["content-type"] ??= "application/json";
    all["content-length"] ??= payload.length;
  }
  return { payload, all };
}

function finish(answer, pieces) {
  answer.bytes = Buffer.concat(pieces);
  answer.text = answer.bytes.toString("utf8");
  const isPacked = answer.headers["content-encoding"] !== undefined;
  if (!isPacked && answer.text !== "" && /json/.test(answer.headers["content-type"] ?? "")) answer.body = JSON.parse(answer.text);
  return answer;
}

export const ADDRESS = {
  first_name: "Ada", last_name: "Lovelace", address1: "12 St James's Square", address2: "", city: "London",
  region: "", postal_code: "SW1Y 4JH", country: "GB", phone: "+44 20 7946 0000",
};

/** A product that is in stock, made through the admin API: {product, variant}. */
export async function makeProduct(shop, { sku = `T-${newKey()}`, price = 1000, stock = 10, currency = "GBP" } = {}) {
  const made = await shop.admin("POST", "/products", {
    headers: idem(),
    body: {
      title: `Test ${sku}`, handle: sku.toLowerCase(), status: "active",
      variants: [{ sku, prices: [{ currency, amount: price }] }],
    },
  });
  if (made.status !== 201) throw new Error(`product: ${made.status} ${made.text}`);
  const adjusted = await shop.admin("POST", `/inventory/${encodeURIComponent(sku)}/adjustments`, {
    headers: idem(), body: { set_to: stock, reason: "test" },
  });
  if (adjusted.status >= 300) throw new Error(`stock: ${adjusted.status} ${adjusted.text}`);
  const product = made.body.product;
  return { product, variant: product.variants[0], sku };
}

/** A cart with a line, address and shipping option, ready for payment. */
export async function makeCart(shop, variantId, { quantity = 1, send = shop.h2.bind(shop) } = {}) {
  const ask = async (method, target, body) => {
    const answer = await send(method, `/store/v1${target}`, { body });
    if (answer.status >= 300) throw new Error(`${method} ${target}: ${answer.status} ${answer.text}`);
    return answer.body;
  };
  const { cart } = await ask("POST", "/carts", { currency: "GBP", country: "GB" });
  await ask("POST", `/carts/${cart.id}/lines`, { variant_id: variantId, quantity });
  await ask("PATCH", `/carts/${cart.id}`, { email: "ada@example.com", shipping_address: ADDRESS, billing_address: ADDRESS });
  const options = await ask("GET", `/carts/${cart.id}/shipping-options`);
  const chosen = await ask("PATCH", `/carts/${cart.id}`, { shipping_option_id: options.data[0].id });
  return chosen.cart;
}

/** Pays and completes: the answer of the completion. */
export async function buy(shop, cart, { provider = "manual", data, key = newKey() } = {}) {
  const session = await shop.store("POST", `/carts/${cart.id}/payment-sessions`, { body: { provider, data } });
  if (session.status >= 300) return session;
  return shop.store("POST", `/carts/${cart.id}/complete`, { headers: idem(key), body: {} });
}

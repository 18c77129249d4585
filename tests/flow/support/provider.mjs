// A payment provider that does what the test says, and the plugin that talks to it.
//
// The token of a payment session says how it behaves: ok, decline, action (authorised once the shopper has
// confirmed), lost (it takes the money and breaks the connection), never (it breaks the connection before),
// gate (it answers when the test opens the gate). It remembers every charge by Idempotency-Key, as real ones do:
// what was asked under a key is answered as before, and another amount under it is refused. `isSilent` breaks every
// connection before anything is done, `loses` (a set of `capture`, `void`, `refund`) after it was done, once each;
// `holds` (a set likewise) answers when the gate is opened.
import fs from "node:fs";
import http from "node:http";
import path from "node:path";

const MANIFEST = `return {
  name = "payment-probe", version = "1.0.0", api = 1,
  hooks = { "payment.describe", "payment.authorize", "payment.capture", "payment.void", "payment.refund",
    "payment.lookup" },
  capabilities = { "http:127.0.0.1" },
  config = { url = { type = "string", required = true, doc = "Of the provider." } },
}
`;

const HANDLER = `local http = require "till.prim.http"
local json = require "till.prim.json"

local handler = {}


local function asker(what)
  return function(config, request)
    local got, e = http.request { method = "POST", url = config.url .. "/" .. what, timeout_ms = 8000,
      headers = { ["content-type"] = "application/json", ["idempotency-key"] = request.idem_key },
      body = json.encode { data = request.data, amount = request.amount, order = request.order_ref,
        payment = request.payment_id, ref = request.provider_ref } }
    if not got and not e.sent and what == "authorize" then
      return { outcome = "failed", reason = "the provider cannot be reached" }
    end
    if not got or got.status ~= 200 then return { outcome = "unknown", reason = "no answer" } end
    return json.decode(got.body)
  end
end


handler["payment.describe"] = function() return { label = "Probe", capture = "now" } end
for _, what in ipairs { "authorize", "capture", "void", "refund", "lookup" } do
  handler["payment." .. what] = asker(what)
end


return handler
`;

export class Provider {
  static async start() {
    const provider = new Provider();
    provider.charges = new Map(); // by payment: {state, amount, order, asked}
    provider.calls = [];
    provider.waiting = [];
    provider.isSilent = false;
    provider.loses = new Set();
    provider.holds = new Set();
    provider.server = http.createServer((request, answer) => provider.#serve(request, answer));
    await new Promise((resolve) => provider.server.listen(0, "127.0.0.1", resolve));
    provider.url = `http://127.0.0.1:${provider.server.address().port}`;
    return provider;
  }

  /** Writes the plugin below `dir` and gives the arguments of \`moontill dev\` that load it. */
  plugin(dir) {
    const folder = path.join(dir, "payment-probe");
    fs.mkdirSync(folder, { recursive: true });
    fs.writeFileSync(path.join(folder, "plugin.lua"), MANIFEST);
    fs.writeFileSync(path.join(folder, "handler.lua"), HANDLER);
    return ["--plugins", dir, "--set", `plugins.payment-probe.url=${this.url}`];
  }

  stop() {
    this.server.closeAllConnections?.();
    this.server.close();
  }

  /** Lets go whoever waits. */
  open() {
    for (const go of this.waiting.splice(0)) go();
  }

  /** What it holds of one cart: [{state, amount}]. */
  chargesOf(order) {
    return [...this.charges.values()].filter((c) => c.order === order);
  }

  async #serve(request, answer) {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const body = JSON.parse(Buffer.concat(pieces).toString());
    const what = request.url.slice(1);
    this.calls.push({ what, key: request.headers["idempotency-key"], ...body });
    if (this.isSilent) return request.socket.destroy();
    if (what === "authorize") return this.#authorize(request, answer, body);
    const reply = this.#other(what, request.headers["idempotency-key"], body);
    if (this.loses.delete(what)) return request.socket.destroy();
    if (this.holds.has(what)) await new Promise((resolve) => this.waiting.push(resolve));
    answer.setHeader("content-type", "application/json");
    answer.end(JSON.stringify(reply));
  }

  async #authorize(request, answer, body) {
    const token = body.data?.token ?? "ok";
    if (token === "gate") await new Promise((resolve) => this.waiting.push(resolve));
    if (token === "never") return request.socket.destroy();
    const charge = this.charges.get(body.payment) ??
      { payment: body.payment, order: body.order, amount: body.amount, key: request.headers["idempotency-key"] };
    if (token === "decline") charge.state = "declined";
    else if (token === "action" && !body.data.confirmed) charge.state = "requires_action";
    else if (charge.state !== "captured") charge.state = "authorized";
    this.charges.set(body.payment, charge);
    if (token === "lost") return request.socket.destroy();
    reply(answer, charge, { reason: "no money", action: { type: "redirect", url: "https://bank.example/3ds" } });
  }

  #other(what, key, body) {
    const charge = this.charges.get(body.payment);
    if (!charge) return { outcome: "not_found" };
    if (what === "lookup") return { ...outcome(charge), refunded_amount: charge.refunded ?? 0 };
    charge.done ??= new Map();
    const before = charge.done.get(key);
    if (before) return before.amount === body.amount ? before.reply : { outcome: "declined", reason: "another amount under this key" };
    const reply = this.#do(what, charge, body);
    charge.done.set(key, { amount: body.amount, reply });
    return reply;
  }

  #do(what, charge, { amount }) {
    const refuse = (reason) => ({ outcome: "declined", reason });
    if (what === "refund") {
      if (charge.state !== "captured") return refuse(`it is ${charge.state}`);
      if ((charge.refunded ?? 0) + amount > charge.captured) return refuse("more than was captured");
      charge.refunded = (charge.refunded ?? 0) + amount;
      if (charge.refunded === charge.captured) charge.state = "refunded";
      return { ...outcome(charge), outcome: "refunded" };
    }
    if (charge.state !== "authorized" && !(what === "void" && charge.state === "requires_action")) return refuse(`it is ${charge.state}`);
    if (what === "capture" && amount > charge.amount) return refuse("more than was authorised");
    if (what === "capture") charge.captured = amount;
    charge.state = what === "capture" ? "captured" : "voided";
    return outcome(charge);
  }
}

const outcome = (charge) => ({ outcome: charge.state, provider_ref: `probe-${charge.payment}` });

function reply(answer, charge, more = {}) {
  answer.setHeader("content-type", "application/json");
  answer.end(JSON.stringify({ outcome: charge.state, provider_ref: `probe-${charge.payment ?? "none"}`, ...more }));
}

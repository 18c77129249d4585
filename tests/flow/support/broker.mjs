// A RabbitMQ of the test's own: Debian's, in a folder and on ports of its own, with its management API to look into it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { freePort, tempDir, until } from "./shop.mjs";

const SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const START_LIMIT_MS = 180_000;

export class Broker {
  /** @param {{config?: string}} options further lines of rabbitmq.conf */
  static async start({ config = "" } = {}) {
    const broker = new Broker();
    broker.dir = tempDir("broker");
    broker.port = await freePort();
    broker.apiPort = await freePort();
    broker.epmdPort = await freePort();
    fs.writeFileSync(path.join(broker.dir, "rabbitmq.conf"), [
      `listeners.tcp.1 = 127.0.0.1:${broker.port}`, `management.tcp.port = ${broker.apiPort}`, "management.tcp.ip = 127.0.0.1",
      "vm_memory_high_watermark.absolute = 512MB", "disk_free_limit.absolute = 1MB", config, ""].join("\n"));
    fs.writeFileSync(path.join(broker.dir, "enabled_plugins"), "[rabbitmq_management].\n");
    fs.writeFileSync(path.join(broker.dir, ".erlang.cookie"), "MOONTILLTEST", { mode: 0o400 });
    broker.env = {
      PATH: process.env.PATH, LANG: "C.UTF-8", HOME: broker.dir, ERL_EPMD_PORT: String(broker.epmdPort), ERL_EPMD_ADDRESS: "127.0.0.1",
      RABBITMQ_NODENAME: `till${broker.port}@localhost`, RABBITMQ_DIST_PORT: String(await freePort()), RABBITMQ_CONF_ENV_FILE: "/dev/null",
      RABBITMQ_CONFIG_FILE: path.join(broker.dir, "rabbitmq.conf"), RABBITMQ_ENABLED_PLUGINS_FILE: path.join(broker.dir, "enabled_plugins"),
      RABBITMQ_MNESIA_BASE: path.join(broker.dir, "mnesia"), RABBITMQ_LOG_BASE: path.join(broker.dir, "log"),
      RABBITMQ_PID_FILE: path.join(broker.dir, "pid"), RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "+S 1:1",
    };
    // Erlang would start one for the whole machine, and leave it behind.
    broker.epmd = spawn("epmd", ["-port", String(broker.epmdPort), "-address", "127.0.0.1"], { stdio: "ignore", env: broker.env });
    try {
      await broker.run();
    } catch (error) {
      await broker.stop();
      throw error;
    }
    return broker;
  }

  /** Starts it, or starts it again after `kill`, with all that it had on its disk. */
  async run() {
    this.log = "";
    this.process = spawn(SERVER, [], { stdio: ["ignore", "pipe", "pipe"], env: this.env, cwd: this.dir, detached: true });
    this.exited = once(this.process, "exit").then(() => (this.isGone = true));
    this.isGone = false;
    for (const stream of [this.process.stdout, this.process.stderr]) stream.on("data", (piece) => (this.log += piece));
    await until("the broker answers", async () => {
      if (this.isGone) throw new Error(`rabbitmq-server did not start:\n${this.log.slice(-3000)}`);
      return (await this.api("GET", "/overview").catch(() => ({ status: 0 }))).status === 200;
    }, START_LIMIT_MS);
  }

  /** As when the machine loses its power: the shell around it and what it started too. */
  async kill() {
    try {
      process.kill(-this.process.pid, "SIGKILL");
    } catch {
      // it has ended by itself
    }
    await this.exited;
  }

  async stop() {
    if (this.process) await this.kill();
    this.epmd.kill("SIGKILL");
    fs.rmSync(this.dir, { recursive: true, force: true });
  }

  async api(method, target, body) {
    const answer = await fetch(`http://127.0.0.1:${this.apiPort}/api${target}`, {
      method, headers: { authorization: `Basic ${btoa("guest:guest")}`, "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    return { status: answer.status, body: text.startsWith("{") || text.startsWith("[") ? JSON.parse(text) : text };
  }

  async must(method, target, body) {
    const answer = await this.api(method, target, body);
    if (answer.status >= 300) throw new Error(`${method} ${target}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  /** A durable queue that takes what is published under `key`. */
  async bind(queue, key, exchange = "moontill") {
    await this.must("PUT", `/exchanges/%2F/${exchange}`, { type: "topic", durable: true });
    await this.must("PUT", `/queues/%2F/${queue}`, { durable: true });
    await this.must("POST", `/bindings/%2F/e/${exchange}/q/${queue}`, { routing_key: key });
  }

  unbind(queue, key, exchange = "moontill") {
    return this.must("DELETE", `/bindings/%2F/e/${exchange}/q/${queue}/${encodeURIComponent(key)}`);
  }

  /** All that is in the queue now, taken out of it: [{id, type, aggregate, traceparent, properties, data}]. */
  async take(queue) {
    const got = await this.must("POST", `/queues/%2F/${queue}/get`, { count: 5000, ackmode: "ack_requeue_false", encoding: "auto" });
    return got.map(({ payload, properties, routing_key: key }) => ({
      id: properties.message_id, type: properties.type, aggregate: properties.headers.aggregate,
      traceparent: properties.headers.traceparent, key, properties, body: JSON.parse(payload),
    }));
  }
}

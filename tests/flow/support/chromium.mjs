// Chromium without a window, told what to do through a pipe (the DevTools protocol, one JSON text to a NUL).
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

export const PROGRAM = ["chromium", "chromium-browser", "google-chrome"].find((name) => spawnSync(name, ["--version"]).status === 0);

export class Chromium {
  static async start() {
    const browser = new Chromium();
    browser.dir = fs.mkdtempSync(path.join(os.tmpdir(), "moontill-chromium-"));
    browser.process = spawn(PROGRAM, ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
      "--disable-background-networking", "--ignore-certificate-errors", "--remote-debugging-pipe", `--user-data-dir=${browser.dir}`],
    { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"], detached: true });
    browser.waiting = new Map();
    browser.events = [];
    browser.count = 0;
    let text = "";
    browser.process.stdio[4].on("data", (piece) => {
      const parts = (text + piece).split("\0");
      text = parts.pop();
      for (const part of parts) browser.#take(JSON.parse(part));
    });
    browser.process.stdio[3].on("error", () => {});
    const { targetId } = await browser.call("Target.createTarget", { url: "about:blank" });
    browser.session = (await browser.call("Target.attachToTarget", { targetId, flatten: true })).sessionId;
    for (const domain of ["Page", "Network", "Runtime"]) await browser.call(`${domain}.enable`);
    return browser;
  }

  call(method, params = {}) {
    const id = ++this.count;
    this.process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId: this.session })}\0`);
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }

  /** Goes there and waits until all that the page is made of has come. */
  async open(url) {
    const loaded = new Promise((resolve) => (this.onLoad = resolve));
    const { errorText } = await this.call("Page.navigate", { url });
    if (errorText) throw new Error(errorText);
    await loaded;
  }

  /** The value of an expression on the page, awaited there. */
  async evaluate(expression) {
    const { result, exceptionDetails } = await this.call("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** What came over the net: [{url, status, protocol}]. */
  get responses() {
    return this.events.filter((e) => e.method === "Network.responseReceived")
      .map(({ params: { response: r } }) => ({ url: r.url, status: r.status, protocol: r.protocol }));
  }

  get failures() {
    return this.events.filter((e) => e.method === "Network.loadingFailed").map((e) => e.params.errorText);
  }

  async stop() {
    const ended = once(this.process, "exit");
    process.kill(-this.process.pid, "SIGKILL"); // its helpers are in its group
    await ended;
    fs.rmSync(this.dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }

  #take(message) {
    if (message.id === undefined) {
      this.events.push(message);
      if (message.method === "Page.loadEventFired") this.onLoad?.();
      return;
    }
    const { resolve, reject } = this.waiting.get(message.id);
    this.waiting.delete(message.id);
    if (message.error) reject(new Error(message.error.message));
    else resolve(message.result);
  }
}

// Where benchmarks stand: a folder, a certificate, free ports, children that end with us.
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { run } from "./load.mjs";

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");
export const BUILD = path.join(ROOT, "build/release");

/** A port that is free now. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** An ECDSA certificate for localhost in `dir`: { cert, key }. */
export async function certificate(dir) {
  const files = { cert: path.join(dir, "cert.pem"), key: path.join(dir, "key.pem") };
  if (!fs.existsSync(files.cert)) {
    await run("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
      "-subj", "/CN=localhost", "-keyout", files.key, "-out", files.cert]);
  }
  return files;
}

/** A server that says a line on standard output when it serves: { pid, line, stop() }. */
export async function serverOf(file, args, options = {}) {
  const child = spawn(file, args, { stdio: ["pipe", "pipe", "inherit"], ...options });
  const exit = once(child, "exit");
  const line = await Promise.race([once(child.stdout, "data").then(([text]) => String(text).trim()),
    exit.then(([code]) => Promise.reject(new Error(`${path.basename(file)} ended with ${code}`)))]);
  child.stdout.resume();
  return { pid: child.pid, line, stop: async () => {
    child.kill("SIGTERM");
    await exit;
  } };
}

/** Waits until `condition()` holds. */
export async function until(what, condition, limitMs = 30_000) {
  for (const end = Date.now() + limitMs; !(await condition());) {
    if (Date.now() > end) throw new Error(`waited ${limitMs} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** Does something take connections there? */
export function answers(where) {
  return new Promise((resolve) => {
    const socket = net.connect(where, () => resolve(true));
    socket.on("error", () => resolve(false));
    socket.on("connect", () => socket.destroy());
  });
}

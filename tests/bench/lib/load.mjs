// The load generators: h2load for fixed addresses, wrk where each request is another one.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { cpuOf, difference } from "./processes.mjs";

export const run = promisify(execFile);

export const PROTOCOLS = {
  "HTTP/1.1": ["--h1", "-c", "16", "-m", "1"],
  "HTTP/2, 16 streams": ["-c", "8", "-m", "16"],
  "HTTP/2, 1 stream": ["-c", "16", "-m", "1"],
};

/** One run of h2load against one address: { count, seconds, failed, sent, p95, max }; times in milliseconds. */
export async function h2load(url, args, { seconds, headers = [] }) {
  const wanted = headers.flatMap((header) => ["-H", header]);
  const { stdout } = await run("h2load", ["-D", String(seconds), ...args, ...wanted, url], { maxBuffer: 1 << 26 });
  const [, done, ok] = stdout.match(/(\d+) done, (\d+) succeeded/);
  const [, fine] = stdout.match(/status codes: (\d+) 2xx/);
  return { count: Number(done), seconds, failed: Number(done) - Math.min(Number(ok), Number(fine)) };
}

/** The same, with the CPU of the trees below `roots` meanwhile. */
export async function measure(roots, act) {
  const before = cpuOf(roots), begin = performance.now();
  const got = await act();
  const parts = difference(cpuOf(roots), before);
  return { seconds: (performance.now() - begin) / 1000, ...got, cpu: parts.all, parts };
}

/** A side of a comparison: one address of the server whose processes stand below `roots`. */
export function httpSide(name, roots, url, args, options) {
  return { name, run: () => measure(roots, () => h2load(url, args, options)) };
}

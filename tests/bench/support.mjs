// What the benchmarks share: the shop under test, CPU time of its processes, statements of its database, a table.
import { execFile } from "node:child_process";
import fs from "node:fs";
import { promisify } from "node:util";
import http2 from "node:http2";

const run = promisify(execFile);
const TICK_MS = 10; // _SC_CLK_TCK is 100 on every Linux that we know

/** Cuts a command line into a part of the shop, or undefined. */
function partOf(words, dir) {
  const line = words.join(" ");
  if (!words.some((word) => word === dir || word.includes(`${dir}/`))) return undefined;
  if (line.startsWith("mariadbd")) return "mariadb";
  if (line.startsWith("redis-server")) return "redis";
  if (words[1] === "serve") return "server";
  return undefined;
}

function processes(dir) {
  const found = [];
  for (const name of fs.readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const words = fs.readFileSync(`/proc/${name}/cmdline`, "utf8").split(/[\0 ]+/);
      const part = partOf(words, dir);
      if (part) found.push({ pid: name, part });
    } catch {} // it ended meanwhile
  }
  return found;
}

/** CPU milliseconds used so far: { server, mariadb, redis }. */
export function cpuOf(dir) {
  const out = { server: 0, mariadb: 0, redis: 0 };
  for (const { pid, part } of processes(dir)) {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    out[part] += (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  }
  return out;
}

export function difference(after, before) {
  return Object.fromEntries(Object.keys(after).map((name) => [name, after[name] - before[name]]));
}

/** Counters of MariaDB by name. */
export async function statusOf(shop) {
  const { stdout } = await run("mariadb", ["--no-defaults", "-N", "-S", shop.mysql_socket, "-u", "moontill",
    shop.database, "-e", "SHOW GLOBAL STATUS WHERE Variable_name IN ('Com_stmt_execute', 'Com_stmt_prepare', " +
      "'Com_commit', 'Com_begin', 'Com_rollback', 'Innodb_rows_read')"]);
  return Object.fromEntries(stdout.trim().split("\n").map((line) => line.split("\t"))
    .map(([name, value]) => [name, Number(value)]));
}

export function readShop(dir) {
  const shop = JSON.parse(fs.readFileSync(`${dir}/dev.json`, "utf8"));
  return { ...shop, dir, ca: fs.readFileSync(shop.ca_file) };
}

/** One HTTP/2 connection that speaks JSON. */
export class Client {
  constructor(shop) {
    this.session = http2.connect(shop.url, { ca: shop.ca });
    this.session.on("error", () => {});
    this.authorization = `Bearer ${shop.store_key}`;
  }

  ask(method, path, body, headers) {
    return new Promise((resolve, reject) => {
      const text = body === undefined ? undefined : JSON.stringify(body);
      const stream = this.session.request({ ":method": method, ":path": path, authorization: this.authorization,
        ...(text !== undefined && { "content-type": "application/json" }), ...headers }, { endStream: text === undefined });
      let status = 0;
      const pieces = [];
      stream.on("response", (got) => (status = got[":status"]));
      stream.on("data", (piece) => pieces.push(piece));
      stream.on("error", reject);
      stream.on("end", () => {
        const answer = Buffer.concat(pieces).toString();
        if (status >= 200 && status < 300) resolve(JSON.parse(answer));
        else reject(new Error(`${method} ${path}: ${status} ${answer.slice(0, 300)}`));
      });
      if (text !== undefined) stream.end(text);
    });
  }

  close() {
    this.session.close();
  }
}

export const ADDRESS = {
  first_name: "Ada", last_name: "Lovelace", address1: "12 St James's Square", city: "London",
  postal_code: "SW1Y 4JH", country: "GB",
};

export function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0;
}

/** Prints rows of a table, the first column to the left, figures to the right. */
export function table(head, rows) {
  const all = [head, ...rows].map((row) => row.map((cell) =>
    typeof cell === "number" ? cell.toFixed(cell >= 100 ? 0 : cell >= 10 ? 1 : 2) : cell ?? ""));
  const widths = head.map((_, i) => Math.max(...all.map((row) => (row[i] ?? "").length)));
  for (const row of all) {
    console.log(row.map((cell, i) => (i ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))).join("  "));
  }
  console.log("");
}

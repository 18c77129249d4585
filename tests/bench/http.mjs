// Routes one by one over HTTP/1.1 and HTTP/2, by h2load: requests/s, and the CPU of a request by process.
//
//   node tests/bench/http.mjs DIR [seconds]      DIR is the --var of a running `moontill dev`
//
// The cheapest route is the baseline of the others: what it costs is paid by every request.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { Client, cpuOf, difference, readShop, table } from "./support.mjs";

const run = promisify(execFile);
const [dir, seconds = "2"] = process.argv.slice(2);
const shop = readShop(dir);

async function firstProduct() {
  const client = new Client(shop);
  const page = await client.ask("GET", "/store/v1/products?limit=1");
  client.close();
  return page.data[0].id;
}

/** One run of h2load: { rate, failed, server, mariadb } with CPU in microseconds a request. */
async function load(path, protocol) {
  const args = ["-D", seconds, "--warm-up-time=1", "-c", "8", "-m", protocol === "h1" ? "1" : "4",
    "-H", `authorization: Bearer ${shop.store_key}`, ...(protocol === "h1" ? ["--h1"] : []), shop.url + path];
  const before = cpuOf(dir);
  const { stdout } = await run("h2load", args, { maxBuffer: 1 << 24 });
  const used = difference(cpuOf(dir), before);
  const rate = Number(stdout.match(/finished in [^,]+, ([\d.]+) req\/s/)[1]);
  const [, done, bad] = stdout.match(/(\d+) done, .*?(\d+) failed/);
  const [, ok] = stdout.match(/status codes: (\d+) 2xx/);
  // The second of warming up is in the CPU and not in the count.
  const count = Number(done) * (Number(seconds) + 1) / Number(seconds);
  return { rate, failed: Number(bad) + Number(done) - Number(ok),
    server: used.server * 1000 / count, mariadb: used.mariadb * 1000 / count };
}

const ROUTES = [
  ["no such address (Lua alone)", "/store/v1/products/none/of/this"],
  ["categories, cached", "/store/v1/categories"],
  ["product, cached", `/store/v1/products/${await firstProduct()}`],
  ["list of 24", "/store/v1/products?limit=24"],
  ["search", "/store/v1/search?q=hanging%20heart"],
];

for (const protocol of ["h1", "h2"]) {
  const rows = [];
  let base;
  for (const [name, path] of ROUTES) {
    const got = await load(path, protocol);
    base ??= got;
    const expected = name.startsWith("no such") ? "" : String(got.failed);
    rows.push([name, got.rate, got.server, got.mariadb, (got.server + got.mariadb) / (base.server + base.mariadb), expected]);
  }
  table([protocol === "h1" ? "HTTP/1.1, TLS" : "HTTP/2, TLS", "requests/s", "server us", "MariaDB us", "to the first", "failed"], rows);
}

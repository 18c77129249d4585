// Completing carts: over HTTP, against a bare client that leaves the same rows by a stored procedure. Spread over SKUs and
// all on one; without a binlog, and with one that is on the disk at each commit. On the one SKU also what the combiner alone makes
// of it, without HTTP and Lua.
//
// Carts are prepared beforehand (address, shipping, payment session), half of them for each side. No jobs worker runs.
import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { BUILD, ROOT } from "./lib/ground.mjs";
import { measure, run } from "./lib/load.mjs";
import { Client, readyCart } from "./lib/shop.mjs";
import { respawn } from "./lib/respawn.mjs";

const BUYERS = 16, CARTS = 800;
const CROWD = 64, MOST = 16; // buyers who all want the one SKU, and how many go together
const USER = os.userInfo().username;
const HERE = path.join(ROOT, "tests/bench");
const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** "cart_01J…" -> 32 hex digits. */
function hexOf(id) {
  let value = 0n;
  for (const letter of id.slice(5)) value = value * 32n + BigInt(ALPHABET.indexOf(letter));
  return value.toString(16).padStart(32, "0");
}

function sql(shop, text) {
  return run("mariadb", ["--no-defaults", "-N", "-S", shop.mysql_socket, "-u", USER, shop.database, "--delimiter=//", "-e", text]);
}

/** Enough of everything for all rounds, told to the log of stock as well. */
async function stockUp(shop) {
  await sql(shop, `INSERT INTO stock_events (variant_id, location_id, type, quantity, on_hand_delta, reserved_delta, reason)
    SELECT variant_id, location_id, 'received', 1000000, 1000000, 0, 'bench' FROM stock //
    UPDATE stock SET on_hand = on_hand + 1000000 //`);
}

async function variantsOf(shop) {
  const client = new Client(shop), found = [];
  for (let after = ""; found.length < 200;) {
    const page = await client.ask("GET", `/store/v1/products?limit=100${after}`);
    for (const product of page.data) {
      const [variant] = (await client.ask("GET", `/store/v1/products/${product.id}`)).product.variants;
      if (variant) found.push(variant.id);
    }
    if (!page.next_cursor) break;
    after = `&after=${encodeURIComponent(page.next_cursor)}`;
  }
  client.close();
  return found;
}

/** `count` carts, each of one variant of the list in turn. */
async function prepareCarts(shop, variants, count) {
  const carts = [];
  let begun = 0;
  await Promise.all(Array.from({ length: 8 }, async () => {
    const client = new Client(shop);
    while (begun < count) carts.push((await readyCart(client, variants[begun++ % variants.length], { provider: "manual" })).split("/").at(-1));
    client.close();
  }));
  return carts;
}

async function completeByHttp(shop, carts, file, buyers) {
  fs.writeFileSync(file, carts.join("\n") + "\n");
  const { stdout, stderr } = await run("wrk", ["-t1", `-c${buyers}`, "-d600", "-s", `${HERE}/complete.lua`, shop.url, "--", file,
    shop.store_key], { maxBuffer: 1 << 24 });
  if (stderr) console.log(stderr.slice(0, 1000));
  return JSON.parse(stdout.trim().split("\n").at(-1));
}

/** By tests/bench/<program>.c, in which `numbers` say how. */
function completeBy(program, shop, carts, ...numbers) {
  return new Promise((resolve, reject) => {
    const child = spawn(`${BUILD}/${program}`, [shop.mysql_socket, USER, shop.database, ...numbers.map(String)],
      { stdio: ["pipe", "pipe", "inherit"] });
    let said = "";
    child.stdout.on("data", (piece) => (said += piece));
    child.on("close", (code) => (code === 0 ? resolve(JSON.parse(said)) : reject(new Error(`${program}: ${code}`))));
    child.stdin.end(carts.map((id) => `${hexOf(id)}\n`).join(""));
  });
}

/** The bare client's CPU counts: it does what our server does; what wrk uses does not. */
function sides(bench, shop, variants, buyers) {
  const file = `${bench.dir}/carts.txt`;
  return {
    a: { name: "Moontill over HTTP", run: async () => {
      const carts = await prepareCarts(shop, variants, CARTS);
      return measure(shop.roots, () => completeByHttp(shop, carts, file, buyers));
    } },
    b: { name: "bare client, procedure", run: async () => {
      const carts = await prepareCarts(shop, variants, CARTS);
      return measure([...shop.roots, process.pid], () => completeBy("bench_order", shop, carts, buyers));
    } },
  };
}

/** A client as shops are written: seven statements a buyer, the stock's row locked first. */
function tripsSide(shop, variants, buyers) {
  return { name: "bare client, 7 round trips", run: async () => {
    const carts = await prepareCarts(shop, variants, CARTS);
    return measure([...shop.roots, process.pid], () => completeBy("bench_order", shop, carts, buyers, "trips"));
  } };
}

/** The combiner alone, in C, on the one SKU. */
function combinerSide(shop, variants, buyers) {
  return { name: `combiner in C, ${MOST} a batch`, run: async () => {
    const carts = await prepareCarts(shop, variants, CARTS);
    return measure([...shop.roots, process.pid], () => completeBy("bench_combine", shop, carts, buyers, MOST));
  } };
}

async function compareAll(bench, shop, when, goal) {
  const variants = await variantsOf(shop);
  const spread = sides(bench, shop, variants, BUYERS), hot = sides(bench, shop, variants.slice(0, 1), CROWD);
  await bench.compare(`orders spread over SKUs, ${when}`, { ...spread, goal: { of: "rate", least: 0.7 } });
  await bench.compare(`orders of one SKU, ${when}`, { ...hot, goal });
  const one = variants.slice(0, 1);
  await bench.compare(`orders of one SKU, the kernel's part, ${when}`, { a: combinerSide(shop, one, CROWD), b: hot.b, goal });
  const got = await bench.compare(`orders of one SKU, as shops are written, ${when}`,
    { a: hot.a, b: tripsSide(shop, one, CROWD), goal });
  if (goal) bench.figure(`orders of one SKU a second, ${when}`, got.a.rate.median, "", { least: 5000 });
}

export default async function (bench) {
  const running = await bench.startShop(["--no-demo", "--set", "server.jobs_workers=0"]);
  const shop = { ...running.dev, dir: running.dir, ca: running.ca, roots: [running.process.pid] };
  try {
    await running.cli("import", "products", path.join(ROOT, "sql/demo/online-retail-slice.csv.xz"));
    await stockUp(shop);
    await sql(shop, fs.readFileSync(`${HERE}/order.sql`, "utf8"));
    await compareAll(bench, shop, "no binlog");
    const again = await respawn(running, ["--log-bin=binlog", "--server-id=1", "--sync-binlog=1"], ["--skip-log-bin"]);
    shop.roots = again.pids;
    try {
      await compareAll(bench, shop, "with binlog", { of: "rate", least: 10 });
    } finally {
      await again.stop();
    }
  } finally {
    if (!running.exit) await running.stop();
    fs.rmSync(running.dir, { recursive: true, force: true });
  }
}

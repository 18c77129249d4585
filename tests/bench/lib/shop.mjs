// The shop under test, as a client sees it.
import { execFile } from "node:child_process";
import fs from "node:fs";
import http2 from "node:http2";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Counters of MariaDB by name. */
export async function statusOf(shop) {
  const { stdout } = await run("mariadb", ["--no-defaults", "-N", "-S", shop.mysql_socket, "-u", "moontill",
    shop.database, "-e", "SHOW GLOBAL STATUS WHERE Variable_name IN ('Com_stmt_execute', 'Com_stmt_prepare', " +
      "'Com_commit', 'Com_begin', 'Innodb_log_writes')"]);
  return Object.fromEntries(stdout.trim().split("\n").map((line) => line.split("\t"))
    .map(([name, value]) => [name, Number(value)]));
}

/** What `moontill dev --var DIR`, which runs already, wrote down for its clients; `pid` is its own. */
export function readShop(dir) {
  const shop = JSON.parse(fs.readFileSync(`${dir}/dev.json`, "utf8"));
  const pid = fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name)).find((name) => {
    try {
      const words = fs.readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0");
      return words[1] === "dev" && words.includes(dir);
    } catch {
      return false; // it ended meanwhile
    }
  });
  if (!pid) throw new Error(`no \`moontill dev --var ${dir}\` runs`);
  return { ...shop, dir, ca: fs.readFileSync(shop.ca_file), pid: Number(pid) };
}

/** Beginning and end of a file that may have grown to gigabytes. */
function bothEnds(file, size = 1 << 20) {
  const fd = fs.openSync(file), end = fs.fstatSync(fd).size;
  const read = (at) => {
    const buffer = Buffer.alloc(Math.min(size, end));
    return buffer.toString("utf8", 0, fs.readSync(fd, buffer, 0, buffer.length, at));
  };
  const text = `${read(0)}\n${read(Math.max(0, end - size))}`;
  fs.closeSync(fd);
  return text;
}

/** The process ids of the web workers that run now, from the shop's log. */
export function webWorkers(shop) {
  const newest = new Map();
  for (const line of bothEnds(`${shop.dir}/moontill.log`).split("\n")) {
    const [, name, pid] = line.match(/"proc":"(web-\d+)","pid":(\d+)/) ?? [];
    if (name) newest.set(name, Number(pid));
  }
  return [...newest.values()].filter((pid) => fs.existsSync(`/proc/${pid}`));
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

export const STRIPE = { provider: "stripe", data: { payment_method: "pm_card_visa" } };

/** The address of a cart that only has to be completed; `session`: how it is paid. */
export async function readyCart(client, variant, session) {
  const { cart } = await client.ask("POST", "/store/v1/carts", { currency: "GBP", country: "GB" });
  const at = `/store/v1/carts/${cart.id}`;
  await client.ask("POST", `${at}/lines`, { variant_id: variant, quantity: 1 });
  await client.ask("PATCH", at, { email: "ada@example.com", shipping_address: ADDRESS, billing_address: ADDRESS });
  const [option] = (await client.ask("GET", `${at}/shipping-options`)).data;
  await client.ask("PATCH", at, { shipping_option_id: option.id });
  await client.ask("POST", `${at}/payment-sessions`, session);
  return at;
}

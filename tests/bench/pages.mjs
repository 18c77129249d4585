// A product from the cache against nginx with Lua giving out the same bytes from its cache, and a file against nginx.
//
// Ours finds the route, checks the key and writes one log line of JSON; nginx looks the page up and writes one as well.
import fs from "node:fs";
import path from "node:path";
import { certificate, ROOT } from "./lib/ground.mjs";
import { httpSide, PROTOCOLS } from "./lib/load.mjs";
import { startNginx } from "./lib/nginx.mjs";
import { Client } from "./lib/shop.mjs";

const GOALS = { "HTTP/2, 16 streams": { of: "cpu", most: 0.5 } };

async function firstProduct(shop) {
  const client = new Client(shop);
  const page = await client.ask("GET", "/store/v1/products?limit=1");
  const url = `/store/v1/products/${page.data[0].id}`;
  const body = JSON.stringify(await client.ask("GET", url));
  client.close();
  return { url, body };
}

export default async function (bench) {
  const shop = await bench.shop();
  const product = await firstProduct(shop), page = `${bench.dir}/page.json`;
  fs.writeFileSync(page, product.body);
  const files = path.join(ROOT, "web/static");
  const nginx = await startNginx(bench.dir, await certificate(bench.dir), files, page);
  const options = { ...bench, headers: [`authorization: Bearer ${shop.store_key}`] };
  const ours = (url, args) => httpSide("Moontill", [shop.pid], shop.url + url, args, options);
  const theirs = (name, url, args) => httpSide(name, [nginx.pid], nginx.url + url, args, options);
  const picture = fs.readdirSync(`${files}/pictures`).sort()[0];
  try {
    for (const [protocol, args] of Object.entries(PROTOCOLS)) {
      await bench.compare(`cached product, ${product.body.length} bytes, ${protocol}`,
        { a: ours(product.url, args), b: theirs("nginx with Lua", "/page", args), goal: GOALS[protocol] });
    }
    const size = fs.statSync(`${files}/pictures/${picture}`).size;
    for (const [protocol, args] of Object.entries(PROTOCOLS)) {
      const url = `/static/pictures/${picture}`;
      await bench.compare(`file of ${size} bytes, ${protocol}`, { a: ours(url, args), b: theirs("nginx", url, args) });
    }
  } finally {
    await nginx.stop();
  }
}

// What a web worker holds: at rest, and while it works as hard as it can.
import { h2load, PROTOCOLS } from "./lib/load.mjs";
import { memoryOf, tree } from "./lib/processes.mjs";
import { Client, webWorkers } from "./lib/shop.mjs";

function show(bench, shop, when, goal) {
  const each = webWorkers(shop).map(memoryOf);
  bench.figure(`a web worker ${when}, the larger: resident`, Math.max(...each.map((one) => one.rss)), "MB", goal);
  bench.figure(`a web worker ${when}, the larger: its share (PSS)`, Math.max(...each.map((one) => one.pss)), "MB");
}

export default async function (bench) {
  const running = await bench.startShop(["--no-demo"]);
  const shop = { ...running.dev, dir: running.dir, ca: running.ca, pid: running.process.pid };
  try {
    const client = new Client(shop);
    for (let i = 0; i < 20; i++) await client.ask("GET", "/store/v1/products?limit=1"); // both have a line in the log
    client.close();
    show(bench, shop, "at rest", { most: 40 });
    await running.cli("import", "products", new URL("../../sql/demo/online-retail-slice.csv.xz", import.meta.url).pathname);
    const options = { seconds: bench.seconds * 2, headers: [`authorization: Bearer ${shop.store_key}`] };
    for (const path of ["/store/v1/products?limit=24", "/store/v1/search?q=heart"]) {
      await h2load(shop.url + path, PROTOCOLS["HTTP/2, 16 streams"], options);
    }
    show(bench, shop, "after full load");
    const others = tree([shop.pid]).filter((one) => one.name === "mariadbd" || one.name === "redis-server");
    for (const { name, pid } of others) bench.figure(`${name} then: resident`, memoryOf(pid).rss, "MB");
  } finally {
    await running.stop();
  }
}

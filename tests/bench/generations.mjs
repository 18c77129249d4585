// What a thousand reloads leave behind, and how long going back takes.
import fs from "node:fs";
import path from "node:path";
import { control } from "../flow/support/process.mjs";
import { memoryOf } from "./lib/processes.mjs";
import { webWorkers } from "./lib/shop.mjs";

const RELOADS = 1000, EARLY = 10;

function write(dir, word) {
  const folder = path.join(dir, "probe-word");
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, "plugin.lua"), `return { name = "probe-word", version = "1.0.0", api = 1, hooks = { "http.route" } }\n`);
  fs.writeFileSync(path.join(folder, "handler.lua"), `return { ["http.route"] = function()
  return { { method = "GET", path = "/plugins/probe-word/word", auth = "none", summary = "The word",
    handler = function(ctx) return ctx:json(200, { word = "${word}" }) end } }
end }\n`);
}

/** Of all web workers; when nothing of an old generation is left. */
async function resident(shop) {
  while ((await control(shop, "generations")).cooling.length > 0) await new Promise((go) => setTimeout(go, 50));
  return webWorkers(shop).map((pid) => memoryOf(pid).rss).reduce((a, b) => a + b);
}

export default async function (bench) {
  const plugins = fs.mkdtempSync(path.join(bench.dir ?? "/tmp", "plugins-"));
  fs.chmodSync(plugins, 0o755);
  write(plugins, "first");
  const running = await bench.startShop(["--no-demo", "--plugins", plugins]);
  const shop = { ...running.dev, dir: running.dir, pid: running.process.pid };
  try {
    let early;
    for (let i = 1; i <= RELOADS; ++i) {
      write(plugins, `round ${i}`);
      const done = await control(shop, "reload");
      if (!done.ok) throw new Error(done.error);
      if (i === EARLY) early = await resident(shop);
    }
    const late = await resident(shop);
    bench.figure(`web workers after ${EARLY} reloads: resident`, early, "MB");
    bench.figure(`web workers after ${RELOADS} reloads: resident`, late, "MB");
    bench.figure("the later by the earlier", late / early, "×", { most: 1.02 });
    const times = [];
    for (let i = 0; i < 20; ++i) {
      const begun = performance.now();
      const done = await control(shop, "rollback");
      if (!done.ok) throw new Error(done.error);
      times.push(performance.now() - begun);
    }
    bench.figure("a rollback, the longest of 20", Math.max(...times), "ms", { most: 1000 });
  } finally {
    await running.stop();
    fs.rmSync(plugins, { recursive: true, force: true });
  }
}

// What `import products` and `import orders` take: seconds, CPU with the database's, peak memory.
//
// The whole file of the UCI's Online Retail set where IMPORT names it (CSV or .xz), else the slice that the demo uses. The
// baseline is unpacking and reading the file at all.
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { BUILD, ROOT } from "./lib/ground.mjs";
import { run } from "./lib/load.mjs";
import { cpuOf } from "./lib/processes.mjs";

const FILE = process.env.IMPORT ?? path.join(ROOT, "sql/demo/online-retail-slice.csv.xz");

/** A command to its end: { seconds, cpu in seconds, mb at its peak }. */
async function measure(shop, file, words) {
  const begin = performance.now(), before = cpuOf([shop.pid]).all;
  const child = spawn(file, words, { stdio: "ignore" });
  const exit = once(child, "exit");
  const out = { mb: 0, cpu: 0 };
  const timer = setInterval(() => {
    try {
      out.mb = Math.max(out.mb, Number(fs.readFileSync(`/proc/${child.pid}/status`, "utf8").match(/VmHWM:\s+(\d+)/)[1]) / 1024);
      out.cpu = (cpuOf([shop.pid, child.pid]).all - before) / 1e6;
    } catch {} // it ended meanwhile
  }, 20);
  const [code] = await exit;
  clearInterval(timer);
  if (code !== 0) throw new Error(`${words.join(" ")}: exit code ${code}`);
  return { ...out, seconds: (performance.now() - begin) / 1000 };
}

export default async function (bench) {
  const running = await bench.startShop(["--no-demo"]);
  const shop = { dir: running.dir, pid: running.process.pid };
  try {
    const { stdout } = await run("sh", ["-c", 'case "$0" in *.xz) xz -dc "$0";; *) cat "$0";; esac | wc -l', FILE]);
    bench.figure("lines of the file", Number(stdout), "");
    const bare = await measure(shop, "sh", ["-c", 'case "$0" in *.xz) xz -dc "$0";; *) cat "$0";; esac >/dev/null', FILE]);
    bench.figure("unpacking alone", bare.seconds, "s");
    for (const kind of ["products", "orders"]) {
      const got = await measure(shop, path.join(BUILD, "moontill"), ["import", kind, FILE, "--var", running.dir]);
      bench.figure(`import ${kind}`, got.seconds, "s", { most: 60 });
      bench.figure(`import ${kind}, CPU with the database's`, got.cpu, "s");
      bench.figure(`import ${kind}, peak of its process`, got.mb, "MB", { most: 300 });
    }
  } finally {
    await running.stop();
  }
}

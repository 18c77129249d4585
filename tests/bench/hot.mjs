// The combiner by the measure that its goal was set by: one SKU, the smallest order there is (hot.sql), 64 buyers, a binlog
// that is on the disk at each commit. One transaction a buyer against all who wait together. Whole orders: `orders`.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { BUILD, ROOT } from "./lib/ground.mjs";
import { measure, run } from "./lib/load.mjs";
import { respawn } from "./lib/respawn.mjs";

const BUYERS = 64, MOST = 64, TOGETHER = 20000, ALONE = 1000;
const USER = os.userInfo().username;

function side(name, shop, ...numbers) {
  const act = async () => JSON.parse((await run(`${BUILD}/bench_hot`, [shop.mysql_socket, USER, shop.database, ...numbers.map(String)])).stdout);
  return { name, run: () => measure([...shop.roots, process.pid], act) };
}

export default async function (bench) {
  const running = await bench.startShop(["--no-demo", "--set", "server.jobs_workers=0"]);
  const shop = { ...running.dev };
  try {
    await run("mariadb", ["--no-defaults", "-S", shop.mysql_socket, "-u", USER, shop.database, "--delimiter=//", "-e", fs.readFileSync(path.join(ROOT, "tests/bench/hot.sql"), "utf8")]);
    const again = await respawn(running, ["--log-bin=binlog", "--server-id=1", "--sync-binlog=1"], ["--skip-log-bin"]);
    shop.roots = again.pids;
    try {
      const got = await bench.compare("smallest orders of one SKU, with binlog", {
        a: side(`combiner, ${MOST} a transaction`, shop, BUYERS, TOGETHER, MOST), b: side("one transaction a buyer", shop, BUYERS, ALONE),
        goal: { of: "rate", least: 10 } });
      bench.figure("smallest orders of one SKU a second, with binlog", got.a.rate.median, "", { least: 5000 });
    } finally {
      await again.stop();
    }
  } finally {
    if (!running.exit) await running.stop();
    fs.rmSync(running.dir, { recursive: true, force: true });
  }
}

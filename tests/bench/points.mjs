// Point reads: our pool against sysbench, one key a statement, and the keys of a loop's turn gathered into one.
import os from "node:os";
import { BUILD } from "./lib/ground.mjs";
import { measure, run } from "./lib/load.mjs";

const DATABASE = "bench_points";
const USER = os.userInfo().username;

async function sql(shop, text) {
  await run("mariadb", ["--no-defaults", "-S", shop.mysql_socket, "-u", USER, "-e", text]);
}

function sysbench(shop, ...words) {
  return run("sysbench", ["oltp_point_select", "--db-driver=mysql", `--mysql-socket=${shop.mysql_socket}`,
    `--mysql-user=${USER}`, `--mysql-db=${DATABASE}`, "--tables=1", "--table-size=10000", ...words]);
}

/** The CPU of the client belongs to a read: ours is a part of the server. */
function sides(bench, shop) {
  const ours = (kind) => async () => JSON.parse((await run(`${BUILD}/bench_sql`,
    [kind, shop.mysql_socket, USER, DATABASE, String(bench.seconds)])).stdout);
  const theirs = async () => {
    const { stdout } = await sysbench(shop, "--threads=8", `--time=${bench.seconds}`, "run");
    return { count: Number(stdout.match(/read:\s+(\d+)/)[1]), seconds: bench.seconds };
  };
  const side = (name, act) => ({ name, run: () => measure([shop.pid, process.pid], act) });
  return { single: side("pool, 16 of one key each in flight", ours("single")),
    gathered: side("pool, 24 keys gathered", ours("gathered")), sysbench: side("sysbench, 8 threads", theirs) };
}

export default async function (bench) {
  const shop = await bench.shop();
  await sql(shop, `CREATE DATABASE ${DATABASE}`);
  try {
    await sysbench(shop, "prepare");
    const { single, gathered, sysbench: bare } = sides(bench, shop);
    await bench.compare("reads, database and client", { a: single, b: bare });
    await bench.compare("reads, database and client", { a: gathered, b: single, goal: { of: "rate", least: 4 } });
  } finally {
    await sql(shop, `DROP DATABASE ${DATABASE}`);
  }
}

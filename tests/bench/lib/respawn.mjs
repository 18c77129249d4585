// The servers of a `moontill dev` once more, MariaDB with other options, on the same data.
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { answers, until } from "./ground.mjs";
import { tree } from "./processes.mjs";

/** Command line and account of a process: { words, uid, gid }. */
function look(pid) {
  const status = fs.readFileSync(`/proc/${pid}/status`, "utf8");
  const id = (name) => Number(status.match(new RegExp(`^${name}:\\s+(\\d+)`, "m"))[1]);
  return { words: fs.readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, -1), uid: id("Uid"), gid: id("Gid") };
}

function start({ words, uid, gid }, file, stdio, cwd) {
  const child = spawn(file, words.slice(1), { uid, gid, stdio, cwd });
  return { pid: child.pid, child, exit: once(child, "exit") };
}

/** Stops `running` (its folder stays) and starts its servers: { pids, stop() }. */
export async function respawn(running, more, without) {
  const { dev, dir } = running;
  const children = tree([running.process.pid]).filter((one) => one.parent === running.process.pid);
  const by = (test) => look(children.find((one) => test(one.name)).pid);
  const mysql = by((name) => name === "mariadbd"), redis = by((name) => name === "redis-server");
  const serve = by((name) => !["mariadbd", "redis-server"].includes(name));
  await running.stop({ keep: true });

  mysql.words = [...mysql.words.filter((word) => !without.includes(word)), ...more];
  redis.words = ["redis-server", "--port", "0", "--unixsocket", dev.redis_socket, "--unixsocketperm", "700",
    "--dir", path.dirname(dev.redis_socket), "--save", ""]; // it writes its own title over its command line
  const started = [];
  const stop = async () => {
    for (const one of started.reverse()) {
      one.child.kill("SIGTERM");
      await one.exit;
    }
  };
  try {
    started.push(start(mysql, "mariadbd", "ignore", `${dir}/mysql`), start(redis, "redis-server", "ignore", `${dir}/redis`));
    await until("MariaDB and Redis answer", async () => (await answers({ path: dev.mysql_socket })) && answers({ path: dev.redis_socket }));
    const server = start(serve, process.env.MOONTILL, ["ignore", "pipe", "inherit"], dir);
    started.push(server);
    await Promise.race([once(server.child.stdout, "data"),
      server.exit.then(([code]) => Promise.reject(new Error(`moontill serve ended with ${code}`)))]);
    server.child.stdout.resume();
    return { pids: started.map((one) => one.pid), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

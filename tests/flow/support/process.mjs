// The processes of a running shop: who they are, and how to kill them.
import fs from "node:fs";
import net from "node:net";
import path from "node:path";

/** One order for DIR/control.sock; the last line of the answer. */
export function control(shop, command) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(path.join(shop.dir, "control.sock"));
    let text = "";
    socket.on("data", (piece) => (text += piece));
    socket.on("error", reject);
    socket.on("end", () => {
      try {
        resolve(JSON.parse(text.trim().split("\n").pop()));
      } catch {
        reject(new Error(`the server went before it had answered ${command}: "${text}"`));
      }
    });
    socket.write(`${JSON.stringify({ command })}\n`);
  });
}

/** [{name, pid, state, restarts}], the web workers first. */
export const workers = async (shop) => (await control(shop, "status")).workers;

export const isAlive = (pid) => {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(fs.readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
};

/** Processes whose command line speaks of `text`: [{pid, command}]. */
export function processesOf(text) {
  const found = [];
  for (const name of fs.readdirSync("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    try {
      const command = fs.readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ");
      if (command.includes(text)) found.push({ pid: Number(name), command });
    } catch {
      // it ended while we looked
    }
  }
  return found;
}

/** The MariaDB or Redis that runs for `shop`. */
export function serverOf(shop, program) {
  const found = processesOf(shop.dir).find((p) => path.basename(p.command.split(" ")[0]) === program);
  if (!found) throw new Error(`no ${program} runs for ${shop.dir}`);
  return found.pid;
}

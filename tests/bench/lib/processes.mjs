// CPU and memory of a tree of processes, out of /proc.
import fs from "node:fs";

const TICK_US = 10_000; // _SC_CLK_TCK is 100 on every Linux that we know

/** Every process there is: { pid, parent, name, cpu } with its own CPU and that of its dead children in microseconds. */
function all() {
  const found = [];
  for (const pid of fs.readdirSync("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      const stat = fs.readFileSync(`/proc/${pid}/stat`, "utf8");
      const end = stat.lastIndexOf(")");
      const fields = stat.slice(end + 2).split(" ");
      const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
      found.push({ pid: Number(pid), parent: Number(fields[1]), name: stat.slice(stat.indexOf("(") + 1, end),
        cpu: ticks * TICK_US });
    } catch {} // it ended meanwhile
  }
  return found;
}

/** The processes of the trees below `roots`, the roots included. */
export function tree(roots) {
  const list = all(), inside = new Set(roots);
  for (let size = -1; size !== inside.size;) {
    size = inside.size;
    for (const one of list) if (inside.has(one.parent)) inside.add(one.pid);
  }
  return list.filter((one) => inside.has(one.pid));
}

const PARTS = { mariadbd: "mariadb", "redis-server": "redis" };

/** CPU microseconds used so far by those trees, by part: { mariadb, redis, rest, all }. */
export function cpuOf(roots) {
  const out = { mariadb: 0, redis: 0, rest: 0, all: 0 };
  for (const { name, cpu } of tree(roots)) {
    out[PARTS[name] ?? "rest"] += cpu;
    out.all += cpu;
  }
  return out;
}

export function difference(after, before) {
  return Object.fromEntries(Object.keys(after).map((name) => [name, after[name] - before[name]]));
}

/** Megabytes of one process: what it holds alone or its share of (pss), and what the kernel shows (rss). */
export function memoryOf(pid) {
  const text = fs.readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const field = (name) => Number(text.match(new RegExp(`^${name}:\\s+(\\d+)`, "m"))[1]) / 1024;
  return { pss: field("Pss"), rss: field("Rss") };
}

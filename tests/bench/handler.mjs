// A handler in Lua against the same in C, behind the same server: what LuaJIT costs a request.
import fs from "node:fs";
import path from "node:path";
import { BUILD, certificate, ROOT, serverOf } from "./lib/ground.mjs";
import { httpSide, PROTOCOLS } from "./lib/load.mjs";

/** The thin modules of the checkout and our own main.lua. */
function layOut(dir) {
  for (const name of ["prim", "util"]) fs.cpSync(path.join(ROOT, "lua/till", name), `${dir}/till/${name}`, { recursive: true });
  fs.copyFileSync(path.join(ROOT, "tests/bench/handler.lua"), `${dir}/till/main.lua`);
}

export default async function (bench) {
  const { cert, key } = await certificate(bench.dir);
  layOut(bench.dir);
  const start = (kind) => serverOf(`${BUILD}/bench_handler`, [kind, cert, key, bench.dir]);
  const servers = { lua: await start("lua"), c: await start("c") };
  try {
    for (const [protocol, args] of Object.entries(PROTOCOLS)) {
      const side = (name, { pid, line }) => httpSide(name, [pid], `${line}/echo`, args, bench);
      await bench.compare(protocol, { a: side("Lua", servers.lua), b: side("C", servers.c), goal: { of: "cpu", most: 1.15 } });
    }
  } finally {
    await servers.lua.stop();
    await servers.c.stop();
  }
}

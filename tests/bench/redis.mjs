// GET of one key: through the server, over TLS and HTTP, against redis-benchmark, which does nothing else.
import { BUILD, certificate, serverOf } from "./lib/ground.mjs";
import { httpSide, measure, PROTOCOLS, run } from "./lib/load.mjs";

const SIDES = [["HTTP/1.1", "redis-benchmark, 16 connections", ["-c", "16"]],
  ["HTTP/2, 16 streams", "redis-benchmark, 8 connections, pipelines of 16", ["-c", "8", "-P", "16"]]];

/** Its own CPU counts: it is the client that our server is here. */
function redisBenchmark(shop, words, seconds) {
  return () => measure([shop.pid, process.pid], async () => {
    const begin = performance.now();
    let count = 0, rate = 20_000;
    while (performance.now() - begin < seconds * 1000) {
      const n = Math.round(rate * seconds / 4);
      const { stdout } = await run("redis-benchmark", ["-s", shop.redis_socket, "-n", String(n), "--csv", ...words, "GET", "bench"]);
      count += n;
      rate = Number(stdout.trim().split("\n").at(-1).split(",")[1].replaceAll('"', ""));
    }
    return { count, seconds: (performance.now() - begin) / 1000 };
  });
}

export default async function (bench) {
  const shop = await bench.shop(), { cert, key } = await certificate(bench.dir);
  await run("redis-cli", ["-s", shop.redis_socket, "SET", "bench", "x".repeat(100)]);
  const server = await serverOf(`${BUILD}/bench_handler`, ["redis", cert, key, shop.redis_socket]);
  try {
    for (const [protocol, name, words] of SIDES) {
      await bench.compare(`GET, ${protocol}`, {
        a: httpSide("through the server", [shop.pid, server.pid], `${server.line}/get`, PROTOCOLS[protocol], bench),
        b: { name, run: redisBenchmark(shop, words, bench.seconds) },
      });
    }
  } finally {
    await server.stop();
  }
}

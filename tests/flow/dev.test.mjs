// `moontill dev` in places and moments that nobody chooses: taken ports, deep folders, a sudden end.
import assert from "node:assert/strict";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { after, describe, it } from "node:test";
import { processesOf } from "./support/process.mjs";
import { Shop, freePort, moontill, tempDir, until } from "./support/shop.mjs";

const dirs = [];
after(() => dirs.forEach((dir) => fs.rmSync(dir, { recursive: true, force: true })));

function folder() {
  dirs.push(tempDir("dev"));
  return dirs.at(-1);
}

describe("dev", () => {
  it("refuses a port that is taken before it makes a database", async () => {
    const other = net.createServer(), port = (await freePort()) + 1, dir = folder();
    await new Promise((resolve) => other.listen(port, "127.0.0.1", resolve));
    try {
      for (const listen of [port, port - 1]) { // the shop's, the ops listener's
        const done = await moontill(["dev", "--no-demo", "--var", dir, "--listen", `127.0.0.1:${listen}`]);
        assert.equal(done.code, 1);
        assert.match(done.stderr, new RegExp(`127\\.0\\.0\\.1:${port}: Address already in use .*--listen`));
        assert.equal(fs.existsSync(path.join(dir, "mysql")), false);
      }
    } finally {
      other.close();
    }
  });

  it("stops its servers at their word: none has to be killed", async () => {
    const shop = await Shop.start({ dir: folder() });
    await shop.stop({ keep: true });
    assert.match(fs.readFileSync(path.join(shop.dir, "redis/redis.log"), "utf8"), /Received SIGTERM/);
    assert.deepEqual(processesOf(shop.dir), []);
  });

  it("ends with its servers when `moontill stop` ends the shop", async () => {
    const shop = await Shop.start({ dir: folder() });
    assert.equal((await shop.cli("stop")).code, 0);
    await until("dev ends", () => shop.exit, 30_000);
    assert.deepEqual(shop.exit, { code: 0, signal: null });
    assert.match(shop.log, /server +was stopped/);
    assert.deepEqual(processesOf(shop.dir), []);
  });

  it("leaves nothing behind when it is killed, and starts again at once", async () => {
    const killed = await Shop.start({ dir: folder() });
    killed.process.kill("SIGKILL");
    const shop = await Shop.start({ dir: killed.dir });
    assert.equal((await shop.h2("GET", "/store/v1/products")).status, 200);
    shop.process.kill("SIGKILL");
    shop.line.close();
    await until("its servers end", () => processesOf(shop.dir).length === 0);
  });

  it("works in a folder that is too deep for a socket, or has an odd name", async () => {
    for (const name of ["x".repeat(40) + "/" + "y".repeat(70), "z".repeat(85 - 22), "Läden & \"co\" 100%"]) {
      const dir = path.join(folder(), name);
      fs.mkdirSync(dir, { recursive: true });
      fs.chmodSync(path.dirname(dir), 0o711);
      const shop = await Shop.start({ dir });
      assert.equal((await shop.h2("GET", "/store/v1/products")).status, 200);
      await shop.stop({ keep: true });
    }
  });
});

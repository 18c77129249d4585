// `moontill dev --watch`: what is saved is live, however an editor saves it, and what does not load is said at once.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { Shop, tempDir, until } from "./support/shop.mjs";
import { assertOk } from "./support/checks.mjs";

const MANIFEST = `return {
  name = "probe-watch", version = "1.0.0", api = 1, hooks = { "http.route" },
  config = { more = { type = "string", default = "" } },
}
`;
const handler = (word) => `return { ["http.route"] = function(config)
  return { { method = "GET", path = "/plugins/probe-watch/word", auth = "none", summary = "The word",
    handler = function(ctx) return ctx:json(200, { word = "${word}" .. config.more }) end } }
end }
`;
const CONF = (more = "") => `return { server = { workers = 2 }, plugins = { ["probe-watch"] = { more = "${more}" } } }\n`;

let shop, dir, conf;
const file = (name = "handler.lua") => path.join(dir, "probe-watch", name);
before(async () => {
  dir = tempDir("watch");
  fs.chmodSync(dir, 0o755);
  conf = path.join(tempDir("watch-conf"), "moontill.lua");
  fs.mkdirSync(path.join(dir, "probe-watch"));
  fs.writeFileSync(file("plugin.lua"), MANIFEST);
  fs.writeFileSync(file(), handler("one"));
  fs.writeFileSync(conf, CONF());
  shop = await Shop.start({ args: ["--no-demo", "--watch", "--conf", conf, "--plugins", dir] });
  await until("it watches", () => /watch +lua\//.test(shop.log));
});
after(async () => {
  await shop?.stop();
  for (const each of [dir, path.dirname(conf)]) fs.rmSync(each, { recursive: true, force: true });
});

const word = async () =>
  assertOk(await shop.h1("GET", "/plugins/probe-watch/word", { key: null, agent: false }), 200).word;

/** What is said after `save`. */
async function said(save, pattern) {
  const from = shop.log.length;
  save();
  await until(`it says ${pattern}`, () => pattern.test(shop.log.slice(from)));
  return shop.log.slice(from);
}

describe("moontill dev --watch", () => {
  const live = /live +plugins\/probe-watch\/handler\.lua.*: generation [0-9a-f]{12}, \d+ ms after it was saved/;

  it("makes live what is written in place", async () => {
    assert.equal(await word(), "one");
    await said(() => fs.writeFileSync(file(), handler("two")), live);
    assert.equal(await word(), "two");
  });

  it("and what is written beside and renamed", async () => {
    await said(() => {
      fs.writeFileSync(file(".handler.lua.new"), handler("three"));
      fs.renameSync(file(".handler.lua.new"), file());
    }, live);
    assert.equal(await word(), "three");
  });

  it("and what is moved away first", async () => {
    await said(() => {
      fs.renameSync(file(), file("handler.lua~"));
      fs.writeFileSync(file(), handler("four"));
      fs.rmSync(file("handler.lua~"));
    }, live);
    assert.equal(await word(), "four");
  });

  it("says by file and line what does not load, and that the code before serves on", async () => {
    const text = await said(() => fs.writeFileSync(file(), handler("five") + "oops"), /serves on/);
    assert.match(text, /refused +plugins\/probe-watch\/handler\.lua:5: '<eof>' expected near 'oops'/);
    assert.equal(await word(), "four");
    await said(() => fs.writeFileSync(file(), handler("five")), live);
    assert.equal(await word(), "five");
  });

  it("takes the configuration that was saved", async () => {
    await said(() => fs.writeFileSync(conf, CONF("!")), /live +conf\/moontill\.lua: generation/);
    assert.equal(await word(), "five!");
  });

  it("sees a plugin that comes, with the files that are in it already", async () => {
    const text = await said(() => {
      fs.cpSync(path.join(dir, "probe-watch"), path.join(dir, "probe-late"), { recursive: true });
      fs.writeFileSync(path.join(dir, "probe-late/plugin.lua"), MANIFEST.replaceAll("probe-watch", "probe-late"));
      fs.writeFileSync(path.join(dir, "probe-late/handler.lua"), handler("late").replaceAll("probe-watch", "probe-late"));
    }, /(live|refused) +plugins\/probe-late/);
    assert.match(text, /live +plugins\/probe-late/);
    await said(() => fs.writeFileSync(path.join(dir, "probe-late/handler.lua"),
      handler("later").replaceAll("probe-watch", "probe-late")), /live +plugins\/probe-late\/.*: generation/);
    const answer = await shop.h1("GET", "/plugins/probe-late/word", { key: null, agent: false });
    assert.equal(assertOk(answer, 200).word, "later");
  });

  it("ends with the shop", async () => {
    const pid = Number(fs.readFileSync(`/proc/${shop.process.pid}/task/${shop.process.pid}/children`, "utf8").trim()
      .split(" ").at(-1));
    assert.ok(fs.existsSync(`/proc/${pid}`));
    await shop.stop();
    await until("it is gone", () => !fs.existsSync(`/proc/${pid}`));
    shop = null;
  });
});

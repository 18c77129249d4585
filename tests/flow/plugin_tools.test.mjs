// What whoever writes plugins works with: `moontill plugin new|test`, without a server and without a database.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { moontill, tempDir } from "./support/shop.mjs";

let dir;
before(() => (dir = tempDir("tools")));
after(() => fs.rmSync(dir, { recursive: true, force: true }));

const plugin = (...args) => moontill(["plugin", ...args, "--plugins", dir]);

describe("moontill plugin new", () => {
  for (const kind of ["promo", "cart", "shipping", "tax", "payment", "order", "job", "webhook", "http"]) {
    it(`writes a ${kind} plugin that loads, and whose specs pass`, async () => {
      const made = await plugin("new", `${kind}-mine`);
      assert.equal(made.code, 0, made.stderr);
      assert.match(made.stdout, new RegExp(`moontill plugin test ${kind}-mine --plugins ${dir}`));
      assert.deepEqual(fs.readdirSync(path.join(dir, `${kind}-mine`)).sort(),
        [".luarc.json", "README.md", "handler.lua", `${kind}_mine_spec.lua`, "plugin.lua"].sort());
      const checked = await plugin("check", `${kind}-mine`);
      assert.equal(checked.code, 0, checked.stdout);
      const tested = await plugin("test", `${kind}-mine`);
      assert.equal(tested.code, 0, tested.stdout + tested.stderr);
      assert.match(tested.stdout, /^[1-9]\d* passed, 0 failed, 0 skipped$/m);
    });
  }

  it("overwrites nothing", async () => {
    fs.writeFileSync(path.join(dir, "promo-mine/handler.lua"), "-- mine");
    const again = await plugin("new", "promo-mine");
    assert.equal(again.code, 1);
    assert.match(again.stderr, /promo-mine is there already: take another name, or remove it first/);
    assert.equal(fs.readFileSync(path.join(dir, "promo-mine/handler.lua"), "utf8"), "-- mine");
  });

  for (const name of ["../promo-x", "promo", "Promo-x", "promo-", "nothing-x", "promo-x/y", "shiping-x"]) {
    it(`refuses the name ${name}`, async () => {
      const made = await plugin("new", name);
      assert.equal(made.code, 1, made.stdout);
      assert.match(made.stderr, /a name is KIND-NAME in small letters/);
    });
  }

  it("says what is meant where a kind is misspelt", async () => {
    assert.match((await plugin("new", "shiping-x")).stderr, /was shipping-\.\.\. meant\?/);
  });
});

describe("moontill plugin test", () => {
  const write = (name, spec) => {
    fs.mkdirSync(path.join(dir, name));
    fs.writeFileSync(path.join(dir, name, "plugin.lua"),
      `return { name = "${name}", version = "1.0.0", api = 1, hooks = { "cart.validate" } }\n`);
    fs.writeFileSync(path.join(dir, name, "handler.lua"), 'return { ["cart.validate"] = function() end }\n');
    if (spec) fs.writeFileSync(path.join(dir, name, `${name.replace("-", "_")}_spec.lua`), spec);
  };

  it("tells of a failure by its line", async () => {
    write("cart-bad", 'local t = require "till.test"\n\nt.it("is two", function()\n  t.equal(1, 2)\nend)\n');
    const tested = await plugin("test", "cart-bad");
    assert.equal(tested.code, 1);
    assert.match(tested.stdout, /FAILED is two\n {2}at plugins\/cart-bad\/cart_bad_spec\.lua:4\n {2}got 1, expected 2/);
  });

  it("tells of a plugin that does not load once, and by the plugin's line", async () => {
    write("cart-typo", 'local t = require "till.test"\n\nt.plugin("cart-typo", {}, function(plugin)\n  t.it("runs", function() end)\nend)\n');
    fs.writeFileSync(path.join(dir, "cart-typo/handler.lua"), "return {\n  local x\n}\n");
    const { stdout } = await plugin("test", "cart-typo");
    assert.match(stdout, /FAILED cart-typo\n {2}at plugins\/cart-typo\/cart_typo_spec\.lua:3\n {2}plugins\/cart-typo\/handler\.lua:2: unexpected symbol/);
    assert.match(stdout, /^0 passed, 1 failed, 0 skipped$/m);
    assert.doesNotMatch(stdout, /traceback/);
  });

  it("is told apart from being active: check says what is left out, and why", async () => {
    write("cart-idle");
    fs.writeFileSync(path.join(dir, "cart-idle/plugin.lua"), 'return { name = "cart-idle", version = "1.0.0", api = 1, opt_in = true, hooks = { "cart.validate" } }\n');
    const checked = await plugin("check", "cart-idle");
    assert.equal(checked.code, 0, checked.stdout);
    assert.match(checked.stdout, /^plugins\.cart-idle: it is left out: not enabled in the configuration$/m);
  });

  it("ends a spec that never ends, and one that crashes", async () => {
    write("cart-loop", 'while true do end\n');
    assert.match((await plugin("test", "cart-loop")).stdout, /plugins\/cart-loop: specs: it computes without end/);
    write("cart-crash", "local _ for _ in (nil):foo() do end\n");
    const crashed = await plugin("test", "cart-crash");
    assert.equal(crashed.code, 1);
    assert.match(crashed.stdout, /plugins\/cart-crash: specs: LuaJIT crashed on it/);
  });

  it("is not kept from it by another plugin that is broken", async () => {
    write("cart-good", 'local t = require "till.test"\nt.it("runs", function() end)\n');
    fs.writeFileSync(path.join(dir, "cart-bad/plugin.lua"), "return {");
    assert.equal((await plugin("test", "cart-good")).code, 0);
  });

  it("asks for a spec where there is none, and for a plugin that is there", async () => {
    write("cart-bare");
    assert.match((await plugin("test", "cart-bare")).stderr, /has no spec: write plugins\/cart-bare\/cart_bare_spec\.lua/);
    assert.match((await plugin("test", "cart-baree")).stderr, /there is no plugin cart-baree; was cart-bare meant\?/);
  });
});

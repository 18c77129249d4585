local t = require "till.test"
local live = require "tests.support.live"
local crypto = require "till.prim.crypto"


local function hash_of(word)
  return crypto.hex(crypto.sha256(word))
end


local function files_of(word)
  return { ["lua/till/main.lua"] = "return {}", ["plugins/x/plugin.lua"] = "-- " .. word,
    ["conf/plugins.json"] = "{}", ["rules/empty.lua"] = "" }
end


local function put(shop, word, age_s)
  local store = shop.require("till.store.generations")
  assert(store.put(files_of(word), hash_of(word), { program = "1", author = "spec" }))
  assert(shop.sql.exec("UPDATE generations SET created_at = TIMESTAMPADD(SECOND, ?, NOW(3))"
    .. " WHERE hash = ?", -age_s, store.param(hash_of(word))))
end


local function count(shop, tables)
  return assert(shop.sql.one("SELECT COUNT(*) AS n FROM " .. tables)).n
end


local function go_live(shop, word, expect)
  local changes = shop.require("till.store.generation_changes")
  local ulid = require "till.prim.ulid"
  local change = { id = ulid.text(ulid.new()), kind = "reload", to = hash_of(word), author = "spec",
    sequence = assert(changes.live()).sequence, machine = "m", took_ms = 1, expect = expect }
  return changes.move(change), change
end


t.describe("till.store.generations", function()
  t.it("keeps each text and each tree once", live.test(function(shop)
    local store = shop.require("till.store.generations")
    put(shop, "one", 20)
    local texts, paths = count(shop, "generation_files"), count(shop, "generation_trees")
    put(shop, "two", 10)
    t.equal(count(shop, "generation_files"), texts + 1)
    t.equal(count(shop, "generation_trees"), paths + 1)
    t.same(store.files(hash_of("two")), files_of("two"))
    t.same(store.files(hash_of("one")), files_of("one"))
  end))

  t.it("names what has changed", live.test(function(shop)
    local store = shop.require("till.store.generations")
    put(shop, "one", 20)
    put(shop, "two", 10)
    local paths = assert(store.paths(assert(store.get(hash_of("one"))),
      assert(store.get(hash_of("two")))))
    t.equal(#paths, 1)
    t.equal(paths[1].path, "plugins/x/plugin.lua")
  end))

  t.it("knows folders by library, plugins and configuration, whatever the rules", live.test(
    function(shop)
      local store = shop.require("till.store.generations")
      put(shop, "one", 0)
      local files = files_of("one")
      files["rules/other.lua"] = "return 1"
      t.equal(store.is_known(store.parts_of(files)), true)
      t.equal(store.is_known(store.parts_of(files_of("two"))), false)
    end))
end)


t.describe("till.store.generation_changes", function()
  t.it("moves the pointer once for one change, and only from where it stands", live.test(
    function(shop)
      local changes = shop.require("till.store.generation_changes")
      put(shop, "one", 20)
      put(shop, "two", 10)
      local first, change = go_live(shop, "one")
      t.equal(changes.move(change), first)
      t.equal(assert(changes.live()).sequence, first)
      change.id = require("till.prim.ulid").text(require("till.prim.ulid").new())
      local moved, now = changes.move(change)
      t.equal(moved, false)
      t.equal(now.hash, hash_of("one"))
      t.equal((go_live(shop, "two", hash_of("two"))), false)
      t.equal((go_live(shop, "two", hash_of("one"))), first + 1)
      t.equal(changes.previous(), hash_of("one"))
    end))

  t.it("tells who lost the answer that the change was made, whatever was made since", live.test(
    function(shop)
      local changes = shop.require("till.store.generation_changes")
      put(shop, "one", 20)
      put(shop, "two", 10)
      local first, change = go_live(shop, "one")
      t.equal((go_live(shop, "two")), first + 1)
      t.equal(changes.move(change), first)
      t.equal(assert(changes.live()).hash, hash_of("two"))
    end))

  t.it("makes nothing live that was purged meanwhile", live.test(function(shop)
    local changes = shop.require("till.store.generation_changes")
    local before = assert(changes.live())
    local moved, e = changes.move((select(2, go_live(shop, "never put"))))
    t.equal(moved, nil)
    t.equal(e.message:match("was purged meanwhile; try again$") ~= nil, true)
    t.same(assert(changes.live()), before)
  end))
end)


t.describe("till.store.generation_purge", function()
  t.it("keeps the newest, the live one, the one before and what orders name", live.test(
    function(shop)
      local purge = shop.require("till.store.generation_purge")
      local store = shop.require("till.store.generations")
      for i, word in ipairs { "ordered", "forgotten", "before", "live", "new", "newest" } do
        put(shop, word, 100 - i)
      end
      for _, word in ipairs { "ordered", "forgotten", "before", "live" } do
        assert(go_live(shop, word))
      end
      assert(shop.sql.exec("UPDATE generation_changes SET created_at = NOW(3)"))
      assert(shop.sql.exec("INSERT INTO orders (id, email, currency, subtotal, discount_total,"
        .. " shipping_total, tax_total, total, promotions, placed_at, generation) VALUES"
        .. " (?, 'a@example.com', 'GBP', 0, 0, 0, 0, 0, '[]', NOW(3), ?)",
        shop.sql.bytes(("o"):rep(16)), hash_of("ordered")))
      t.equal(purge.run(2), 1)
      t.equal(store.get(hash_of("forgotten")), false)
      for _, word in ipairs { "ordered", "before", "live", "new", "newest" } do
        t.same(store.files(hash_of(word)), files_of(word))
      end
      t.equal(purge.run(2), 0)
    end))
end)

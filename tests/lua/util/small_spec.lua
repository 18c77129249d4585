local t = require "till.test"
local clock = require "till.util.clock"
local fsm = require "till.util.fsm"
local id = require "till.util.id"
local iso = require "till.util.iso"
local lru = require "till.util.lru"
local text = require "till.util.text"
local url = require "till.util.url"


t.describe("ids", function()
  t.it("go to 16 bytes and back", function()
    local bin = id.bin("cart", "cart_01ARZ3NDEKTSV4RRFFQ69G5FAV")
    t.equal((bin:gsub(".", function(c) return ("%02x"):format(c:byte()) end)),
      "01563e3ab5d3d6764c61efb99302bd5b")
    t.equal(id.text("cart", bin), "cart_01ARZ3NDEKTSV4RRFFQ69G5FAV")
    local most = ("\255"):rep(16)
    t.equal(id.bin("ord", id.text("ord", most)), most)
  end)

  t.it("have one form alone", function()
    for _, bad in ipairs { "cart_01arz3ndektsv4rrffq69g5fav", "ord_01ARZ3NDEKTSV4RRFFQ69G5FAV",
      "cart_81ARZ3NDEKTSV4RRFFQ69G5FAV", "cart_01ARZ3NDEKTSV4RRFFQ69G5FA",
      "cart_01ARZ3NDEKTSV4RRFFQ69G5FAU", "cart_01ARZ3NDEKTSV4RRFFQ69G5FAV ", "" } do
      t.equal(id.bin("cart", bad), nil, bad)
      t.equal(id.valid("cart", bad), false, bad)
    end
    t.equal(id.valid("cart", "cart_01ARZ3NDEKTSV4RRFFQ69G5FAV"), true)
    t.equal(id.valid("cart", 7), false)
    t.equal(id.bin("cart", nil), nil)
    t.throws(function() id.bin("cert", "x") end, "no such id prefix")
  end)
end)


t.describe("URLs", function()
  t.it("are decoded strictly", function()
    t.equal(url.decode("a%20b%2Fc+"), "a b/c+")
    for _, bad in ipairs { "%", "%1", "%zz", "%00", "%ff", "%C0%80" } do
      t.equal(url.decode(bad), nil, bad)
    end
  end)

  t.it("have queries with repeated names and pluses", function()
    t.same(url.query("a=1&b=x+y&a=2&c&&d=%C3%A4"),
      { a = { "1", "2" }, b = { "x y" }, c = { "" }, d = { "ä" } })
    t.same(url.query(nil), {})
    t.equal(url.query("a=%ff"), nil)
    t.equal(url.query(("a&"):rep(101)), nil)
    t.same(url.segments("/a//b%2Fc/"), { "a", "", "b/c", "" })
    t.same(url.segments("/ä/b c"), { "ä", "b c" })
    t.same(url.segments("a"), {})
    for _, bad in ipairs { "/a\255/b", "/a/\0", "/a/%ff" } do t.equal(url.segments(bad), nil) end
    t.equal(url.build { b = "x y", a = 1 }, "a=1&b=x%20y")
  end)
end)


t.describe("state tables", function()
  local order = fsm.define("order", { initial = "placed", final = { "done" },
    { from = "placed", event = "pay", to = "paid",
      guard = function(due) return due == 0, "something is due" end },
    { from = "paid", event = "send", to = "done" } })

  t.it("go on only along their edges and past their guards", function()
    t.equal(order:next("placed", "pay", 0), "paid")
    local state, why = order:next("placed", "pay", 1)
    t.equal(state, nil)
    t.equal(why, "something is due")
    t.equal(order:can("placed", "send"), false)
    t.same(order:events("placed"), { "pay" })
  end)

  t.table({
    { why = "cannot be reached", message = "lost cannot be reached from a",
      spec = { { from = "a", event = "x", to = "b" }, { from = "lost", event = "x", to = "b" } } },
    { why = "leads nowhere", message = "c has no way out and is not final",
      spec = { { from = "a", event = "x", to = "b" }, { from = "a", event = "y", to = "c" } } },
    { why = "goes on after the end", message = "b is final and has a way out",
      spec = { { from = "a", event = "x", to = "b" }, { from = "b", event = "x", to = "a" } } },
    { why = "stands twice", message = "x on a is there twice",
      spec = { { from = "a", event = "x", to = "b" }, { from = "a", event = "x", to = "b" } } },
  }, function(case)
    case.spec.initial, case.spec.final = "a", { "b" }
    t.throws(function() fsm.define("f", case.spec) end, case.message)
  end)
end)


t.describe("times", function()
  t.it("are parsed and printed over the whole calendar", function()
    t.equal(clock.parse("1970-01-01T00:00:00Z"), 0)
    t.equal(clock.format(clock.parse("2024-02-29T23:59:59.999+05:30")),
      "2024-02-29T18:29:59.999Z")
    for ms = -1e12, 4e12, 86399999 * 997 do t.equal(clock.parse(clock.format(ms)), ms) end
    t.equal(clock.date("2100-02-29"), false)
  end)
end)


t.describe("the LRU", function()
  t.it("forgets what was used longest ago and what is too old", function()
    local m = lru.new(2)
    m:set("a", 1, 10)
    m:set("b", 2, 10)
    m:get("a", 0)
    m:set("c", 3, 5)
    t.equal(m:get("b", 0), nil)
    t.equal(m:get("a", 0), 1)
    t.equal(m:get("c", 5), nil)
    t.equal(m:get("c", 0), nil)
    m:set("c", 4, 9)
    t.equal(m:get("c", 8), 4)
    t.equal(m:count(), 2)
    m:drop("c")
    t.equal(m:count(), 1)
    m:clear()
    t.equal(m:get("a", 0), nil)
  end)

  t.it("keeps what is used while half as many others come", function()
    local m = lru.new(10)
    m:set("used", 1, 10)
    for n = 1, 1000 do
      m:set(n, n, 10)
      if n % 5 == 0 then t.equal(m:get("used", 0), 1, n) end
    end
    t.equal(m:count(), 10)
    for n = 1, 10 do m:set("after" .. n, n, 10) end
    t.equal(m:get("used", 0), nil)
  end)
end)


t.describe("texts and countries", function()
  t.it("find the word that was meant, if there is one", function()
    t.equal(text.nearest("emial", { "email", "name" }), "email")
    t.equal(text.nearest("zebra", { "email", "name" }), nil)
    for given, trimmed in pairs { [""] = "", ["  "] = "", ["a"] = "a", [" \t a b \t"] = "a b" } do
      t.equal(text.trim(given), trimmed)
    end
    t.equal(text.trim("; a ;", 2, 4), "a")
    for given, stripped in pairs { [""] = "", [" \n "] = "", a = "a", ["\t\n a\nb \r"] = "a\nb" } do
      t.equal(text.strip(given), stripped)
    end
    t.equal(text.nearest("quant", { "quantity", "sku" }), "quantity")
    t.equal(text.nearest("qu", { "quantity" }), nil)
    t.equal(text.nearest(("a"):rep(64), { "email" }), nil)
    t.equal(text.list({ "a", "b", "c" }), "a, b or c")
    t.equal(#iso.countries(), 249)
    t.equal(iso.country("UK"), false)
  end)
end)

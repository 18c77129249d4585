local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"

local GOODS = {
  { "AB10", "White Hanging Heart T-Light Holder", 255 },
  { "AB20", "White Metal Lantern", 339 },
  { "AB30", "Regency Cakestand 3 Tier", 1275 },
  { "AB44", "Set of Cake Cases, Heart Motif", 55 },
}


-- fn(find, shop): find(text, filter) -> titles best first, the whole answer
local function with_goods(fn)
  return live.test(function(raw)
    local shop = make_shop(raw)
    local search, titles = raw.require "till.flow.search", {}
    for _, goods in ipairs(GOODS) do
      local _, product = shop.product(goods[1], goods[3], 1, { title = goods[2] })
      titles[product.id] = goods[2]
    end
    assert(search.index_missing())
    fn(function(text, filter)
      local answer, failure = search.run(text, filter or {})
      if not answer then error(failure) end
      local out = {}
      for i, id in ipairs(answer.ids) do out[i] = titles[id] end
      return out, answer
    end, shop, search, titles)
  end)
end


t.describe("the search", function()
  local HEART, LANTERN, CAKE, CASES = GOODS[1][2], GOODS[2][2], GOODS[3][2], GOODS[4][2]

  t.it("wants all words, in any writing and order", with_goods(function(find)
    t.same(find "white LANTERN", { LANTERN })
    t.same(find "holder white", { HEART })
    t.same(find "lantern cakestand", {})
    t.equal(#find "white", 2)
  end))

  t.it("takes the beginning of a word, a letter off, and what sounds alike",
    with_goods(function(find)
      t.same(find "lant", { LANTERN })
      t.same(find "regency cakestnad", { CAKE })
      local found, answer = find "hangin hart"
      t.same(found, { HEART })
      t.equal(answer.corrections.hart, "heart")
    end))

  t.it("shows the word itself before what begins with it", with_goods(function(find)
    t.same(find "cake", { CASES, CAKE })
  end))

  t.it("leaves out a word that nobody has heard of, as long as another is left",
    with_goods(function(find)
      t.same(find "xylophonium lantern", { LANTERN })
      t.same(find "xylophonium", {})
    end))

  t.it("shows what people buy first, where nothing else decides", with_goods(function(find, shop)
    local function first_is(wanted, title, sku)
      shop.live.sql.exec("UPDATE search_documents SET popularity = 0")
      shop.live.sql.exec("UPDATE search_documents d JOIN variants v ON v.product_id ="
        .. " d.product_id SET d.popularity = 7 WHERE v.sku = ?", sku)
      shop.live.require("till.cache").clear() -- how often something is bought tells nobody
      t.equal(find(wanted)[1], title)
    end
    first_is("white", HEART, "AB10")
    first_is("white", LANTERN, "AB20")
    first_is("heart", CASES, "AB44")
  end))

  t.it("finds by SKU", with_goods(function(find)
    t.same(find "ab44", { CASES })
  end))

  t.it("takes nothing for an operator", with_goods(function(find)
    for _, text in ipairs { "+lantern", "lantern*", '"lantern', "(lantern", "lantern)", "-lantern",
      "~lantern", "@lantern", "lantern' OR 1=1 --", "<lantern>" } do
      t.equal(find(text)[1], LANTERN, text)
    end
    for _, text in ipairs { "", " ", "+", "'", "*", "\0", ("x"):rep(5000) } do
      t.same(find(text), {}, text)
    end
  end))

  t.it("keeps to a range of prices, and counts by band", with_goods(function(find)
    t.same(find("white", { currency = "GBP", price_min = 300 }), { LANTERN })
    t.same(find("white", { currency = "GBP", price_max = 255 }), { HEART })
    local _, answer = find "cake"
    local counts = 0
    for _, band in ipairs(answer.facets.prices) do counts = counts + band.count end
    t.equal(counts, 2)
  end))

  t.it("forgets what is sold no more, and knows a new name at once",
    with_goods(function(find, shop, search, titles)
      for id, title in pairs(titles) do
        if title == LANTERN then
          shop.live.sql.exec("UPDATE products SET status = 'archived' WHERE title = ?", LANTERN)
          t.ok(search.index { id })
        elseif title == HEART then
          shop.live.sql.exec("UPDATE products SET title = 'Zebra' WHERE title = ?", HEART)
          t.ok(search.index { id })
        end
      end
      t.same(find "lantern", {})
      t.same(find "zebra", { HEART })
      t.same(find "hanging", {})
    end))
end)

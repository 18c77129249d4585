local t = require "till.test"
local words = require "till.util.words"


t.describe("words", function()

  t.it("are split at everything but letters and digits", function()
    t.same(words.split("WHITE HANGING Heart T-Light, 85123A!"),
      { "white", "hanging", "heart", "t", "light", "85123a" })
    t.same(words.split("caf\195\169 cr\195\168me"), { "caf\195\169", "cr\195\168me" })
    t.same(words.split(" ?! "), {})
  end)

  t.it("sound alike where an ear would say so", function()
    for _, pair in ipairs({ { "light", "lite" }, { "heart", "hart" }, { "knight", "nite" },
      { "phone", "fone" }, { "wrap", "rap" }, { "photo", "foto" }, { "candle", "candel" } }) do
      t.equal(words.sound(pair[1]), words.sound(pair[2]), pair[1] .. " and " .. pair[2])
    end
    t.ok(words.sound("heart") ~= words.sound("light"), "different words differ")
    t.equal(words.sound("85123a"), "")
    t.equal(words.sound("t"), "")
  end)

  t.it("are near when one letter is off", function()
    for _, case in ipairs({ { "heart", "hart", true }, { "heart", "haert", true },
      { "heart", "heard", true }, { "heart", "hearts", true }, { "heart", "heart", true },
      { "heart", "hurt", false }, { "heart", "haetr", false }, { "bag", "baggy", false },
      { "", "a", true } }) do
      t.equal(words.is_near(case[1], case[2]), case[3], case[1] .. " and " .. case[2])
      t.equal(words.is_near(case[2], case[1]), case[3], case[2] .. " and " .. case[1])
    end
  end)

  t.it("one letter apart share a piece", function()
    local function share(a, b)
      local seen = {}
      for _, piece in ipairs(words.pieces(a)) do seen[piece] = true end
      for _, piece in ipairs(words.pieces(b)) do
        if seen[piece] then return true end
      end
      return false
    end
    for _, other in ipairs({ "hart", "heartt", "haert", "heard", "eart" }) do
      t.ok(share("heart", other), other)
    end
    t.ok(not share("heart", "light"), "others do not")
  end)

end)

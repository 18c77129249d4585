-- Where the box has functions of its own, they say what Lua's say: compared on what chance brings.
local t = require "till.test"
local box = require "till.prim.box"
local random = require "tests.support.random"

local BATCH, BATCHES = 60, 40

local PIECES = { "a", "b", "%a", "%d", "%s", "%w", ".", "[ab]", "[^b]", "[a-c]", "[%d_]", "[]]",
  "[^]a]", "%.",
  "(a)", "(.-)", "()", "%1", "%b()", "%f[%w]", "x", " ", "1", "[%a-]", "[a-]", "%(", "^", "$", "-" }
local OFTEN = { "", "", "", "*", "+", "-", "?" }
local LETTERS = { "a", "b", "c", "x", " ", "1", "(", ")", ".", "_", "]", "-", "A", "ab" }
local REPLACEMENTS = { "", "z", "%0", "<%1>", "%%", "%1%1" }
local FORMATS = { "%d", "%5d", "%-5d|", "%05d", "%+d", "%x", "%X", "%o", "%s", "%5s", "%.2s",
  "%5.1f", "%.0f",
  "%g", "%e", "%10.3g", "%i", "% d", "%#x", "%.14g", "%%" }
local NUMBERS = { 0, 1, -1, 7, 255, 1.5, -2.375, 1e15, 123456789, 0.1, 99.995, 2 ^ 40 }


local function build(dice, from, most)
  local out = {}
  for i = 1, dice.below(most + 1) do out[i] = dice.pick(from) end
  return table.concat(out)
end


-- Lua sees a %1 without its capture only when it comes to it, the box at once: there are none here.
local function pattern(dice)
  local out, has_capture = {}, false
  for i = 1, 1 + dice.below(5) do
    local piece = dice.pick(PIECES)
    if piece == "%1" and not has_capture then piece = "a" end
    has_capture = has_capture or piece:find("^%(") ~= nil
    out[i] = piece .. dice.pick(OFTEN)
  end
  return table.concat(out)
end


local function case(dice)
  return { text = build(dice, LETTERS, 12), pattern = pattern(dice), from = dice.below(14) - 5,
    replacement = dice.pick(REPLACEMENTS),
    format = dice.pick(FORMATS), number = dice.pick(NUMBERS) }
end


-- The same text is run here and in the box; what it throws is compared by its being thrown.
local WORK = [[
local function show(good, ...)
  if not good then return "throws" end
  local out = {}
  for i = 1, select("#", ...) do out[i] = tostring((select(i, ...))) end
  return table.concat(out, ";")
end
local function all(text, pattern)
  local out = {}
  for a, b in text:gmatch(pattern) do
    out[#out + 1] = tostring(a) .. "," .. tostring(b)
    if #out > 40 then break end
  end
  return table.concat(out, ";")
end
return function(_, cases)
  local out = {}
  for i, c in ipairs(cases) do
    out[i] = table.concat({
      show(pcall(string.find, c.text, c.pattern)),
      show(pcall(string.find, c.text, c.pattern, c.from)),
      show(pcall(string.find, c.text, c.pattern, c.from, true)),
      show(pcall(string.match, c.text, c.pattern, c.from)),
      show(pcall(string.gsub, c.text, c.pattern, c.replacement)),
      show(pcall(string.gsub, c.text, c.pattern, "_", 2)),
      show(pcall(string.gsub, c.text, c.pattern, function(x) return x and "[" .. x .. "]" end)),
      show(pcall(string.gsub, c.text, c.pattern, { a = "1", ab = "2" })),
      show(pcall(all, c.text, c.pattern)),
      show(pcall(string.format, c.format, c.number)), show(pcall(string.rep, c.text, c.from)),
      show(pcall(tonumber, c.text)), show(pcall(tostring, c.number)),
    }, "|")
  end
  return out
end]]


t.describe("patterns, formats and numbers in the box", function()
  t.it("are as Lua's", function()
    local here = require("till.prim.file").load(WORK, "work")()
    local dice = random.new(20251129)
    for _ = 1, BATCHES do
      local cases = {}
      for i = 1, BATCH do cases[i] = case(dice) end
      local expected = here(nil, cases)
      local answer = assert(box.evaluate { hook = "promo.evaluate",
        input = cases, budget = 1e8, rule_ms = 10000,
        deadline_ms = 30000, rules = { { name = "stock", text = WORK } } })[1]
      if answer.failure then t.fail(answer.failure.message) end
      for i, c in ipairs(cases) do
        t.equal(answer.value[i], expected[i], ("%q with %q from %d, %s of %s"):format(c.text,
          c.pattern, c.from,
          c.format, tostring(c.number)))
      end
    end
  end)
end)

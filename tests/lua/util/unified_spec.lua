local t = require "till.test"
local unified = require "till.util.unified"

local TEN = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"


-- What `patch` does with it: the old text, the difference, the new text.
local function patched(a, text)
  local old, out, at = {}, {}, 1
  for line in a:gmatch("([^\n]*\n?)") do
    if line ~= "" then old[#old + 1] = line end
  end
  for line in text:gsub("\n\\ No newline[^\n]*\n", "\0"):gmatch("([^\n%z]*[\n%z])") do
    local op, rest = line:sub(1, 1), line:sub(2):gsub("%z", "")
    local start, count = line:match("^@@ %-(%d+),?(%d*)")
    if start then
      local upto = count == "0" and tonumber(start) or tonumber(start) - 1
      while at <= upto do
        out[#out + 1] = old[at]
        at = at + 1
      end
    elseif op == " " or op == "-" and line:sub(1, 4) ~= "--- " then
      t.equal(old[at], rest)
      if op == " " then out[#out + 1] = rest end
      at = at + 1
    elseif op == "+" and line:sub(1, 4) ~= "+++ " then
      out[#out + 1] = rest
    end
  end
  for i = at, #old do out[#out + 1] = old[i] end
  return table.concat(out)
end


t.describe("a unified difference", function()
  t.it("shows what went, what came, and what stands around it", function()
    t.equal(unified.diff(TEN, (TEN:gsub("5\n", "five\n")), { from = "v1", to = "v2" }),
      "--- v1\n+++ v2\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n")
  end)

  t.it("is empty where nothing differs", function() t.equal(unified.diff(TEN, TEN), "") end)

  t.it("keeps what is far apart in parts of its own", function()
    local text = unified.diff(TEN, "0\n" .. TEN:gsub("10\n", "ten\n"), { context = 1 })
    t.equal(text, "--- a\n+++ b\n@@ -1 +1,2 @@\n+0\n 1\n@@ -9,2 +10,2 @@\n 9\n-10\n+ten\n")
  end)

  t.it("speaks of a line that does not end, and of nothing at all", function()
    t.equal(unified.diff("a", "a\n"),
      "--- a\n+++ b\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n")
    t.equal(unified.diff("", "a\n"), "--- a\n+++ b\n@@ -0,0 +1 @@\n+a\n")
    t.equal(unified.diff("a\n", ""), "--- a\n+++ b\n@@ -1 +0,0 @@\n-a\n")
  end)

  t.it("leads from any text to any other", function()
    local seed = 7
    local function random(n)
      seed = (seed * 16807) % 2147483647
      return seed % n
    end
    for _ = 1, 300 do
      local texts = {}
      for side = 1, 2 do
        local lines = {}
        for i = 1, random(12) do lines[i] = ("%d\n"):format(random(4)) end
        texts[side] = table.concat(lines) .. (random(3) == 0 and "end" or "")
      end
      local text = unified.diff(texts[1], texts[2])
      t.equal(patched(texts[1], text), texts[2], texts[1] .. "|" .. texts[2] .. "|" .. text)
    end
  end)

  t.it("of two long texts without a line in common costs little", function()
    local a, b = {}, {}
    for i = 1, 3000 do a[i], b[i] = ("a%d\n"):format(i), ("b%d\n"):format(i) end
    local text = unified.diff("x\n" .. table.concat(a), "x\n" .. table.concat(b))
    t.equal(patched("x\n" .. table.concat(a), text), "x\n" .. table.concat(b))
  end)
end)

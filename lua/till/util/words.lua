--- Words as a search sees them: split, compared by letters and by sound. Pure.
local words = {}


local MAX_LENGTH = 40 -- of a word, in bytes; longer ones are cut


--- The words of a text: lower case, letters and digits only, in order.
-- Bytes beyond ASCII count as letters, so that names in any script stay whole.
function words.split(text)
  local list = {}
  for word in text:lower():gmatch("[%w\128-\255]+") do
    list[#list + 1] = #word <= MAX_LENGTH and word or word:sub(1, MAX_LENGTH):match("^[%w]+")
  end
  return list
end


--- All spellings of an ASCII word that lack one letter, and the word itself; none below 3 letters.
function words.pieces(word)
  if #word < 3 or word:find("[^%w]") then
    return {}
  end
  local list, seen = { word }, { [word] = true }
  for i = 1, #word do
    local piece = word:sub(1, i - 1) .. word:sub(i + 1)
    if not seen[piece] then
      seen[piece] = true
      list[#list + 1] = piece
    end
  end
  return list
end


-- Length of the common start of two words.
local function common_start(a, b)
  local n = math.min(#a, #b)
  for i = 1, n do
    if a:byte(i) ~= b:byte(i) then
      return i - 1
    end
  end
  return n
end


--- Is one word the other with one letter more, less, changed, or two neighbours swapped?
function words.is_near(a, b)
  if #a > #b then
    a, b = b, a
  end
  local at = common_start(a, b)
  if #a == #b then
    return a:sub(at + 2) == b:sub(at + 2) or
      a:sub(at + 1, at + 1) == b:sub(at + 2, at + 2) and a:sub(at + 2, at + 2) == b:sub(at + 1,
        at + 1)
        and a:sub(at + 3) == b:sub(at + 3)
  end
  return #b == #a + 1 and a:sub(at + 1) == b:sub(at + 2)
end


-- In this order; each is a Lua pattern and what it sounds like. Capitals are
-- sounds that later rules leave alone: X = sh, T = th.
local SOUNDS = {
  { "^kn", "n" }, { "^gn", "n" }, { "^pn", "n" }, { "^wr", "r" }, { "^wh", "w" }, { "^x", "s" },
  { "ght", "t" }, { "gh", "" }, { "ph", "f" }, { "ck", "k" }, { "sch", "sk" },
  { "sh", "X" }, { "ch", "X" }, { "th", "T" }, { "dge", "j" },
  { "c([eiy])", "s%1" }, { "c", "k" }, { "q", "k" }, { "x", "ks" }, { "z", "s" },
  { "g([eiy])", "j%1" }, { "v", "f" }, { "mb$", "m" },
}


--- How an English word sounds, roughly: consonants only, alike ones under one letter.
-- "light" and "lite" are "lt", "heart" and "hart" are "hrt". Empty below two sounds.
function words.sound(word)
  if word:find("[^%a]") then
    return ""
  end
  local text = word
  for _, rule in ipairs(SOUNDS) do
    text = text:gsub(rule[1], rule[2])
  end
  local first = text:sub(1, 1):gsub("[aeiouy]", "a")
  local code = first .. text:sub(2):gsub("[aeiouyhw]", "")
  -- linear: what it took is not looked at again
  code = code:gsub("(.)%1+", "%1"):sub(1, 20)
  return #code >= 2 and code or ""
end


return words

-- till/util/text - what is allowed to be text, and small helpers for sentences.
--
--   valid(s)          strict UTF-8 (RFC 3629: shortest form, no surrogates, at most U+10FFFF)
--   clean(s)          valid and without NUL: what may reach the database
--   use(codec)        { valid(s), clean(s) } of the core do it from now on
--   length(s)         characters of valid UTF-8
--   trim(s [, from [, to]])  without blanks and tabs at both ends, in a time that its length bounds
--   strip(s)          without white space of any kind at both ends, likewise
--   nearest(word, list) -> the closest of the list if it is close enough to be a slip, or nil
--   list(words [, last]) -> "a, b or c"
local text = {}

local byte, find = string.byte, string.find
local abs, floor, min = math.abs, math.floor, math.min


local function continues(s, from, to)
  for i = from, to do
    local c = byte(s, i)
    if not c or c < 0x80 or c > 0xBF then return false end
  end
  return true
end


-- Length of the sequence that begins at `i`, nil when it is none.
local function sequence(s, i)
  local c, d = byte(s, i, i + 1)
  if c < 0x80 then return 1 end
  if c < 0xC2 or c > 0xF4 or not d then return nil end
  if c < 0xE0 then return continues(s, i + 1, i + 1) and 2 end
  if c < 0xF0 then
    if c == 0xE0 and d < 0xA0 or c == 0xED and d > 0x9F then return nil end
    return continues(s, i + 1, i + 2) and 3
  end
  if c == 0xF0 and d < 0x90 or c == 0xF4 and d > 0x8F then return nil end
  return continues(s, i + 1, i + 3) and 4
end


local function is_valid(s)
  local i = find(s, "[\128-\255]")
  if not i then return true end
  local len = #s
  while i <= len do
    local n = sequence(s, i)
    if not n then return false end
    i = i + n
  end
  return true
end


local function is_clean(s)
  return not find(s, "%z") and is_valid(s)
end


function text.valid(s)
  return is_valid(s)
end


function text.clean(s)
  return is_clean(s)
end


function text.use(codec)
  is_valid, is_clean = codec.valid, codec.clean
end


function text.length(s)
  local _, n = s:gsub("[^\128-\191]", "")
  return n
end


local function is_blank(c)
  return c == 32 or c == 9
end


function text.trim(s, from, to)
  from, to = from or 1, to or #s
  while from <= to and is_blank(byte(s, from)) do from = from + 1 end
  while to >= from and is_blank(byte(s, to)) do to = to - 1 end
  return s:sub(from, to)
end


function text.strip(s)
  local from = find(s, "%S")
  return from and s:match("^.*%S", from) or ""
end


-- Levenshtein's distance; words here are short.
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local before = row[0]
    row[0] = i
    for j = 1, #b do
      local cost = byte(a, i) == byte(b, j) and 0 or 1
      local value = min(row[j] + 1, row[j - 1] + 1, before + cost)
      before, row[j] = row[j], value
    end
  end
  return row[#b]
end


function text.nearest(word, list)
  local best, best_at
  if #word > 64 then return nil end
  for _, candidate in ipairs(list) do
    local off = abs(#word - #candidate) -- it is no less than that
    local d = off <= floor(#candidate / 3) + 1 and distance(word, candidate) or nil
    if d and (not best_at or d < best_at) then best, best_at = candidate, d end
  end
  if best and best_at <= floor(#best / 3) + 1 and best_at < #best then return best end
end


function text.list(words, last)
  local n = #words
  if n == 0 then return "nothing" end
  if n == 1 then return words[1] end
  return table.concat(words, ", ", 1, n - 1) .. " " .. (last or "or") .. " " .. words[n]
end


return text

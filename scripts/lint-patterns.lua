-- lint-patterns.lua - no pattern of lua/till and plugins takes a time that grows with the square of
-- what a client sends. `luajit scripts/lint-patterns.lua`, one violation a line.
--
-- Lua's patterns go back: two repetitions that can share a byte, with something behind them that
-- can fail, are tried in every division of it ("^%d+%.?%d*$" on digits and a letter); and a pattern
-- without ^ begins again at each byte, as if an any-byte repetition stood before it ("%s+$" on
-- blanks and a letter). A worker that is at one text for a second is ended, with all that it has in
-- flight. Where the text cannot be long, or always fits, a comment says so on the line or the one
-- above: "-- linear: why".
local ALL = {}
for c = 0, 255 do ALL[c] = true end


local function set_of(item)
  local out = {}
  for c = 0, 255 do out[c] = string.char(c):find("^" .. item .. "$") ~= nil or nil end
  return out
end


local function past_set(p, at)
  at = at + (p:sub(at + 1, at + 1) == "^" and 2 or 1)
  repeat
    local c = p:sub(at, at)
    if c == "" then error("a set without its end: " .. p) end
    at = at + (c == "%" and 2 or 1)
  until p:sub(at, at) == "]"
  return at
end


-- "^(a+)[bc]?$" -> { { set =, times = "" | "*" | "+" | "-" | "?" } }, is_anchored, is_ended
local function items_of(p)
  local out, at = {}, 1
  local is_anchored, is_ended = p:sub(1, 1) == "^", false
  if is_anchored then at = 2 end
  while at <= #p do
    local c, last = p:sub(at, at), at
    if c == "$" and at == #p then
      is_ended = true
      break
    elseif c == "(" or c == ")" then
      at = at + 1
    elseif p:find("^%%f", at) then
      at = past_set(p, at + 2) + 1
    else
      if c == "%" then last = at + 1 elseif c == "[" then last = past_set(p, at) end
      local times = p:match("^[*+?-]", last + 1) or ""
      out[#out + 1] = { set = set_of(p:sub(at, last)), times = times }
      at = last + 1 + #times
    end
  end
  return out, is_anchored, is_ended
end


local REPEATS = { ["*"] = true, ["+"] = true, ["-"] = true }


local function shares(a, b, c)
  for byte = 0, 255 do
    if a[byte] and b[byte] and (not c or c[byte]) then return true end
  end
  return false
end


-- Can what comes behind item i refuse what it was given? Not where it is the end, or where all
-- that is left is taken by an any-byte repetition.
local function can_fail(items, i, is_ended)
  local function takes_all(item) return item.times == "*" and not shares(item.none, ALL) end
  for j = i, #items do
    items[j].none = {}
    for byte = 0, 255 do items[j].none[byte] = not items[j].set[byte] or nil end
  end
  if is_ended and takes_all(items[i]) and i == #items then return false end
  for j = i + 1, #items do
    if takes_all(items[j]) then return false end
    if items[j].times == "" or items[j].times == "+" then return true end
  end
  return is_ended
end


-- Bytes that go to `first` as well as to `last`, and to all between them that must be there.
local function share(items, first, last)
  local a, b = first == 0 and ALL or items[first].set, items[last].set
  if not shares(a, b) then return false end
  for i = first + 1, last - 1 do
    local times = items[i].times
    if (times == "" or times == "+") and not shares(a, b, items[i].set) then return false end
  end
  return true
end


local function is_quadratic(pattern)
  local items, is_anchored, is_ended = items_of(pattern)
  for last = 1, #items do
    if REPEATS[items[last].times] and can_fail(items, last, is_ended) then
      for first = is_anchored and 1 or 0, last - 1 do
        local repeats = first == 0 or REPEATS[items[first].times]
        if repeats and share(items, first, last) then return true end
      end
    end
  end
  return false
end


local FORMS = { "[:.]match[%s(](.*)", "[:.]find[%s(](.*)", "[:.]gsub[%s(](.*)",
  "[:.]gmatch[%s(](.*)",
  "pattern = (.*)", "^local [%u_]+ = (.*)" }


local function unescaped(text)
  local made = loadstring("return " .. text)
  local good, value = pcall(made or error)
  return good and type(value) == "string" and value or nil
end


-- The first string of what follows a call; a text that is searched is hardly ever written out.
local function patterns_of(line)
  local out = {}
  for _, form in ipairs(FORMS) do
    local rest = line:match(form)
    while rest do
      local before, quote = rest:match("^([^\"']*)([\"'])")
      if not before then break end
      local text, i = quote, #before + 2
      while i <= #rest do
        local c = rest:sub(i, i)
        if c == "\\" then c = rest:sub(i, i + 1) end
        text, i = text .. c, i + #c
        if c == quote then break end
      end
      local is_plain = rest:find("^%s*,[^,]*,%s*true%)", i) ~= nil
      local value = unescaped(text) or ""
      local is_text = form:find("^%^local") and not value:find("[%%%[^]")
      if value ~= "" and not is_plain and not is_text then out[#out + 1] = value end
      rest = rest:match(form) or rest:sub(i):match("[:.]g?[sm][ua][bt][ch]*[%s(](.*)")
    end
  end
  return out
end


local bad = 0


local function check(path)
  local n, before = 0, ""
  for line in io.lines(path) do
    n = n + 1
    local is_told = line:find("-- linear:", 1, true) or before:find("^%s*%-%- linear:")
    local code = line:gsub("%s%-%- .*$", "")
    for _, pattern in ipairs(is_told and {} or patterns_of(code)) do
      local good, is_bad = pcall(is_quadratic, pattern)
      if not good or is_bad then
        bad = bad + 1
        print(("%s:%d: the pattern %q %s"):format(path, n, pattern, good
          and "takes the square of a length" or "cannot be judged: say `-- linear: why`"))
        break
      end
    end
    before = line
  end
end


local BAD = { "^%-?%d+%.?%d*$", "^[ \t]*([^=]-)=[ \t]*(.-)[ \t]*$", "(.-)%s*$", "%s+$", "%-+$",
  "^https?://[%w%.]+[^%s]*$", "^(.-): (.*)y" }
local GOOD = { "^%d+$", "^(%d+)(.*)$", "[^;]+", "^([^=]*)=?(.*)$", "charset%s*=%s*([%w-]+)", "",
  "^([%w_-]+)%.([%w_-]+)$", "%%%x?%X", "^[Bb]earer +(%S+)%s*$", "[^%w]+" }
for _, p in ipairs(BAD) do assert(is_quadratic(p), p) end
for _, p in ipairs(GOOD) do assert(not is_quadratic(p), p) end

local files = io.popen("git ls-files 'lua/till/*.lua' 'plugins/*.lua'")
for path in files:lines() do
  local is_ours = path:find("/cli/") or path:find("_spec%.lua$") or path:find("^plugins/[^/]+/spec")
  if not is_ours then check(path) end
end
files:close()
os.exit(bad == 0 and 0 or 1)

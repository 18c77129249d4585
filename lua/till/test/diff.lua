-- till/test/diff - says how two values differ, path by path.
--
--   describe(actual, expected) -> nil when equal, else text of at most MAX_LINES lines
--   show(value) -> short readable text
local diff = {}

local MAX_LINES = 20
local MAX_ITEMS = 12
local MAX_DEPTH = 4


local function rank(key)
  return type(key) == "number" and 1 or 2
end


local function before(a, b)
  local ra, rb = rank(a), rank(b)
  if ra ~= rb then return ra < rb end
  if ra == 1 then return a < b end
  return tostring(a) < tostring(b)
end


local function sorted_keys(...)
  local keys, seen = {}, {}
  for i = 1, select("#", ...) do
    for key in pairs((select(i, ...))) do
      if not seen[key] then
        seen[key] = true
        keys[#keys + 1] = key
      end
    end
  end
  table.sort(keys, before)
  return keys
end


local function is_name(key)
  return type(key) == "string" and key:find("^[%a_][%w_]*$") ~= nil
end


local function show(value, depth)
  if type(value) == "string" then return string.format("%q", value) end
  if type(value) == "number" and value % 1 == 0 and math.abs(value) < 2 ^ 53 then
    return string.format("%.0f", value)
  end
  if type(value) ~= "table" then return tostring(value) end
  if depth >= MAX_DEPTH then return "{...}" end
  local parts = {}
  for i, key in ipairs(sorted_keys(value)) do
    if i > MAX_ITEMS then
      parts[i] = "..."
      break
    end
    local text = show(value[key], depth + 1)
    if key == i then
      parts[i] = text
    else
      parts[i] = (is_name(key) and key or "[" .. show(key, depth + 1) .. "]") .. " = " .. text
    end
  end
  return #parts == 0 and "{}" or "{ " .. table.concat(parts, ", ") .. " }"
end


local function step(path, key)
  if is_name(key) then return path .. "." .. key end
  return path .. "[" .. show(key, 0) .. "]"
end


-- `open` holds the pairs being compared, so that a cycle on both sides ends.
local function walk(out, open, path, actual, expected)
  if rawequal(actual, expected) then return end
  if type(actual) ~= "table" or type(expected) ~= "table" then
    local both_nan = actual ~= actual and expected ~= expected
    if actual ~= expected and not both_nan then
      local at = path == "" and "" or "at " .. path .. ": "
      out[#out + 1] = at .. "got " .. show(actual, 0) .. ", expected " .. show(expected, 0)
    end
    return
  end
  if open[actual] == expected then return end
  open[actual] = expected
  for _, key in ipairs(sorted_keys(actual, expected)) do
    walk(out, open, step(path, key), actual[key], expected[key])
  end
  open[actual] = nil
end


function diff.describe(actual, expected)
  local out = {}
  walk(out, {}, "", actual, expected)
  if #out == 0 then return nil end
  if #out > MAX_LINES then
    local left = #out - MAX_LINES
    for i = #out, MAX_LINES + 1, -1 do out[i] = nil end
    out[MAX_LINES + 1] = "and " .. left .. " more differences"
  end
  return table.concat(out, "\n")
end


function diff.show(value)
  return show(value, 0)
end


return diff

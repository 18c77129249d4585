-- till/util/unified - what has changed between two texts, in the unified form that patch reads.
--
--   unified.diff(before, after, path) -> text; "" where they are the same
--
-- The shortest way from one list of lines to the other (Myers' greedy walk along diagonals), after
-- what both begin and end with was set aside. Texts that differ by more than MOST lines are shown
-- as one that went and one that came.
local unified = {}

local CONTEXT = 3
local MOST = 1000


local function lines_of(text)
  local out = {}
  for line in text:gmatch("([^\n]*)\n") do out[#out + 1] = line end
  local rest = text:match("([^\n]+)$")
  if rest then out[#out + 1] = rest .. "\n\\ No newline at end of file" end
  return out
end


local function step_of(v, k, d)
  if k == -d or k ~= d and v[k - 1] < v[k + 1] then return k + 1, v[k + 1] end
  return k - 1, v[k - 1] + 1
end


-- How far each diagonal got after each number of changes -> list of those, or nil: too many.
local function walk(a, b, n, m, skip)
  local v, trace = { [1] = 0 }, {}
  for d = 0, math.min(n + m, MOST) do
    local kept = {}
    for k = -d, d, 2 do
      local _, x = step_of(v, k, d)
      while x < n and x - k < m and a[skip + x + 1] == b[skip + x - k + 1] do x = x + 1 end
      v[k] = x
      kept[k] = x
      if x >= n and x - k >= m then
        trace[d] = kept
        return trace, d
      end
    end
    trace[d] = kept
  end
end


-- Back along the way: marks[i] of `a` that went, of `b` that came.
local function marks_of(trace, d, n, m, skip)
  local gone, come = {}, {}
  local x, y = n, m
  while d > 0 do
    local k = x - y
    local before = trace[d - 1]
    local from = step_of(before, k, d)
    local at = before[from]
    if from == k + 1 then come[skip + at - from + 1] = true else gone[skip + at + 1] = true end
    x, y, d = at, at - from, d - 1
  end
  return gone, come
end


local function all_marked(n, m, skip)
  local gone, come = {}, {}
  for i = 1, n do gone[skip + i] = true end
  for i = 1, m do come[skip + i] = true end
  return gone, come
end


local function compare(a, b)
  local skip, n, m = 0, #a, #b
  while skip < n and skip < m and a[skip + 1] == b[skip + 1] do skip = skip + 1 end
  while n > skip and m > skip and a[n] == b[m] do n, m = n - 1, m - 1 end
  local trace, d = walk(a, b, n - skip, m - skip, skip)
  if not trace then return all_marked(n - skip, m - skip, skip) end
  return marks_of(trace, d, n - skip, m - skip, skip)
end


-- One line of the answer after the other: { mark, text, number in a, number in b }
local function script_of(a, b, gone, come)
  local out, i, j = {}, 1, 1
  while i <= #a or j <= #b do
    if gone[i] then
      out[#out + 1] = { "-", a[i], i, j }
      i = i + 1
    elseif come[j] then
      out[#out + 1] = { "+", b[j], i, j }
      j = j + 1
    else
      out[#out + 1] = { " ", a[i], i, j }
      i, j = i + 1, j + 1
    end
  end
  return out
end


local function range(start, count)
  if count == 1 then return tostring(start) end
  return ("%d,%d"):format(count == 0 and start - 1 or start, count)
end


local function write_hunk(out, script, first, last)
  local old, new = 0, 0
  for i = first, last do
    if script[i][1] ~= "+" then old = old + 1 end
    if script[i][1] ~= "-" then new = new + 1 end
  end
  out[#out + 1] = ("@@ -%s +%s @@"):format(range(script[first][3], old),
    range(script[first][4], new))
  for i = first, last do out[#out + 1] = script[i][1] .. script[i][2] end
end


local function write_hunks(out, script)
  local first, last
  for i, line in ipairs(script) do
    if line[1] ~= " " then
      if last and i - CONTEXT > last + CONTEXT + 1 then
        write_hunk(out, script, first, math.min(last + CONTEXT, #script))
        first = nil
      end
      first, last = first or math.max(1, i - CONTEXT), i
    end
  end
  if first then write_hunk(out, script, first, math.min(last + CONTEXT, #script)) end
end


function unified.diff(before, after, path)
  if before == after then return "" end
  local a, b = lines_of(before), lines_of(after)
  local out = { "--- " .. (before == "" and "/dev/null" or "a/" .. path),
    "+++ " .. (after == "" and "/dev/null" or "b/" .. path) }
  write_hunks(out, script_of(a, b, compare(a, b)))
  return table.concat(out, "\n") .. "\n"
end


return unified

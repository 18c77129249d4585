-- till/util/unified - how two texts differ, line by line, as `diff -u` shows it.
--
--   unified.diff(a, b [, { from = "1", to = "2", context = 3 } or path]) -> text, "" where they are
--       equal; of a file by its path, as `patch -p1` takes it
--
-- The shortest way from a to b, found as Myers does it. Texts that differ in more than MAX_EDITS
-- lines are shown as replaced whole between what they have in common at both ends: the cost grows
-- with the square of the edits, and nobody reads such a difference.
local unified = {}

local MAX_EDITS = 400
local NO_NEWLINE = "\\ No newline at end of file"


local function lines_of(text)
  local out = {}
  for line in text:gmatch("([^\n]*\n?)") do
    if line ~= "" then out[#out + 1] = line end
  end
  return out
end


-- How many lines are the same at the beginning, and at the end of what is left.
local function common(a, b)
  local head, tail, n = 0, 0, math.min(#a, #b)
  while head < n and a[head + 1] == b[head + 1] do head = head + 1 end
  n = n - head
  while tail < n and a[#a - tail] == b[#b - tail] do tail = tail + 1 end
  return head, tail
end


-- Goes along the diagonals; trace[d] is how far each was reached with d - 1 edits.
local function search(a, b, first, n, m)
  local reached, trace = { [1] = 0 }, {}
  for d = 0, MAX_EDITS do
    local before = {}
    for k = -d - 1, d + 1 do before[k] = reached[k] end
    trace[d] = before
    for k = -d, d, 2 do
      local down = k == -d or k ~= d and reached[k - 1] < reached[k + 1]
      local x = down and reached[k + 1] or reached[k - 1] + 1
      while x < n and x - k < m and a[first + x + 1] == b[first + x - k + 1] do x = x + 1 end
      reached[k] = x
      if x >= n and x - k >= m then return trace, d end
    end
  end
end


-- Back from the end: steps in reverse, " " for a line of both, "-" of a, "+" of b.
local function walk(trace, d, n, m)
  local steps, x, y = {}, n, m
  for at = d, 0, -1 do
    local reached, k = trace[at], x - y
    local down = k == -at or k ~= at and reached[k - 1] < reached[k + 1]
    local from = down and k + 1 or k - 1
    local px = at == 0 and 0 or reached[from]
    local py = at == 0 and 0 or px - from
    while x > px and y > py do
      steps[#steps + 1] = " "
      x, y = x - 1, y - 1
    end
    if at > 0 then steps[#steps + 1] = down and "+" or "-" end
    x, y = px, py
  end
  return steps
end


local function replaced(n, m)
  local steps = {}
  for i = 1, m do steps[i] = "+" end
  for i = m + 1, m + n do steps[i] = "-" end
  return steps
end


-- -> list of { op, line of a, line of b }, in order
local function script(a, b)
  local head, tail = common(a, b)
  local n, m = #a - head - tail, #b - head - tail
  local trace, d = search(a, b, head, n, m)
  local steps = trace and walk(trace, d, n, m) or replaced(n, m)
  local out, i, j = {}, 0, 0
  local function add(op)
    if op ~= "+" then i = i + 1 end
    if op ~= "-" then j = j + 1 end
    out[#out + 1] = { op = op, i = i, j = j, text = op == "+" and b[j] or a[i] }
  end
  for _ = 1, head do add(" ") end
  for s = #steps, 1, -1 do add(steps[s]) end
  for _ = 1, tail do add(" ") end
  return out
end


-- First and last entry of each hunk.
local function hunks(entries, context)
  local out, last = {}, nil
  for at, entry in ipairs(entries) do
    if entry.op ~= " " then
      local from, to = math.max(1, at - context), math.min(#entries, at + context)
      if last and from <= last.to + 1 then
        last.to = to
      else
        last = { from = from, to = to }
        out[#out + 1] = last
      end
    end
  end
  return out
end


local function range(start, count)
  if count == 1 then return tostring(start) end
  return ("%d,%d"):format(count == 0 and start - 1 or start, count)
end


local function write(out, entries, hunk)
  local first, old, new = entries[hunk.from], 0, 0
  local at = #out + 1
  for e = hunk.from, hunk.to do
    local entry = entries[e]
    if entry.op ~= "+" then old = old + 1 end
    if entry.op ~= "-" then new = new + 1 end
    local whole = entry.text:sub(-1) == "\n"
    out[at + e - hunk.from + 1] = entry.op .. (whole and entry.text
      or entry.text .. "\n" .. NO_NEWLINE .. "\n")
  end
  out[at] = ("@@ -%s +%s @@\n"):format(range(first.i + (first.op == "+" and 1 or 0), old),
    range(first.j + (first.op == "-" and 1 or 0), new))
end


function unified.diff(a, b, opts)
  if a == b then return "" end
  if type(opts) == "string" then opts = { from = "a/" .. opts, to = "b/" .. opts } end
  opts = opts or {}
  local entries = script(lines_of(a), lines_of(b))
  local out = { ("--- %s\n+++ %s\n"):format(opts.from or "a", opts.to or "b") }
  for _, hunk in ipairs(hunks(entries, opts.context or 3)) do write(out, entries, hunk) end
  return table.concat(out)
end


return unified

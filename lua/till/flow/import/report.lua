--- What an import did, row by row where it did not do what the file says.
--
-- Two kinds of rows are told apart. A *bad* row cannot be read (a number that
-- is none, a field too many): under `reject-all` one of them stops everything
-- before anything is written. A *skipped* row can be read and is deliberately
-- left out (postage is no product); it never stops an import.
--
local report = {}
report.__index = report


local SHOWN_ROWS = 8


function report.new()
  return setmetatable({ reasons = {}, by_reason = {}, rows = 0, bad_rows = 0, counts = {} }, report)
end


local function entry_of(self, reason, bad)
  local entry = self.by_reason[reason]
  if not entry then
    entry = { reason = reason, bad = bad, rows = {}, detail = nil }
    self.by_reason[reason] = entry
    self.reasons[#self.reasons + 1] = entry
  end
  return entry
end


--- Row `line` of the file is left out, for `reason` (a few words).
function report:skip(reason, line)
  local rows = entry_of(self, reason, false).rows
  rows[#rows + 1] = line
end


--- Row `line` cannot be read; `detail` shows what stood there.
function report:bad(reason, line, detail)
  local entry = entry_of(self, reason, true)
  entry.rows[#entry.rows + 1] = line
  entry.detail = entry.detail or detail
  self.bad_rows = self.bad_rows + 1
end


--- Adds `n` to a count of what was done ("products", "already there").
function report:count(name, n)
  self.counts[name] = (self.counts[name] or 0) + n
end


local function by_weight(a, b)
  if #a.rows ~= #b.rows then
    return #a.rows > #b.rows
  end
  return a.reason < b.reason
end


local function shown(rows)
  local first = {}
  for i = 1, math.min(#rows, SHOWN_ROWS) do
    first[i] = tostring(rows[i])
  end
  local text = table.concat(first, ", ")
  return #rows > SHOWN_ROWS and text .. ", …" or text
end


--- Lines for people; `done` is the list of counts to name, in order.
function report:lines(done)
  local out = {}
  for _, name in ipairs(done) do
    out[#out + 1] = string.format("  %9d  %s", self.counts[name] or 0, name)
  end
  table.sort(self.reasons, by_weight)
  for _, entry in ipairs(self.reasons) do
    out[#out + 1] = string.format("  %9d  rows left out: %s%s (rows %s)", #entry.rows, entry.reason,
                                  entry.detail and ", e.g. " .. entry.detail or "",
                                  shown(entry.rows))
  end
  return out
end


--- Did anything come in?
function report:has_done()
  for name, n in pairs(self.counts) do
    if n > 0 and name:find " added$" then return true end
  end
  return false
end


--- The same for machines: every row number, not only the first ones.
function report:table()
  local left_out = {}
  table.sort(self.reasons, by_weight)
  for i, entry in ipairs(self.reasons) do
    left_out[i] = { reason = entry.reason, bad = entry.bad, count = #entry.rows, rows = entry.rows }
  end
  return { rows = self.rows, done = self.counts, left_out = left_out }
end


return report

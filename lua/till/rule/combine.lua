-- till/rule/combine - which promotions may stand together.
--
-- A conflict is an edge between two promotions; sets without an edge inside that nothing can be
-- added to are the maximal ones, and the shopper gets the best of them. Their number can grow
-- exponentially with promotions in conflict (never without: then there is exactly one), so the
-- search is bounded twice: LIMIT sets at most of one list, and WORK steps at most for one cart,
-- which everything that tries sets draws from (some 25 ms when used up). At a bound the search
-- keeps what it found in its fixed order, which begins with the promotions that come first by
-- (priority, id): the price is then still valid and the same on every run, only perhaps not the
-- lowest, and `work.limited` tells.
local combine = {}

combine.LIMIT = 256
combine.WORK = 300000


-- Steps are counted, not timed: the same cart stops at the same point on every machine.
function combine.new_work()
  return { left = combine.WORK, limited = false }
end


-- Takes `steps` off; false when there were none left, the result being limited from then on.
function combine.spend(work, steps)
  if work.left <= 0 then
    work.limited = true
    return false
  end
  work.left = work.left - steps
  return true
end


local function same_target(a, b)
  return a.exclusive or b.exclusive or a.group ~= nil and a.group == b.group
end


local function share_line(a, b)
  local on, other = a.touches or a.on, b.touches or b.on
  for i = 1, #on do
    if on[i] and other[i] then return true end
  end
  return false
end


-- Decided once for the whole order.
function combine.is_hard(a, b)
  if a.level ~= b.level then return not (a.combines[b.level] and b.combines[a.level]) end
  if not same_target(a, b) then return false end
  if a.level ~= "line" then return true end
  return (a.multibuy or b.multibuy) and share_line(a, b) or false
end


-- Decided line by line, between two simple promotions that are both on the line.
function combine.is_soft(a, b)
  return same_target(a, b)
end


-- -> rows of booleans, nil when nothing conflicts.
local function conflicts(list, is_conflict)
  local rows, any = {}, false
  for i = 1, #list do rows[i] = {} end
  for i = 1, #list do
    for j = i + 1, #list do
      if is_conflict(list[i], list[j]) then
        rows[i][j], rows[j][i], any = true, true, true
      end
    end
  end
  return any and rows or nil
end


-- Members of `set` that go together with `vertex`.
local function compatible(set, row, vertex)
  local out = {}
  for _, other in ipairs(set) do
    if other ~= vertex and not row[other] then out[#out + 1] = other end
  end
  return out
end


-- The vertex that leaves the fewest branches: only what conflicts with it has to be tried besides.
local function pick_pivot(open, closed, rows)
  local best, fewest = nil, math.huge
  for _, set in ipairs { open, closed } do
    for _, vertex in ipairs(set) do
      local count = 0
      for _, other in ipairs(open) do
        if other == vertex or rows[vertex][other] then count = count + 1 end
      end
      if count < fewest then best, fewest = vertex, count end
    end
  end
  return best
end


local function close(open, closed, vertex)
  for i = 1, #open do
    if open[i] == vertex then
      table.remove(open, i)
      break
    end
  end
  closed[#closed + 1] = vertex
end


local function may_go_on(found, work, steps)
  if #found == 0 then return true end
  if #found < combine.LIMIT then return combine.spend(work, steps) end
  work.limited = true
  return false
end


-- Bron and Kerbosch with a pivot: `chosen` grows, `open` may still be added, `closed` was done
-- before and would only give the same sets again. The first set is always reached: on the way to
-- it nothing is closed.
local function search(found, chosen, open, closed, rows, work)
  if #open == 0 and #closed == 0 then
    found[#found + 1] = chosen
    return
  end
  local pivot = pick_pivot(open, closed, rows)
  if not pivot then return end
  local branches = {}
  for _, vertex in ipairs(open) do
    if vertex == pivot or rows[pivot][vertex] then branches[#branches + 1] = vertex end
  end
  for _, vertex in ipairs(branches) do
    if not may_go_on(found, work, (#open + #closed) * #open + 1) then return end
    local bigger = { vertex }
    for i = 1, #chosen do bigger[i + 1] = chosen[i] end
    local row = rows[vertex]
    search(found, bigger, compatible(open, row, vertex), compatible(closed, row, vertex), rows,
      work)
    close(open, closed, vertex)
  end
end


local function promotions_of(list, indexes)
  table.sort(indexes)
  local out = {}
  for i, index in ipairs(indexes) do out[i] = list[index] end
  return { promotions = out, indexes = indexes }
end


-- -> sets { promotions = {...}, indexes = {...} } in list order; `work.limited` is set when some
-- were left out. `list` is in promotion order, so that indexes compare as (priority, id) does.
function combine.maximal_sets(list, is_conflict, work)
  local rows = conflicts(list, is_conflict)
  local all = {}
  for i = 1, #list do all[i] = i end
  if not rows then return { { promotions = list, indexes = all } } end
  local found = {}
  search(found, {}, all, {}, rows, work)
  local sets = {}
  for i, indexes in ipairs(found) do sets[i] = promotions_of(list, indexes) end
  return sets
end


function combine.is_smaller(a, b)
  for i = 1, math.min(#a, #b) do
    if a[i] ~= b[i] then return a[i] < b[i] end
  end
  return #a < #b
end


return combine

-- till/flow/generation_views - generations as people are shown them.
--
--   list(opts [, server]) -> rows with `state` and `changed`    one(hash) -> such a row | nil, err
--       server: what `generations` of the control socket says, where it was asked already
--
-- state: live; loading and cooling as this server has them just now; refused; closed (was live);
-- kept (never was). changed: "rules: +2 -1 ~3, plugins: ~1" against the parent.
local changes = require "till.store.generation_changes"
local err = require "till.util.err"
local generation = require "till.prim.generation"
local store = require "till.store.generations"

local views = {}


local function count_of(before, after)
  local differences, e = store.paths(before, after)
  if not differences then return nil, e end
  local counts = {}
  for _, difference in ipairs(differences) do
    local part = store.part_of(difference.path)
    local c = counts[part] or { ["+"] = 0, ["-"] = 0, ["~"] = 0 }
    counts[part] = c
    local kind = not difference.before and "+" or not difference.after and "-" or "~"
    c[kind] = c[kind] + 1
  end
  return counts
end


local function summary(counts)
  local out = {}
  for _, part in ipairs(store.PARTS) do
    local words = { part .. ":" }
    for _, kind in ipairs { "+", "-", "~" } do
      local n = counts[part] and counts[part][kind] or 0
      if n > 0 then words[#words + 1] = kind .. n end
    end
    if #words > 1 then out[#out + 1] = table.concat(words, " ") end
  end
  return #out > 0 and table.concat(out, ", ") or "nothing"
end


local function changed(row)
  if not row.parent then return "the first" end
  local parent, e = store.get(row.parent)
  if parent == nil then return nil, e end
  if not parent then return "its parent is gone" end
  local counts, e2 = count_of(parent, row)
  if not counts then return nil, e2 end
  return summary(counts)
end


-- What this server is at; nothing where it cannot be asked.
local function here(answer)
  answer = answer or generation.ask({ command = "generations" }, 2000)
  local out = { cooling = {}, loading = answer and answer.loading }
  for _, name in ipairs(answer and answer.cooling or {}) do out.cooling[name] = true end
  return out
end


local function state_of(row, live, server)
  if row.hash == live.hash then return "live" end
  if row.hash == server.loading then return "loading" end
  if server.cooling[row.hash] then return "cooling" end
  local was_refused = row.refused_at and (not row.live_at or row.refused_at > row.live_at)
  if was_refused then return "refused" end
  return row.live_at and "closed" or "kept"
end


local function complete(rows, answer)
  local live, e = changes.live()
  if not live then return nil, e end
  local server = here(answer)
  for _, row in ipairs(rows) do
    local text, e2 = changed(row)
    if not text then return nil, e2 end
    row.changed, row.state = text, state_of(row, live, server)
  end
  return rows
end


function views.list(opts, server)
  local rows, e = store.list(opts)
  if not rows then return nil, e end
  return complete(rows, server)
end


function views.one(hash)
  local row, e = store.get(hash)
  if row == nil then return nil, e end
  if not row then return nil, err.new("not_found", "there is no generation " .. hash) end
  local rows, e2 = complete { row }
  return rows and row, e2
end


return views

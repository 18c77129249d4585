-- till/store/page - one page of a list, by the key of its last row; never by offset.
--
--   rows{ select=, from=, where={…}, args={…}, key=, id=, prefix=, opts=, newest_first= }
--     -> up to limit + 1 rows | nil, err
--
-- `key` is the column that is sorted by (nil: by id alone), `id` breaks ties; key_param and
-- id_param turn what a cursor holds of them into parameters. opts: limit, and after or before = the
-- keys of the row that the cursor names, the id last. With `before` the rows come nearest first, as
-- they are read; ctx:list turns them. One row more than asked for is read: that is how it is known
-- whether there are more.
local db = require "till.store.db"

local page = {}


-- Rows beyond the cursor, in the direction that is read.
local function beyond(spec, cursor, descending, where, args)
  local op = descending and "<" or ">"
  if spec.key then
    where[#where + 1] = ("(%s %s ? OR (%s = ? AND %s %s ?))")
      :format(spec.key, op, spec.key, spec.id, op)
    local value = spec.key_param and spec.key_param(cursor[1]) or cursor[1]
    args[#args + 1] = value
    args[#args + 1] = value
  else
    where[#where + 1] = ("%s %s ?"):format(spec.id, op)
  end
  local last = cursor[#cursor]
  if spec.id_param then last = spec.id_param(last) end
  args[#args + 1] = spec.prefix and db.bin(spec.prefix, last) or last
end


function page.rows(spec, tx)
  local opts = spec.opts
  local descending = (spec.newest_first or false) ~= (opts.before ~= nil)
  local where, args = {}, {}
  for i, text in ipairs(spec.where or {}) do where[i] = text end
  for i, value in ipairs(spec.args or {}) do args[i] = value end
  local cursor = opts.after or opts.before
  if cursor then beyond(spec, cursor, descending, where, args) end
  local order = descending and " DESC" or ""
  args[#args + 1] = (opts.limit or 20) + 1
  return db.on(tx):query("SELECT " .. spec.select .. " FROM " .. spec.from
    .. (#where > 0 and " WHERE " .. table.concat(where, " AND ") or "") .. " ORDER BY "
    .. (spec.key and spec.key .. order .. ", " or "") .. spec.id .. order .. " LIMIT ?",
    unpack(args))
end


return page

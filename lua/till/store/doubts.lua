-- till/store/doubts - payments that were given up, and may have been on their way still: each is
-- looked up three times more, after payments.sweep_after_ms, an hour and a day.
--
--   add(tx, id [, is_known])   it was given up so; known: by staff, who need not be told of it
--   due(providers, limit)  -> payments whose time has come, the longest ago first, with `looks`,
--                          `silent_since` and `told`: of those providers
--   alone(providers, limit)   the same of all others, as far as staff were not told of them
--   touch(id)              it is being looked at: it comes again after payments.sweep_after_ms, and
--                          is silent until somebody has spoken
--   looked(id)             the provider has said that nothing is held of it
--   drop(id)               it is looked for no more      told(tx, id)    staff have an alert of it
--   answered(ids) -> { id = true } of those that staff need not care for any more
--   take_over(from_ms, to_ms) -> true | nil, err    what servers of before have marked in the data
--                          of payments that were touched last within that time
local conf = require "till.prim.conf"
local db = require "till.store.db"
local payments = require "till.store.payments"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local doubts = {}

local HOUR_MS = 3600000
local WAIT_MS = { [0] = 0, HOUR_MS, 24 * HOUR_MS } -- by how often it was looked at, besides
local DUE = "SELECT looks, silent_since, told, " .. payments.COLUMNS
  .. " FROM payment_doubts JOIN payments ON payments.id = payment_id WHERE look_at < ? AND %s"
  .. " ORDER BY look_at LIMIT ?"


local function wait_ms(looks)
  return conf.get("payments.sweep_after_ms") + WAIT_MS[looks]
end


function doubts.add(tx, payment_id, is_known)
  return tx:exec("INSERT INTO payment_doubts (payment_id, look_at, told) VALUES (?, ?, ?)"
    .. " ON DUPLICATE KEY UPDATE looks = 0, look_at = VALUES(look_at), silent_since = NULL,"
    .. " told = VALUES(told)", db.bin("pay", payment_id), db.now(wait_ms(0)), is_known and 1 or 0)
end


local function read(where, providers, limit)
  local args = { db.now(), unpack(providers) }
  args[#args + 1] = limit
  local rows, e = sql.query(DUE:format(where:format(sql.marks(#providers))), unpack(args))
  if not rows then return nil, e end
  for i, row in ipairs(rows) do
    rows[i] = payments.of_row(row)
    rows[i].looks, rows[i].silent_since, rows[i].told = row.looks, row.silent_since, row.told == 1
  end
  return rows
end


function doubts.due(providers, limit)
  if #providers == 0 then return {} end
  return read("provider IN (%s)", providers, limit)
end


function doubts.alone(providers, limit)
  if #providers == 0 then return read("told = FALSE", {}, limit) end
  return read("told = FALSE AND provider NOT IN (%s)", providers, limit)
end


function doubts.touch(payment_id)
  return sql.exec("UPDATE payment_doubts SET look_at = ?, silent_since = COALESCE(silent_since, ?)"
    .. " WHERE payment_id = ?", db.now(wait_ms(0)), db.now(), db.bin("pay", payment_id))
end


function doubts.drop(payment_id)
  return sql.exec("DELETE FROM payment_doubts WHERE payment_id = ?", db.bin("pay", payment_id))
end


function doubts.looked(p)
  local looks = p.looks + 1
  if not WAIT_MS[looks] then return doubts.drop(p.id) end
  return sql.exec("UPDATE payment_doubts SET looks = ?, look_at = ?, silent_since = NULL,"
    .. " told = FALSE WHERE payment_id = ?", looks, db.now(wait_ms(looks)), db.bin("pay", p.id))
end


function doubts.told(tx, payment_id)
  return tx:exec("UPDATE payment_doubts SET told = TRUE, silent_since = COALESCE(silent_since, ?)"
    .. " WHERE payment_id = ?", db.now(), db.bin("pay", payment_id))
end


function doubts.answered(ids)
  local open, e = db.ids_of("pay", "SELECT payment_id AS id FROM payment_doubts"
    .. " WHERE payment_id IN (%s) AND told", ids)
  if not open then return nil, e end
  local out = {}
  for _, payment_id in ipairs(ids) do out[payment_id] = not open[payment_id] or nil end
  return out
end


-- ---- marks of before -------------------------------------------------------------------------

local MARK = "JSON_VALUE(data, '$.till.doubted')"
local MARKED = "SELECT id, CAST(" .. MARK .. " AS SIGNED) AS looks, updated_at FROM payments"
  .. " FORCE INDEX (payments_open) WHERE state IN ('failed', 'declined') AND updated_at >= ?"
  .. " AND updated_at < ? AND order_id IS NULL AND " .. MARK .. " IS NOT NULL"


local function move(row)
  local looks = math.max(0, math.min(row.looks, #WAIT_MS))
  local at_ms = time.parse(row.updated_at) + wait_ms(looks)
  return sql.transaction(function(tx)
    local ok, e = tx:exec("INSERT IGNORE INTO payment_doubts (payment_id, looks, look_at)"
      .. " VALUES (?, ?, ?)", sql.bytes(row.id), looks, db.at_ms(at_ms))
    if not ok then return nil, e end
    return tx:exec("UPDATE payments SET data = JSON_REMOVE(data, '$.till.doubted'),"
      .. " updated_at = updated_at WHERE id = ?", sql.bytes(row.id))
  end)
end


function doubts.take_over(from_ms, to_ms)
  local rows, e = sql.query(MARKED, db.at_ms(from_ms), db.at_ms(to_ms))
  if not rows then return nil, e end
  for _, row in ipairs(rows) do
    local moved, e2 = move(row)
    if not moved then return nil, e2 end
  end
  return true
end


return doubts

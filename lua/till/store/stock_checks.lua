-- till/store/stock_checks - passes over all stock, and what they found (till.store.stock_compare
-- looks and puts right).
--
--   begin(repairs, actor [, tx]) -> id          a pass; it waits for somebody to claim it
--   claim(lease_ms) -> pass | false | nil, err  the oldest that is not done and nobody is at. A
--                                               claim, or the begin of a pass, from far ahead is of
--                                               a clock that was wrong: it keeps nobody waiting
--   advance(pass, { variant_id, location_id }, n)   it has come so far and lets go of the claim;
--                                               false where that was lost
--   finish(pass)                                likewise
--   get(id), last(), last_done() -> a pass | false     list(opts), findings(opts) newest first
--   began(pass), since(pass)                    in ms: when it began, and the one before it
--   is_over(pass, interval_ms)                  it began so long ago, or is from far ahead
--   note(tx, finding) -> is it new in this pass?    { check_id, kind, subject, location_id, detail,
--                                               repaired }
local db = require "till.store.db"
local page = require "till.store.page"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local checks = {}

local DAY_MS, HOUR_MS = 86400000, 3600000
local NOWHERE = ("\0"):rep(16)


-- ---- passes --------------------------------------------------------------------------------

--- In milliseconds.
function checks.began(pass)
  return (time.parse(pass.started_at))
end


local PASS = "id, state, repairs, variant_id, location_id, claim, checked, differences, repaired,"
  .. " actor, started_at, finished_at"


function checks.begin(repairs, actor, tx)
  local made, e = db.on(tx):exec("INSERT INTO stock_checks (repairs, actor, started_at)"
    .. " VALUES (?, ?, ?)", repairs, actor, db.now())
  if not made then return nil, e end
  return made.insert_id
end


function checks.claim(lease_ms)
  local row, e = sql.one("SELECT " .. PASS .. " FROM stock_checks WHERE state = 'running' AND"
    .. " (claimed_until IS NULL OR claimed_until < ? OR claimed_until > ?) ORDER BY id LIMIT 1",
    db.now(), db.now(lease_ms + HOUR_MS))
  if not row then return row, e end
  local done, e2 = sql.exec("UPDATE stock_checks SET claim = claim + 1, claimed_until = ?"
    .. " WHERE id = ? AND claim = ? AND state = 'running'", db.now(lease_ms), row.id, row.claim)
  if not done then return nil, e2 end
  if done.affected == 0 then return false end
  row.claim = row.claim + 1
  return row
end


--- The claim is let go of: whoever comes next goes on.
function checks.advance(pass, key, n)
  local done, e = sql.exec("UPDATE stock_checks SET variant_id = ?, location_id = ?,"
    .. " checked = checked + ?, claimed_until = NULL WHERE id = ? AND claim = ?",
    sql.bytes(key.variant_id), sql.bytes(key.location_id), n, pass.id, pass.claim)
  if not done then return nil, e end
  return done.affected == 1
end


function checks.finish(pass)
  local done, e = sql.exec("UPDATE stock_checks SET state = 'done', finished_at = ?,"
    .. " claimed_until = NULL WHERE id = ? AND claim = ?", db.now(), pass.id, pass.claim)
  if not done then return nil, e end
  return done.affected == 1
end


function checks.get(check_id, tx)
  return db.on(tx):one("SELECT " .. PASS .. " FROM stock_checks WHERE id = ?", check_id)
end


--- When the pass before this one began: what is looked at by time is looked at from there on.
function checks.since(pass)
  local row, e = sql.one("SELECT started_at FROM stock_checks WHERE id < ? ORDER BY id DESC"
    .. " LIMIT 1", pass.id)
  if row == nil then return nil, e end
  local began = checks.began(pass)
  local before = row and time.parse(row.started_at)
  return before and before <= began and before or began - DAY_MS
end


function checks.is_over(pass, interval_ms)
  local age = time.now_ms() - checks.began(pass)
  return age >= interval_ms or age < -HOUR_MS
end


function checks.last_done()
  return sql.one("SELECT " .. PASS .. " FROM stock_checks WHERE state = 'done' ORDER BY id DESC"
    .. " LIMIT 1")
end


function checks.last()
  return sql.one("SELECT " .. PASS .. " FROM stock_checks ORDER BY id DESC LIMIT 1")
end


function checks.list(opts)
  return page.rows { select = PASS, from = "stock_checks", id = "id", opts = opts,
    newest_first = true }
end


-- ---- what was found ------------------------------------------------------------------------

--- @return is it new in this pass? | nil, err
function checks.note(tx, f)
  local made, e = tx:exec("INSERT IGNORE INTO stock_findings (check_id, kind, subject, location_id,"
    .. " detail, repaired, at) VALUES (?, ?, ?, ?, ?, ?, ?)", f.check_id, f.kind, f.subject,
    sql.bytes(f.location_id or NOWHERE), db.to_json(f.detail),
    f.repaired or false, db.now())
  if not made then return nil, e end
  if made.affected == 0 then return false end
  local ok, e2 = tx:exec("UPDATE stock_checks SET differences = differences + 1,"
    .. " repaired = repaired + ? WHERE id = ?", f.repaired and 1 or 0, f.check_id)
  if not ok then return nil, e2 end
  return true
end


function checks.findings(opts)
  local where, args = {}, {}
  if opts.check_id then where, args = { "f.check_id = ?" }, { opts.check_id } end
  local rows, e = page.rows { select = "f.id, f.check_id, f.kind, f.subject, l.code AS location,"
    .. " f.detail, f.repaired, f.at", from = "stock_findings f LEFT JOIN locations l"
    .. " ON l.id = f.location_id", where = where, args = args, id = "f.id", opts = opts,
    newest_first = true }
  if not rows then return nil, e end
  for _, row in ipairs(rows) do
    row.detail, row.repaired = db.json(row.detail), row.repaired == 1
  end
  return rows
end


return checks

-- till/store/generation_changes - which generation is live, and how it came to be.
--
--   live() -> { hash, sequence, change, since } | nil, err      hash nil: nothing has been live yet
--   move(change) -> sequence | false, { hash, sequence, … } (another one was quicker) | nil, err
--   note(change) -> true | nil, err     it was refused
--   previous() -> hash | false          what was live before what is live
--   list(opts) -> rows, newest first
--
-- change: { id (a ULID as text), kind, from, to, sequence (the last that the mover knows of),
--           expect (nil, or what must be live), author, reason, refusal, machine, took_ms }
--
-- move is safe to repeat: a change that was made already answers with the number that it got then.
local db = require "till.store.db"
local err = require "till.util.err"
local generations = require "till.store.generations"
local page = require "till.store.page"
local sql = require "till.prim.sql"
local ulid = require "till.prim.ulid"

local changes = {}

local hex, param = generations.hex, generations.param
local NONE = ("0"):rep(64)


local function to_live(row)
  local hash = hex(row.generation)
  return { hash = hash ~= NONE and hash or nil, sequence = row.sequence, since = row.since,
    change = ulid.text(row.change_id) }
end


local function read(tx, lock)
  local row, e = db.on(tx):one("SELECT generation, sequence, change_id, since FROM generation_live"
    .. " WHERE id = 1" .. lock)
  if row == nil then return nil, e end
  if not row then error("generation_live has lost its row") end
  return to_live(row)
end


function changes.live()
  return read(nil, "")
end


local function insert(tx, change, outcome, sequence)
  return db.on(tx):exec("INSERT IGNORE INTO generation_changes (id, sequence, kind,"
    .. " from_generation, to_generation, author, reason, outcome, refusal, machine, took_ms) VALUES"
    .. " (" .. sql.marks(11) .. ")", sql.bytes(ulid.bin(change.id)), sequence or sql.null,
    change.kind, param(change.from), param(change.to), change.author, change.reason or "", outcome,
    change.refusal and change.refusal:sub(1, 2000) or sql.null, change.machine, change.took_ms)
end


-- It was made, and another one since: who lost the answer is not to be told that it was refused.
local function made(tx, change, live)
  local row, e = tx:one("SELECT sequence FROM generation_changes WHERE id = ? AND outcome = 'live'",
    sql.bytes(ulid.bin(change.id)))
  if row == nil then return nil, e end
  if row then return row.sequence end
  return false, live
end


-- The purge holds the row of what is live meanwhile, as we do: so it has not been here, or is done.
local function is_there(tx, hash)
  local row, e = tx:one("SELECT hash FROM generations WHERE hash = ? FOR UPDATE", param(hash))
  if row == nil then return nil, e end
  if row then return true end
  return nil, err.new("not_found", "generation " .. hash:sub(1, 12)
    .. " was purged meanwhile; try again")
end


local function apply(tx, change)
  local live, e = read(tx, " FOR UPDATE")
  if not live then return nil, e end
  if live.change == change.id then return live.sequence end
  if live.sequence ~= change.sequence then return made(tx, change, live) end
  if change.expect and live.hash ~= change.expect then return false, live end
  local there, e1 = is_there(tx, change.to)
  if not there then return nil, e1 end
  local sequence, now = live.sequence + 1, db.now()
  change.from = live.hash
  local ok, e2 = tx:exec("UPDATE generation_live SET generation = ?, sequence = ?, change_id = ?,"
    .. " since = ? WHERE id = 1", param(change.to), sequence, sql.bytes(ulid.bin(change.id)), now)
  if ok then
    ok, e2 = tx:exec("UPDATE generations SET live_at = ? WHERE hash = ?", now, param(change.to))
  end
  if ok then ok, e2 = insert(tx, change, "live", sequence) end
  if not ok then return nil, e2 end
  return sequence
end


function changes.move(change)
  return sql.transaction(function(tx) return apply(tx, change) end)
end


function changes.note(change)
  return sql.transaction(function(tx)
    local ok, e = insert(tx, change, "refused")
    if not ok or not change.to then return ok, e end
    return tx:exec("UPDATE generations SET refused_at = ? WHERE hash = ?", db.now(),
      param(change.to))
  end)
end


function changes.previous()
  local row, e = sql.one("SELECT c.from_generation AS hash FROM generation_changes c"
    .. " JOIN generation_live l ON l.id = 1 WHERE c.sequence <= l.sequence"
    .. " AND c.from_generation <> l.generation ORDER BY c.sequence DESC LIMIT 1")
  if not row then return row, e end
  return hex(row.hash)
end


function changes.list(opts)
  local rows, e = page.rows { select = "id, sequence, kind, from_generation, to_generation,"
    .. " author, reason, outcome, refusal, machine, took_ms, created_at",
    from = "generation_changes", key = "created_at", key_param = db.at, id = "id",
    id_param = function(text) return sql.bytes(ulid.bin(text)) end, opts = opts,
    newest_first = true }
  if not rows then return nil, e end
  for _, row in ipairs(rows) do
    row.id = ulid.text(row.id)
    row.from, row.to = hex(row.from_generation), hex(row.to_generation)
    row.from_generation, row.to_generation = nil, nil
  end
  return rows
end


return changes

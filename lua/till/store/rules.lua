-- till/store/rules - merchants' rules, their versions and what became of them.
--
--   create(tx, rule, version) -> id       rule { name, hook }; version: manifest, text, hash,
--                                         author, reason
--   get(id [, tx]), lock(tx, id), list(opts)
--   add_version(tx, rule, version)        the next one; the revision grows
--   set(tx, id, { state =, published = (number or false) })     the revision grows
--   version(id, number), versions(id, opts), by_hash(hash)
--   begin(id, event) -> event id;  finish(tx, event_id, outcome, { generation =, detail = })
--   events(id, opts);  begun(id) -> those whose end nobody wrote down
--
-- A rule: id, name, hook, title, state, version, published, revision, created_at, updated_at.
-- A version: number, hash, manifest, text, author, reason, created_at; the manifest as till.plugin
-- .rules reads it.
local crypto = require "till.prim.crypto"
local db = require "till.store.db"
local err = require "till.util.err"
local id = require "till.util.id"
local json = require "till.prim.json"
local page = require "till.store.page"
local sql = require "till.prim.sql"

local rules = {}

local COLUMNS = "id, name, hook, title, state, version, published, revision, created_at, updated_at"
local VERSION = "rule_id, number, hash, manifest, text, author, reason, created_at"
local EVENT = "id, type, outcome, version, generation, author, reason, detail, created_at"


local function to_rule(row)
  row.id = id.text("rule", row.id)
  return row
end


local function to_bin(hex)
  return sql.bytes(crypto.hex_decode(hex) or "")
end


local function to_hex(bin)
  return (bin:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end


-- No more bytes than that, and no half character at the end.
local function clipped(text, max)
  if text == nil then return sql.null end
  if #text <= max then return text end
  while max > 0 and text:find("^[\128-\191]", max + 1) do max = max - 1 end
  return text:sub(1, max)
end


local function to_version(row)
  return { rule_id = id.text("rule", row.rule_id), number = row.number, hash = to_hex(row.hash),
    manifest = db.json(row.manifest), text = row.text, author = row.author, reason = row.reason,
    created_at = row.created_at }
end


local function insert_version(tx, rule_id, number, v)
  return tx:exec("INSERT INTO rule_versions (rule_id, number, hash, manifest, text, author, reason)"
    .. " VALUES (?, ?, ?, ?, ?, ?, ?)", db.bin("rule", rule_id), number, to_bin(v.hash),
    json.encode(v.manifest), v.text, v.author, v.reason)
end


function rules.create(tx, rule, version)
  local rule_id = id.new("rule")
  local ok, e = tx:exec("INSERT INTO rules (id, name, hook, title) VALUES (?, ?, ?, ?)",
    db.bin("rule", rule_id), rule.name, rule.hook, version.manifest.title)
  if not ok then
    if err.is(e, "duplicate") then
      e = err.new("duplicate", "there is a rule with the name " .. rule.name, { public = true })
    end
    return nil, e
  end
  ok, e = insert_version(tx, rule_id, 1, version)
  if not ok then return nil, e end
  return rule_id
end


function rules.get(rule_id, tx)
  local row, e = db.on(tx):one("SELECT " .. COLUMNS .. " FROM rules WHERE id = ?",
    db.bin("rule", rule_id))
  if not row then return row, e end
  return to_rule(row)
end


function rules.lock(tx, rule_id)
  local row, e = tx:one("SELECT " .. COLUMNS .. " FROM rules WHERE id = ? FOR UPDATE",
    db.bin("rule", rule_id))
  if not row then return row, e end
  return to_rule(row)
end


function rules.count(tx)
  local row, e = tx:one("SELECT COUNT(*) AS n FROM rules WHERE state <> 'archived'")
  if not row then return nil, e end
  return row.n
end


function rules.list(opts)
  local where, args = {}, {}
  if opts.state then where[1], args[1] = "state = ?", opts.state end
  local rows, e = page.rows { select = COLUMNS, from = "rules", where = where, args = args,
    id = "id", prefix = "rule", opts = opts, newest_first = true }
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = to_rule(row) end
  return rows
end


function rules.add_version(tx, rule, version)
  local number = rule.version + 1
  local ok, e = insert_version(tx, rule.id, number, version)
  if not ok then return nil, e end
  ok, e = tx:exec("UPDATE rules SET version = ?, title = ?, revision = revision + 1 WHERE id = ?",
    number, version.manifest.title, db.bin("rule", rule.id))
  if not ok then return nil, e end
  return number
end


function rules.set(tx, rule_id, fields)
  local published = fields.published
  return tx:exec("UPDATE rules SET state = ?, published = "
    .. (published == nil and "published" or "?") .. ", revision = revision + 1 WHERE id = ?",
    fields.state, unpack(published == nil and { db.bin("rule", rule_id) }
      or { published or sql.null, db.bin("rule", rule_id) }))
end


function rules.version(rule_id, number, tx)
  local row, e = db.on(tx):one("SELECT " .. VERSION .. " FROM rule_versions WHERE rule_id = ?"
    .. " AND number = ?", db.bin("rule", rule_id), number)
  if not row then return row, e end
  return to_version(row)
end


--- The text behind a price: the trace of each order line names the hash.
function rules.by_hash(hash)
  local row, e = sql.one("SELECT " .. VERSION .. " FROM rule_versions WHERE hash = ? LIMIT 1",
    to_bin(hash))
  if not row then return row, e end
  return to_version(row)
end


function rules.versions(rule_id, opts)
  local rows, e = page.rows { select = VERSION, from = "rule_versions", where = { "rule_id = ?" },
    args = { db.bin("rule", rule_id) }, id = "number", opts = opts, newest_first = true }
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = to_version(row) end
  return rows
end


local function insert_event(tx, rule_id, event, outcome)
  return db.on(tx):exec("INSERT INTO rule_events (rule_id, type, outcome, version, author, reason,"
    .. " detail) VALUES (?, ?, ?, ?, ?, ?, ?)", db.bin("rule", rule_id), event.type, outcome,
    event.version or sql.null, event.author, event.reason, clipped(event.detail, 2000))
end


function rules.begin(rule_id, event, tx)
  local done, e = insert_event(tx, rule_id, event, "begun")
  if not done then return nil, e end
  return done.insert_id
end


function rules.event(tx, rule_id, event)
  return insert_event(tx, rule_id, event, "done")
end


function rules.finish(tx, event_id, outcome, fields)
  return db.on(tx):exec("UPDATE rule_events SET outcome = ?, generation = ?, detail = ?"
    .. " WHERE id = ? AND outcome = 'begun'", outcome, fields.generation or sql.null,
    clipped(fields.detail, 2000), event_id)
end


function rules.begun(rule_id, tx)
  return db.on(tx):query("SELECT " .. EVENT .. " FROM rule_events WHERE rule_id = ?"
    .. " AND outcome = 'begun' ORDER BY id", db.bin("rule", rule_id))
end


function rules.events(rule_id, opts)
  return page.rows { select = EVENT, from = "rule_events", where = { "rule_id = ?" },
    args = { db.bin("rule", rule_id) }, id = "id", opts = opts, newest_first = true }
end


-- ---- set aside -----------------------------------------------------------------------------

--- { [hash] = reason } of every rule that is not to be called.
function rules.aside()
  local rows, e = sql.query("SELECT hash, reason FROM rules_aside")
  if not rows then return nil, e end
  local out = {}
  for _, row in ipairs(rows) do out[to_hex(row.hash)] = row.reason end
  return out
end


--- The row of the rule is locked by it: kills of one rule are counted one after the other.
function rules.lock_name(tx, name)
  local row, e = tx:one("SELECT " .. COLUMNS .. " FROM rules WHERE name = ? FOR UPDATE", name)
  if not row then return row, e end
  return to_rule(row)
end


--- -> how many there were within the window, this one included
function rules.add_kill(tx, hash, code, window_ms)
  local bin = to_bin(hash)
  local ok, e = tx:exec("DELETE FROM rule_kills WHERE hash = ? AND at < ?", bin,
    db.now(-window_ms))
  if ok then
    ok, e = tx:exec("INSERT INTO rule_kills (hash, code, at) VALUES (?, ?, ?)", bin, code,
      db.now())
  end
  if not ok then return nil, e end
  local row, e2 = tx:one("SELECT COUNT(*) AS n FROM rule_kills WHERE hash = ?", bin)
  if not row then return nil, e2 end
  return row.n
end


--- -> true | false: it was already | nil, err
function rules.set_aside(tx, name, hash, reason)
  local done, e = tx:exec("INSERT IGNORE INTO rules_aside (hash, name, reason, at)"
    .. " VALUES (?, ?, ?, ?)", to_bin(hash), name, clipped(reason, 2000), db.now())
  if not done then return nil, e end
  return done.affected > 0
end


--- -> how many were restored | nil, err. What was counted against the rule is forgotten.
function rules.restore(tx, name)
  local ok, e = tx:exec("DELETE k FROM rule_kills k JOIN rule_versions v ON v.hash = k.hash"
    .. " JOIN rules r ON r.id = v.rule_id WHERE r.name = ?", name)
  if not ok then return nil, e end
  local done, e2 = tx:exec("DELETE FROM rules_aside WHERE name = ?", name)
  if not done then return nil, e2 end
  return done.affected
end


return rules

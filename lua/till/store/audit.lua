-- till/store/audit - who of the staff did what; entries are only ever added.
--
--   add({ actor =, action = "noun.verb", subject =, detail =, request_id = } [, tx])
--   list(opts) -> rows, newest first        opts: limit, after, before, subject
local db = require "till.store.db"
local page = require "till.store.page"
local sql = require "till.prim.sql"
local ulid = require "till.prim.ulid"

local audit = {}


function audit.add(entry, tx)
  local ok, e = db.on(tx):exec("INSERT INTO audit_entries (id, actor, action, subject, detail,"
    .. " request_id) VALUES (?, ?, ?, ?, ?, ?)", sql.bytes(ulid.new()), entry.actor, entry.action,
    entry.subject, db.to_json(entry.detail), entry.request_id or "")
  if not ok then return nil, e end
  return true
end


function audit.list(opts)
  local where, args = {}, {}
  if opts.subject then where, args = { "subject = ?" }, { opts.subject } end
  local rows, e = page.rows { select = "id, actor, action, subject, detail, request_id, created_at",
    from = "audit_entries", where = where, args = args, id = "id", opts = opts,
    id_param = function(text) return sql.bytes(ulid.bin(text) or "") end, newest_first = true }
  if not rows then return nil, e end
  for _, row in ipairs(rows) do row.id, row.detail = ulid.text(row.id), db.json(row.detail) end
  return rows
end


return audit

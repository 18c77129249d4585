-- till/store/webhooks - the inbox of what providers told (webhook_events): each event once, by
-- (provider, event_id).
--
--   insert(provider, via, events) -> how many were new | nil, err    events { id, type, subject,
--                       at_ms, body, is_ignored }, up to 100; one statement
--   missing(provider, events) -> those that are not there | nil, err
--   receive(provider, event) -> is it new? | nil, err    committed then; those who come while
--                       others are being written go together, in one statement and one commit
--   claim(limit, lease_ms [, former]) -> rows, claim { number, until_at, … } | nil, err, claim
--                       those that are due, for lease_ms; each has had a try more then. is_dropped:
--                       who had it last never said what became of it, or gave it back without
--                       having begun it. err: some may be claimed all the same. former: of the same
--                       worker; it has the number of that, and its rows may go with those of that
--   free(claim, untried) -> true | nil, err    what of it nobody is at any more is due at once
--   settle(tx, ids, claim, state, { reason =, payment_id = }) -> true | false: some are not ours
--   settle_all(tx, claim, { { ids =, payment_id = }, … }) -> true | false    they are applied
--   put_off(ids, claim, delay_ms, reason)               they are tried again after it
--   give_back(ids, claim)                               due at once, and untried
--   has(provider, subject, state) -> is there such a row?
--   bodies(ids) -> texts, as they came, oldest first | nil, err
--   list(opts), get(id) -> row | false; its body too;  replay(tx, id) -> was there such a one?
--   purge(before_ms, limit) -> how many
--   seen_ms(provider) -> ms | false;  set_seen(provider, ms)    of the polls
local combine = require "till.prim.combine"
local crypto = require "till.prim.crypto"
local db = require "till.store.db"
local page = require "till.store.page"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local webhooks = {}

local COLUMNS = "id, provider, event_id, type, subject, state, via, tries, reason, payment_id, at,"
  .. " received_at, applied_at"
local DROPPED = "whoever was at it ended, or stood still"
local SOME = 1000
local MOST_TOGETHER = 65536 -- bytes of a body: MOST_ROWS such fit into a packet of the database's
local MOST_ROWS = 32
local ROW = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


-- One row each, in one statement. One that is there already stays as it is, and counts as no row.
local function write(rows)
  local args, now = {}, db.now()
  for _, row in ipairs(rows) do
    local event = row.event
    local state = event.is_ignored and "ignored" or "received"
    for _, value in ipairs { row.provider, event.id, event.type, event.subject, state, row.via,
      now, db.at_ms(event.at_ms), now, event.is_ignored and now or sql.null,
      sql.bytes(event.body) } do
      args[#args + 1] = value
    end
  end
  local done, e = sql.exec("INSERT INTO webhook_events (provider, event_id, type, subject, state,"
    .. " via, next_at, at, received_at, applied_at, body) VALUES " .. ROW
    .. (", " .. ROW):rep(#rows - 1) .. " ON DUPLICATE KEY UPDATE id = id", unpack(args))
  if not done then return nil, e end
  return done.affected, now
end


function webhooks.insert(provider, via, events)
  local rows = {}
  for i, event in ipairs(events) do rows[i] = { provider = provider, via = via, event = event } end
  local n, e = write(rows)
  if not n then return nil, e end
  return n
end


function webhooks.missing(provider, events)
  if #events == 0 then return {} end
  local ids, there, out = {}, {}, {}
  for i, event in ipairs(events) do ids[i] = event.id end
  db.padded(ids)
  local rows, e = sql.query("SELECT event_id FROM webhook_events WHERE provider = ?"
    .. " AND event_id IN (" .. sql.marks(#ids) .. ")", provider, unpack(ids))
  if not rows then return nil, e end
  for _, row in ipairs(rows) do there[row.event_id] = true end
  for _, event in ipairs(events) do
    if not there[event.id] then out[#out + 1] = event end
  end
  return out
end


-- Some were there before: those that are as old as this write are its own. Where another worker
-- wrote the same in the same millisecond both count it as new.
local function which_are_new(rows, now)
  local answers, seen = {}, {}
  for i, row in ipairs(rows) do
    local key = row.provider .. " " .. row.event.id
    local found, e = sql.one("SELECT received_at = ? AS is_new FROM webhook_events"
      .. " WHERE provider = ? AND event_id = ?", now, row.provider, row.event.id)
    if found == nil then return nil, e end
    answers[i] = { is_new = found and found.is_new == 1 and not seen[key] }
    seen[key] = true
  end
  return answers
end


local UNDONE = { duplicate = true, rejected = true, out_of_range = true, deadlock = true }


local function write_all(rows)
  local n, now = write(rows)
  if not n then
    if rows[2] and UNDONE[now.code] then return false end
    return nil, now
  end
  if n > 0 and n < #rows then return which_are_new(rows, now) end
  local answers = {}
  for i in ipairs(rows) do answers[i] = { is_new = n > 0 } end
  return answers
end


local inbox = combine.kind { name = "inbox", most = MOST_ROWS, run = write_all }


function webhooks.receive(provider, event)
  local row = { provider = provider, via = "webhook", event = event }
  if #event.body > MOST_TOGETHER then
    local n, e = write { row }
    return n and n > 0, e
  end
  local answer, e = inbox:go({ "inbox" }, row)
  if not answer then return nil, e end
  return answer.is_new
end


-- `claim` is 0 but while somebody is at it: one that is claimed and due again was taken from a
-- worker that has ended, or stood still. A claim ends at one moment: its rows are found by that.
function webhooks.claim(limit, lease_ms, former)
  local now_ms = time.now_ms()
  local claim = { number = tonumber(crypto.hex(crypto.random(6)), 16) + 1,
    until_ms = now_ms + lease_ms }
  if former then
    claim.number, claim.until_ms = former.number, math.max(claim.until_ms, former.until_ms + 1)
  end
  claim.until_at = db.at_ms(claim.until_ms)
  local done, e = sql.exec("UPDATE webhook_events SET reason = IF(claim > 0, ?, reason),"
    .. " claim = ?, next_at = ?, tries = tries + 1 WHERE state = 'received' AND next_at <= ?"
    .. " ORDER BY next_at, id LIMIT ?", DROPPED, claim.number, claim.until_at, db.at_ms(now_ms),
    limit)
  if not done then return nil, e, claim end
  if done.affected == 0 then return {}, claim end
  local rows, e2 = sql.query("SELECT id, provider, event_id, type, subject, tries,"
    .. " reason <=> ? AS is_dropped FROM webhook_events FORCE INDEX (webhook_due)"
    .. " WHERE state = 'received' AND next_at = ? AND claim = ? ORDER BY id", DROPPED,
    claim.until_at, claim.number)
  if not rows then return nil, e2, claim end
  for _, row in ipairs(rows) do row.is_dropped = row.is_dropped == 1 end
  return rows, claim
end


function webhooks.free(claim, untried)
  local done, e = sql.exec("UPDATE webhook_events FORCE INDEX (webhook_due) SET next_at = ?,"
    .. " tries = tries - ?, claim = IF(reason <=> ?, claim, 0) WHERE state = 'received'"
    .. " AND next_at = ? AND claim = ?", db.now(), untried and 1 or 0, DROPPED, claim.until_at,
    claim.number)
  return done and true, e
end


local function ours(ids, claim)
  local args = db.padded({ unpack(ids) })
  local where = " WHERE id IN (" .. sql.marks(#args) .. ") AND claim = ? AND state = 'received'"
  args[#args + 1] = claim.number
  return where, args
end


function webhooks.settle(tx, ids, claim, state, more)
  local where, args = ours(ids, claim)
  local reason = more and more.reason
  local done, e = db.on(tx):exec("UPDATE webhook_events SET state = ?, reason = ?, payment_id = ?,"
    .. " applied_at = ?" .. where, state, reason and reason:sub(1, 255) or sql.null,
    db.bin("pay", more and more.payment_id), db.now(), unpack(args))
  if not done then return nil, e end
  return done.affected == #ids
end


-- CASE, for each has its payment: so it is one statement for all.
function webhooks.settle_all(tx, claim, list)
  local ids, cases = {}, {}
  for _, one in ipairs(list) do
    for _, id in ipairs(one.ids) do
      ids[#ids + 1] = id
      cases[#cases + 1] = { id, db.bin("pay", one.payment_id) }
    end
  end
  local where, args = ours(ids, claim)
  local n, given = #args - 1, {}
  for i = 1, n do
    local case = cases[math.min(i, #cases)]
    given[2 * i - 1], given[2 * i] = case[1], case[2]
  end
  given[2 * n + 1] = db.now()
  for i = 1, n + 1 do given[2 * n + 1 + i] = args[i] end
  local done, e = tx:exec("UPDATE webhook_events SET state = 'applied', reason = NULL,"
    .. " payment_id = CASE id" .. (" WHEN ? THEN ?"):rep(n) .. " END, applied_at = ?" .. where,
    unpack(given))
  if not done then return nil, e end
  return done.affected == #ids
end


function webhooks.put_off(ids, claim, delay_ms, reason)
  local where, args = ours(ids, claim)
  return sql.exec("UPDATE webhook_events SET next_at = ?, reason = ?, claim = 0" .. where,
    db.at_ms(time.now_ms() + delay_ms), reason:sub(1, 255), unpack(args))
end


function webhooks.give_back(ids, claim)
  for from = 1, #ids, SOME do
    local where, args = ours({ unpack(ids, from, math.min(#ids, from + SOME - 1)) }, claim)
    local done, e = sql.exec("UPDATE webhook_events SET next_at = ?, tries = tries - 1,"
      .. " claim = IF(reason <=> ?, claim, 0)" .. where, db.now(), DROPPED, unpack(args))
    if not done then return nil, e end
  end
  return true
end


function webhooks.has(provider, subject, state)
  local row, e = sql.one("SELECT 1 AS found FROM webhook_events WHERE state = ? AND provider = ?"
    .. " AND subject = ? LIMIT 1", state, provider, subject)
  if row == nil then return nil, e end
  return row ~= false
end


function webhooks.bodies(ids)
  local args = db.padded({ unpack(ids) })
  local rows, e = sql.query("SELECT body FROM webhook_events WHERE id IN (" .. sql.marks(#args)
    .. ") ORDER BY at, id", unpack(args))
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = row.body end
  return rows
end


local function to_event(row)
  row.payment_id = db.text("pay", row.payment_id)
  return row
end


function webhooks.list(opts)
  local where, args = {}, {}
  for _, field in ipairs { "state", "provider", "type" } do
    if opts[field] then
      where[#where + 1] = field .. " = ?"
      args[#args + 1] = opts[field]
    end
  end
  local rows, e = page.rows { select = COLUMNS, from = "webhook_events", where = where,
    args = args, id = "id", opts = opts, newest_first = true }
  if not rows then return nil, e end
  for _, row in ipairs(rows) do to_event(row) end
  return rows
end


function webhooks.get(event_id, tx)
  local row, e = db.on(tx):one("SELECT " .. COLUMNS .. ", body FROM webhook_events WHERE id = ?",
    event_id)
  return row and to_event(row), e
end


function webhooks.replay(tx, event_id)
  local done, e = tx:exec("UPDATE webhook_events SET state = 'received', tries = 0, claim = 0,"
    .. " reason = NULL, applied_at = NULL, next_at = ? WHERE id = ?", db.now(), event_id)
  if not done then return nil, e end
  return done.affected == 1
end


-- By the database's clock as well as by ours.
function webhooks.purge(kept_ms, limit)
  local done, e = sql.exec("DELETE FROM webhook_events"
    .. " WHERE received_at < LEAST(?, NOW(3) - INTERVAL ? SECOND)"
    .. " AND state IN ('applied', 'ignored') ORDER BY received_at LIMIT ?", db.now(-kept_ms),
    kept_ms / 1000, limit)
  return done and done.affected, e
end


function webhooks.seen_ms(provider)
  local row, e = sql.one("SELECT seen_at FROM webhook_polls WHERE provider = ?", provider)
  if not row then return row, e end
  return time.parse(row.seen_at)
end


function webhooks.set_seen(provider, ms)
  return sql.exec("INSERT INTO webhook_polls (provider, seen_at) VALUES (?, ?)"
    .. " ON DUPLICATE KEY UPDATE seen_at = IF(seen_at > ?, VALUES(seen_at),"
    .. " GREATEST(seen_at, VALUES(seen_at)))", provider, db.at_ms(ms), db.now())
end


return webhooks

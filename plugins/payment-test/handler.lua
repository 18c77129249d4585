-- Behaves as a provider does: one idem_key is one attempt, whatever is repeated, and what was
-- decided is remembered in payment_test_attempts, so that every worker can look it up.
local crypto = require "till.prim.crypto"
local json = require "till.prim.json"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local handler = {}

-- token -> the state in which the attempt ends at the provider
local OUTCOMES = {
  tok_ok = "authorized", tok_declined = "declined", tok_requires_action = "requires_action",
  tok_timeout = "authorized", tok_late = "authorized", tok_unknown_lost = false,
  tok_capture_declined = "authorized",
}
local REASONS = { declined = "the card was declined" }


local function find(idem_key)
  return sql.one("SELECT provider_ref, token, state, amount, currency, captured_amount,"
    .. " (SELECT CAST(COALESCE(SUM(r.amount), 0) AS SIGNED) FROM payment_test_refunds r"
    .. " WHERE r.idem_key = a.idem_key) AS refunded_amount"
    .. " FROM payment_test_attempts a WHERE idem_key = ?", idem_key)
end


local function answer_of(row)
  if row.state == "requires_action" then
    return { outcome = "requires_action", provider_ref = row.provider_ref,
      action = { type = "redirect", url = "https://payment.test/3ds/" .. row.provider_ref } }
  end
  return { outcome = row.state, provider_ref = row.provider_ref, reason = REASONS[row.state],
    refunded_amount = row.refunded_amount,
    captured_amount = row.captured_amount > 0 and row.captured_amount or nil }
end


-- What broke is our affair: the shopper is told that there is no answer yet.
local function unknown()
  return { outcome = "unknown" }
end


local function begin(payment, token, state)
  local ref = "test_" .. crypto.hex(crypto.random(12))
  local ok, e = sql.exec("INSERT IGNORE INTO payment_test_attempts (idem_key, provider_ref, token,"
    .. " state, currency, amount) VALUES (?, ?, ?, ?, ?, ?)", payment.idem_key, ref, token, state,
    payment.currency, payment.amount)
  if not ok then return nil, e end
  return find(payment.idem_key)
end


-- "-capture", "-void" and "-refund" belong to the attempt that they are about, whatever follows.
local function attempt_of(payment)
  return (payment.idem_key:gsub("%-.*$", ""))
end


local function move(payment, from, to)
  local key = attempt_of(payment)
  local ok = sql.exec("UPDATE payment_test_attempts SET state = ? WHERE idem_key = ?"
    .. " AND state = ?", to, key, from)
  if not ok then return unknown() end
  local row, e2 = find(key)
  if not row then return e2 and unknown() or { outcome = "declined", reason = "not found" } end
  if row.state == to then return answer_of(row) end
  return { outcome = "declined", provider_ref = row.provider_ref, reason = "it is " .. row.state }
end


handler["payment.describe"] = function(config, about)
  local countries = config.enabled_for
  if countries and #countries > 0 then
    local there = false
    for _, code in ipairs(countries) do there = there or code == about.country end
    if not there then return nil end
  end
  return { label = "Test card", capture = config.capture, fields = { "token" } }
end


handler["payment.capabilities"] = function()
  return { partial_capture = true, multiple_captures = true, partial_refund = true, void = true,
    saved_methods = false, trusts_callbacks = false }
end


-- It has no credentials, so nothing can be wrong with them.
handler["payment.check"] = function()
  return { ok = true }
end


local function act(payment, row)
  if row.state == "requires_action" and payment.data.action_done then
    return move(payment, "requires_action", "authorized")
  end
  return answer_of(row)
end


handler["payment.authorize"] = function(config, payment)
  local data = payment.data or {}
  payment.data = data
  local token = data.token or "tok_ok"
  local state = OUTCOMES[token]
  if state == nil then
    return { outcome = "declined", reason = "there is no test token " .. tostring(token) }
  end
  if state == false then
    time.sleep(config.silent_ms)
    return { outcome = "unknown" }
  end
  local row = find(payment.idem_key)
  if row == nil then return unknown() end
  if not row then row = begin(payment, token, state) end
  if not row then return unknown() end
  if token == "tok_timeout" then
    time.sleep(config.silent_ms)
    return { outcome = "unknown" }
  end
  if token == "tok_late" then time.sleep(config.late_ms) end
  return act(payment, row)
end


handler["payment.lookup"] = function(_, payment)
  local row = find(attempt_of(payment))
  if row == nil then return unknown() end
  if not row then return { outcome = "not_found" } end
  return answer_of(row)
end


local function has_parts(key)
  return sql.one("SELECT 1 AS yes FROM payment_test_captures WHERE idem_key = ? LIMIT 1", key)
end


-- One key is one part, whatever is repeated; all of them together are no more than was authorized.
local function take_part(payment, key)
  return sql.transaction(function(tx)
    local row, e = tx:one("SELECT state, amount, captured_amount FROM payment_test_attempts"
      .. " WHERE idem_key = ? FOR UPDATE", key)
    if not row then return nil, e end
    local known, e2 = tx:one("SELECT 1 AS yes FROM payment_test_captures WHERE capture_key = ?",
      payment.idem_key)
    if known == nil then return nil, e2 end
    if known then return "done" end
    local captured = row.captured_amount + payment.amount
    if row.state ~= "authorized" then return "it is " .. row.state end
    if captured > row.amount then return "more than is held" end
    local ok, e3 = tx:exec("INSERT INTO payment_test_captures (capture_key, idem_key, amount)"
      .. " VALUES (?, ?, ?)", payment.idem_key, key, payment.amount)
    if ok then
      ok, e3 = tx:exec("UPDATE payment_test_attempts SET captured_amount = ?, state = ?"
        .. " WHERE idem_key = ?", captured,
        (payment.final ~= false or captured == row.amount) and "captured" or "authorized", key)
    end
    if not ok then return nil, e3 end
    return "done"
  end)
end


local function capture_part(payment, key, row)
  local what = take_part(payment, key)
  if not what then return unknown() end
  if what == "done" then return { outcome = "captured", provider_ref = row.provider_ref } end
  return { outcome = "declined", provider_ref = row.provider_ref, reason = what }
end


handler["payment.capture"] = function(_, payment)
  local key = attempt_of(payment)
  local row = find(key)
  if row and row.token == "tok_capture_declined" then
    return { outcome = "declined", provider_ref = row.provider_ref, reason = "the card expired" }
  end
  local is_part = row and (payment.final == false or row.captured_amount > 0)
  if is_part and row.state == "captured" then is_part = has_parts(key) end
  if is_part == nil then return unknown() end
  if is_part then return capture_part(payment, key, row) end
  -- One statement: who comes again finds all of it done, or nothing.
  local ok = sql.exec("UPDATE payment_test_attempts SET captured_amount = LEAST(amount, ?),"
    .. " state = 'captured' WHERE idem_key = ? AND state = 'authorized'", payment.amount, key)
  if not ok then return unknown() end
  return move(payment, "authorized", "captured")
end


-- Of what parts have left.
local function let_go_of_rest(row, key)
  local done = sql.exec("UPDATE payment_test_attempts SET state = 'captured' WHERE idem_key = ?"
    .. " AND state = 'authorized'", key)
  local parts = done and has_parts(key)
  if parts == nil then return unknown() end
  if parts then return { outcome = "voided", provider_ref = row.provider_ref } end
  return { outcome = "declined", provider_ref = row.provider_ref, reason = "it is " .. row.state }
end


handler["payment.void"] = function(_, payment)
  local row = find(attempt_of(payment))
  if row and row.state == "requires_action" then
    return move(payment, "requires_action", "voided")
  end
  if row and row.captured_amount > 0 then return let_go_of_rest(row, attempt_of(payment)) end
  return move(payment, "authorized", "voided")
end


-- One key is one refund. All of them together are no more than what was captured.
local function give_back(payment, key)
  return sql.transaction(function(tx)
    local row, e = tx:one("SELECT state, captured_amount FROM payment_test_attempts"
      .. " WHERE idem_key = ? FOR UPDATE", key)
    if not row then return nil, e end
    local sum = "SELECT CAST(COALESCE(SUM(amount), 0) AS SIGNED) AS given,"
      .. " COALESCE(MAX(refund_key = ?), 0) AS known FROM payment_test_refunds WHERE idem_key = ?"
    local so_far, e2 = tx:one(sum, payment.idem_key, key)
    if not so_far then return nil, e2 end
    if so_far.known == 1 then return "done" end
    local given = so_far.given + payment.amount
    local is_taken = row.state == "captured" or row.state == "authorized"
    if not is_taken or given > row.captured_amount then return "it is " .. row.state end
    local ok, e3 = tx:exec("INSERT INTO payment_test_refunds (refund_key, idem_key, amount)"
      .. " VALUES (?, ?, ?)", payment.idem_key, key, payment.amount)
    if ok and given == row.captured_amount and row.state == "captured" then
      ok, e3 = tx:exec("UPDATE payment_test_attempts SET state = 'refunded'"
        .. " WHERE idem_key = ?", key)
    end
    if not ok then return nil, e3 end
    return "done"
  end)
end


handler["payment.refund"] = function(_, payment)
  local key = attempt_of(payment)
  local row, e = find(key)
  if not row then return e and unknown() or { outcome = "declined", reason = "not found" } end
  local what = give_back(payment, key)
  if not what then return unknown() end
  if what == "done" then return { outcome = "refunded", provider_ref = row.provider_ref } end
  return { outcome = "declined", provider_ref = row.provider_ref, reason = what }
end


--- The shopper confirmed: {"provider_ref": "...", "approved": true}.
handler["webhook.receive"] = function(_, hook)
  local body = json.decode(hook.body)
  if type(body) ~= "table" or type(body.provider_ref) ~= "string" then
    return { status = 400 }
  end
  local ok = sql.exec("UPDATE payment_test_attempts SET state = ? WHERE provider_ref = ?"
    .. " AND state = 'requires_action'", body.approved == false and "declined" or "authorized",
    body.provider_ref)
  return { status = ok and 200 or 503 }
end


return handler

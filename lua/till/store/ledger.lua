-- till/store/ledger - what was earned, owed, paid and given back, by double entry.
--
--   post(tx, order_id, payment_id, currency, entries) -> true | nil, err
--                      one transaction; entries { account, amount }, a debit positive. They sum to
--                      zero, or it throws; those of nothing are left out. tx may be a script
--   balance([tx]) -> { { account, currency, amount }, … }    the trial balance, in one query; the
--                      amounts of a currency sum to zero. Accounts of nothing are left out
--   unbalanced([tx]) -> { { transaction_id, currency, amount }, … }    what must be empty
--   of_payment(payment_id [, tx]) -> { account -> sum } | nil, err
--   of_account(account) -> { { currency, amount }, … } | nil, err
--   of_order(order_id [, tx]) -> entries, oldest first
--
-- Entries are only ever added: what was wrong is posted the other way round. No other file writes
-- to the table, and none changes what is there (tests/lua/store/ledger_spec.lua reads them all).
local db = require "till.store.db"
local sql = require "till.prim.sql"
local ulid = require "till.prim.ulid"

local ledger = {}

local MAX = 2 ^ 53 - 1


-- All sums on the way stay exact, so zero is zero.
local function check(entries)
  local sum = 0
  for _, entry in ipairs(entries) do
    local amount = entry[2]
    if type(amount) ~= "number" or amount % 1 ~= 0 or math.abs(amount) > MAX then
      error("an entry of the ledger is no amount: " .. tostring(amount), 3)
    end
    sum = sum + amount
    if math.abs(sum) > MAX then
      error("the entries of a ledger transaction are too large to be summed up", 3)
    end
  end
  if sum ~= 0 then error("the entries of a ledger transaction do not sum to zero", 3) end
end


function ledger.post(tx, order_id, payment_id, currency, entries)
  check(entries)
  local bin = sql.bytes(ulid.new())
  local args, order, paid, now = {}, db.bin("ord", order_id), db.bin("pay", payment_id), db.now()
  for _, entry in ipairs(entries) do
    if entry[2] ~= 0 then
      local n = #args
      args[n + 1], args[n + 2], args[n + 3], args[n + 4] = bin, entry[1], currency, entry[2]
      args[n + 5], args[n + 6], args[n + 7] = order, paid, now
    end
  end
  if #args == 0 then return true end
  return db.insert(tx, "INSERT INTO ledger_entries (transaction_id, account, currency, amount,"
    .. " order_id, payment_id, at) VALUES (?, ?, ?, ?, ?, ?, ?)"
    .. (", (?, ?, ?, ?, ?, ?, ?)"):rep(#args / 7 - 1), unpack(args))
end


function ledger.balance(tx)
  return db.on(tx):query("SELECT account, currency, CAST(SUM(amount) AS SIGNED) AS amount"
    .. " FROM ledger_entries GROUP BY account, currency HAVING SUM(amount) <> 0"
    .. " ORDER BY currency, account")
end


function ledger.unbalanced(tx)
  return db.on(tx):query("SELECT transaction_id, currency, CAST(SUM(amount) AS SIGNED) AS amount"
    .. " FROM ledger_entries GROUP BY transaction_id, currency HAVING SUM(amount) <> 0"
    .. " ORDER BY transaction_id, currency")
end


function ledger.of_payment(payment_id, tx)
  local rows, e = db.on(tx):query("SELECT account, CAST(SUM(amount) AS SIGNED) AS amount"
    .. " FROM ledger_entries WHERE payment_id = ? GROUP BY account", db.bin("pay", payment_id))
  if not rows then return nil, e end
  local out = {}
  for _, row in ipairs(rows) do out[row.account] = row.amount end
  return out
end


function ledger.of_account(account)
  return sql.query("SELECT currency, CAST(SUM(amount) AS SIGNED) AS amount FROM ledger_entries"
    .. " WHERE account = ? GROUP BY currency ORDER BY currency", account)
end


function ledger.of_order(order_id, tx)
  local rows, e = db.on(tx):query("SELECT transaction_id, account, currency, amount, payment_id, at"
    .. " FROM ledger_entries WHERE order_id = ? ORDER BY id", db.bin("ord", order_id))
  if not rows then return nil, e end
  for _, row in ipairs(rows) do row.payment_id = db.text("pay", row.payment_id) end
  return rows
end


return ledger

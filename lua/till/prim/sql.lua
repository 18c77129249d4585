-- till/prim/sql - statements and transactions in MariaDB. All of it waits.
--
--   query(text, ...)  -> rows: a list of tables by column name        | nil, err
--   one(text, ...)    -> the first row, or false where there is none  | nil, err
--   exec(text, ...)   -> { affected=, insert_id= }                    | nil, err
--   transaction(fn [, { attempts=3, timeout_ms= }])
--                     -> what fn(tx) returned, up to 4 values         | nil, err
--       tx:query, tx:one, tx:exec as above. fn returning nil and an error, or throwing, rolls
--       back; what it threw is thrown on. A deadlock runs fn again: it must have no effect but
--       through tx.
--       timeout_ms bounds all of it, all attempts together.
--   whole(text, ...)  -> the first row | nil, err; one statement that begins and commits its own
--                     transaction. It is waited for to its end, as COMMIT is; a deadlock runs it
--                     again.
--   marks(n)          -> "?, ?, ?" for n values; n must be at least 1
--   bytes(s)          marks a parameter as binary (ids are BINARY(16))
--   null              NULL among the parameters; nil works too
--
-- Each `?` takes a string, a number (whole up to 2^53, else double), a boolean (0 or 1), bytes or
-- null. NULL columns are absent from a row, DECIMAL is a string, DATETIME is
-- "2026-11-20T10:00:00.123Z". A whole number beyond 2^53 fails the statement (out_of_range), but
-- one beyond 2^63, of an unsigned column, comes as its digits.
-- A deadlock of a statement outside of a transaction is tried again too.
-- Limit: mysql.query_timeout_ms a statement, never past the deadline of the call; then the database
-- stops working on it as well. Under overload the first statement of a request may be refused:
-- overloaded, with err.retry_after_ms. So is one whose time ran out while it only waited for a
-- connection, where nothing had been changed before for the request: a `timeout` may have happened.
-- err.code: timeout, cancelled, conn_lost, unavailable, deadlock, duplicate, rejected, overloaded,
-- out_of_range;
-- err.errcode is MariaDB's number, err.log its words (for the log only: they may hold values).
-- err.unknown_outcome is true where a COMMIT, or a whole, was sent and its answer lost; err.unsent
-- where this statement never was.
local c = require "till.c.sql"
local json = require "till.c.json"
local time = require "till.c.time"
local clock = time.mono_us

local sql = { bytes = c.bytes, null = json.null }

local ATTEMPTS = 3
local marks = {}


-- Jitter, so that two who met once do not meet again.
local function step_back(i)
  return time.sleep(math.random(1, 10 * i * i))
end


-- A statement outside of a transaction is one by itself: its deadlock has undone it.
for _, name in ipairs { "query", "one", "exec", "whole" } do
  local run = c[name]
  sql[name] = function(...)
    local result, err = run(...)
    for i = 1, ATTEMPTS - 1 do
      if result ~= nil or err.code ~= "deadlock" or not step_back(i) then break end
      result, err = run(...)
    end
    return result, err
  end
end


function sql.marks(n)
  if n < 1 then error("sql.marks needs at least one value", 2) end
  local text = marks[n]
  if not text then
    text = string.rep("?, ", n - 1) .. "?"
    marks[n] = text
  end
  return text
end


-- @return again?, then the results
local function attempt(fn, limit)
  local tx, err = c.begin(limit)
  if not tx then return err.code == "deadlock", nil, err end
  local good, r1, r2, r3, r4 = pcall(fn, tx)
  if not good then
    tx:rollback()
    if type(r1) == "table" and r1.code == "deadlock" then return true, nil, r1 end
    error(r1, 0)
  end
  if r1 == nil and r2 ~= nil then
    tx:rollback()
    return type(r2) == "table" and r2.code == "deadlock", nil, r2
  end
  local done
  done, err = tx:commit()
  if done then return false, r1, r2, r3, r4 end
  tx:rollback()
  return err.code == "deadlock", nil, err
end


function sql.transaction(fn, opts)
  local attempts = opts and opts.attempts or ATTEMPTS
  local limit = opts and opts.timeout_ms
  local due = limit and clock() / 1000 + limit
  for i = 1, attempts do
    local left = due and math.max(1, math.floor(due - clock() / 1000))
    local again, r1, r2, r3, r4 = attempt(fn, left)
    if not again or i == attempts then return r1, r2, r3, r4 end
    local slept, err = step_back(i)
    if not slept then return nil, err end
  end
end


return sql

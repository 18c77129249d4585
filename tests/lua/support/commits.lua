-- support/commits - COMMITs that are lost, or whose answer is.
--
--   commits.during(sql, fn [, at, what]) -> how many there were, what fn returned (up to 2 values)
--       Of the COMMITs within fn the one with number `at` is lost: what = "answer", it was done and
--       nobody hears of it, or "commit", it was not. Who waits is told the same both times.
--
-- Counted are transactions and what begins and commits its own (sql.whole); the claims of
-- Idempotency-Keys, which core makes by itself, are not.
local err = require "till.util.err"

local commits = {}


local function lost()
  return nil, err.new("conn_lost", "the answer to COMMIT was lost", { unknown_outcome = true })
end


local function without_commit(transaction, fn, opts)
  return transaction(function(tx)
    local result, e = fn(tx)
    if result == nil and e then return nil, e end
    return lost()
  end, opts)
end


local function without_answer(run, ...)
  local result, e = run(...)
  if result == nil and e then return nil, e end
  return lost()
end


function commits.during(sql, fn, at, what)
  local transaction, whole, n = sql.transaction, sql.whole, 0
  function sql.transaction(...)
    n = n + 1
    if n ~= at then return transaction(...) end
    if what == "commit" then return without_commit(transaction, ...) end
    return without_answer(transaction, ...)
  end
  function sql.whole(...)
    n = n + 1
    if n ~= at then return whole(...) end
    if what == "commit" then return lost() end
    return without_answer(whole, ...)
  end
  local good, a, b = pcall(fn)
  sql.transaction, sql.whole = transaction, whole
  if not good then error(a, 0) end
  return n, a, b
end


return commits

local t = require "till.test"
local bundle = require "till.prim.bundle"
local id = require "till.util.id"
local ledger = require "till.store.ledger"
local sql = require "till.prim.sql"

local ORDER, OTHER, PAYMENT = id.new("ord"), id.new("ord"), id.new("pay")


local function empty(fn)
  return function()
    t.empty_shop()
    fn()
  end
end


local function post(order_id, currency, entries, payment_id)
  return assert(sql.transaction(function(tx)
    return ledger.post(tx, order_id, payment_id, currency, entries)
  end))
end


local function balance()
  local out = {}
  for _, row in ipairs(assert(ledger.balance())) do
    out[row.currency .. " " .. row.account] = row.amount
  end
  return out
end


t.describe("till.store.ledger", function()
  t.it("adds up to a trial balance, by currency", empty(function()
    t.same(balance(), {})
    post(ORDER, "GBP", { { "receivable", 1200 }, { "sales", -1000 }, { "tax", -200 } })
    post(OTHER, "GYD", { { "receivable", 500 }, { "sales", -500 } })
    post(ORDER, "GBP", { { "cash:test", 1200 }, { "receivable", -1200 } }, PAYMENT)
    t.same(balance(), { ["GBP cash:test"] = 1200, ["GBP sales"] = -1000, ["GBP tax"] = -200,
      ["GYD receivable"] = 500, ["GYD sales"] = -500 })
    t.same(ledger.unbalanced(), {})
  end))

  t.it("tells what was posted for an order, in this order", empty(function()
    post(ORDER, "GBP", { { "receivable", 5 }, { "discounts", 0 }, { "sales", -5 } })
    post(OTHER, "GBP", { { "receivable", 7 }, { "sales", -7 } })
    post(ORDER, "GBP", { { "cash:test", 5 }, { "receivable", -5 } }, PAYMENT)
    local seen = {}
    for i, e in ipairs(ledger.of_order(ORDER)) do
      seen[i] = { e.account, e.amount, e.payment_id or "none" }
    end
    t.same(seen, { { "receivable", 5, "none" }, { "sales", -5, "none" },
      { "cash:test", 5, PAYMENT }, { "receivable", -5, PAYMENT } })
  end))

  t.it("writes nothing for nothing", empty(function()
    t.equal(post(ORDER, "GBP", { { "receivable", 0 }, { "sales", 0 } }), true)
    t.equal(post(ORDER, "GBP", {}), true)
    t.same(ledger.of_order(ORDER), {})
  end))

  t.table({
    { why = "sums that are not zero", entries = { { "a", 5 }, { "b", -4 } }, says = "sum to zero" },
    { why = "one side alone", entries = { { "a", 5 } }, says = "sum to zero" },
    { why = "fractions", entries = { { "a", 0.5 }, { "b", -0.5 } }, says = "no amount: 0.5" },
    { why = "texts", entries = { { "a", "5" }, { "b", "-5" } }, says = "no amount: 5" },
    { why = "no amounts", entries = { { "a" } }, says = "no amount: nil" },
    { why = "what is no number", entries = { { "a", 0 / 0 } }, says = "no amount: " },
    { why = "more than is exact", entries = { { "a", 2 ^ 53 }, { "b", -2 ^ 53 } },
      says = "no amount: " },
    { why = "sums that no double tells from zero", says = "too large", entries =
      { { "a", 2 ^ 53 - 1 }, { "b", 1 }, { "c", 1 }, { "d", -2 ^ 53 + 1 }, { "e", -1 } } },
  }, function(case)
    t.throws(function() ledger.post(nil, ORDER, nil, "GBP", case.entries) end, case.says)
  end)

  t.it("finds what somebody else has written one-sided", empty(function()
    post(ORDER, "GBP", { { "receivable", 5 }, { "sales", -5 } })
    assert(sql.exec("INSERT INTO ledger_entries (transaction_id, account, currency, amount)"
      .. " VALUES (REPEAT(x'07', 16), 'cash:test', 'GBP', 3)"))
    t.same(ledger.unbalanced(),
      { { transaction_id = ("\7"):rep(16), currency = "GBP", amount = 3 } })
  end))

  t.it("is written to by one file, and only added to", function()
    local seen = 0
    for _, prefix in ipairs { "lua/", "plugins/" } do
      for _, path in ipairs(bundle.list(prefix)) do
        local text = path:find("%.lua$") and bundle.read(path) or ""
        if not path:find("_spec%.lua$") then
          for _, verb in ipairs { "UPDATE", "DELETE FROM", "REPLACE INTO", "TRUNCATE TABLE",
            "TRUNCATE" } do
            t.ok(not text:find(verb .. "%s+ledger_entries"), path .. " changes the ledger")
          end
          if text:find("INSERT INTO ledger_entries", 1, true) then
            t.equal(path, "lua/till/store/ledger.lua")
            seen = seen + 1
          end
        end
      end
    end
    t.equal(seen, 1)
  end)
end)

local t = require "till.test"
local file = require "till.prim.file"
local live = require "tests.support.live"
local attempt = require "till.prim.attempt"

-- Rows as they were before there were events: state, order?, released, captured, refunded; and what
-- the events that they are given come to.
local ROWS = {
  { "created" }, { "sending" }, { "unknown" }, { "requires_action" }, { "declined" }, { "failed" },
  { "voided" }, { "voided", order = true, released = 1000 },
  { "authorized", order = true, seen = { authorized = 1000, left = 1000 } },
  { "authorized", order = true, released = 400, seen = { authorized = 1000, left = 600 } },
  { "authorized", order = true, released = 1000, seen = { authorized = 1000, left = 1000 } },
  { "captured", order = true, seen = { captured = 1000, left = 0 } },
  { "captured", order = true, released = 400, captured = 600, refunded = 100,
    seen = { captured = 600, refunded = 100, left = 0 } },
  { "refunded", order = true, captured = 1000, refunded = 1000, seen = { refunded = 1000 } },
  { "refunded", order = true, released = 300, captured = 700, refunded = 700,
    seen = { captured = 700, refunded = 700 } },
}


local function inserts_of(path)
  local text = assert(file.read(path)):gsub("%-%-[^\n]*", "")
  local out = {}
  for statement in text:gmatch "[^;]+" do
    if statement:find "^%s*INSERT" then out[#out + 1] = statement end
  end
  return out
end


t.describe("till.store.payment_events", function()
  t.it("of payments from before come to what their rows said", function()
    live.with(function(raw)
      for i, row in ipairs(ROWS) do
        assert(raw.sql.exec("INSERT INTO payments (id, order_id, provider, state, currency, amount,"
          .. " idem_key, data, released_amount, capture_amount, refunded_amount)"
          .. " VALUES (LPAD(CHAR(?), 16, '0'), ?, 'test', ?, 'EUR', 1000, ?, '{}', ?, ?, ?)", i,
          row.order and ("o"):rep(16) or raw.sql.null, row[1], "key" .. i, row.released or 0,
          row.captured or raw.sql.null, row.refunded or 0))
      end
      local statements = inserts_of "sql/0021_payment_events.sql"
      t.ok(#statements > 3, #statements)
      for _, statement in ipairs(statements) do assert(raw.sql.exec(statement)) end
      for i, row in ipairs(ROWS) do
        local list = assert(raw.sql.query("SELECT kind AS event, amount FROM payment_events"
          .. " WHERE payment_id = LPAD(CHAR(?), 16, '0') ORDER BY seq", i))
        local seen, refusal = attempt.fold(list)
        t.same({ i, seen.state, refusal }, { i, row[1], nil })
        for name, amount in pairs(row.seen or {}) do
          t.same({ i, name, seen[name] }, { i, name, amount })
        end
      end
    end)
  end)
end)

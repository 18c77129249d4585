local t = require "till.test"
local file = require "till.prim.file"
local fsm = require "till.util.fsm"
local states = require "till.flow.order_states"


local FIELDS = { { "status", "Order" }, { "payment_status", "Payment" },
  { "fulfilment_status", "Goods, of the order and of each line" },
  { "return_status", "What came back" },
  { "fulfilment", "One fulfilment" } }


-- The tables as docs/orders.md shows them.
local function printed()
  local out = {}
  for _, field in ipairs(FIELDS) do
    local machine = states.MACHINES[field[1]]
    out[#out + 1] = ("### %s (`%s`)\n"):format(field[2], field[1])
    out[#out + 1] = "| from | event | to | when |\n|---|---|---|---|"
    for _, edge in ipairs(machine:moves()) do
      out[#out + 1] = ("| %s | %s | %s | %s |"):format(edge.from, edge.event, edge.to,
        edge.when or "")
    end
    out[#out + 1] = ""
  end
  out[#out + 1] = "### What staff may ask for\n\n| action | when |\n|---|---|"
  for _, action in ipairs(states.ACTIONS) do
    out[#out + 1] = ("| `%s` | %s |"):format(action[1], action[3])
  end
  return table.concat(out, "\n") .. "\n"
end


local function order(fields, lines)
  local out = { id = "x", status = "placed", payment_status = "captured",
    fulfilment_status = "unfulfilled", version = 1, lines = {}, fulfilments = {} }
  for i, l in ipairs(lines or { { 2, 0, 0, 0 } }) do
    out.lines[i] = { id = i, quantity = l[1], fulfilled_quantity = l[2], cancelled_quantity = l[3],
      backordered_quantity = l[4], returned_quantity = l[5] }
  end
  for name, value in pairs(fields or {}) do out[name] = value end
  return out
end


t.describe("the states of an order", function()
  t.it("are those that docs/orders.md tells of", function()
    local text = file.read("docs/orders.md")
    if not text then t.skip("not in the source tree") end
    local shown = text:match("<!%-%- states %-%->\n(.-)<!%-%- end %-%->")
    if shown ~= printed() then t.fail("write this into docs/orders.md:\n" .. printed()) end
  end)

  t.table({
    { why = "a state that nothing leads to", message = "cannot be reached",
      spec = { initial = "a", final = { "b" }, { from = "a", event = "go", to = "b" },
        { from = "c", event = "go", to = "b" } } },
    { why = "a state that nothing leads out of", message = "has no way out",
      spec = { initial = "a", final = { "b" }, { from = "a", event = "go", to = "b" },
        { from = "a", event = "wander", to = "c" } } },
    { why = "a move that contradicts another", message = "is there twice",
      spec = { initial = "a", final = { "b", "c" }, { from = "a", event = "go", to = "b" },
        { from = "a", event = "go", to = "c" } } },
    { why = "a way out of an end", message = "is final and has a way out",
      spec = { initial = "a", final = { "b" }, { from = "a", event = "go", to = "b" },
        { from = "b", event = "back", to = "a" } } },
  }, function(case) t.throws(function() fsm.define("x", case.spec) end, case.message) end)

  t.table({
    { why = "open", order = order(), can = { "fulfil", "cancel", "cancel_lines" } },
    { why = "not paid yet", order = order { payment_status = "authorized" },
      can = { "fulfil", "cancel", "cancel_lines", "capture" } },
    { why = "sent in part", order = order({ fulfilment_status = "partial" }, { { 2, 1, 0, 0 } }),
      can = { "fulfil", "cancel_lines", "return_lines" } },
    { why = "packed", order = order({ fulfilment_status = "fulfilled",
      fulfilments = { { status = "pending", lines = { { line_id = 1, quantity = 2 } } } } },
      { { 2, 2, 0, 0 } }),
      can = { "ship_fulfilment", "cancel_fulfilment" } },
    { why = "waiting for units", order = order(nil, { { 2, 0, 0, 2 } }),
      can = { "cancel", "cancel_lines" } },
    { why = "completed", order = order({ status = "completed" }, { { 2, 2, 0, 0 } }),
      can = { "return_lines" } },
    { why = "all of it back", order = order({ status = "completed", return_status = "returned" },
      { { 2, 2, 0, 0, 2 } }), can = {} },
    { why = "cancelled", order = order({ status = "cancelled", payment_status = "authorized" },
      { { 2, 0, 2, 0 } }), can = {} },
  }, function(case) t.same(states.possible(case.order), case.can) end)

  t.table({
    { why = "a part", lines = { { 2, 2, 0, 0, 1 } }, was = "none", what = "return",
      moves = { { "return_status", "return_part" } } },
    { why = "another part", lines = { { 3, 3, 0, 0, 2 } }, was = "partial", what = "return",
      moves = { { "return_status", "return_part" } } },
    { why = "all that was sent", lines = { { 2, 1, 0, 0, 1 }, { 1, 1, 0, 0, 1 } }, was = "partial",
      what = "return", moves = { { "return_status", "return_rest" } } },
    { why = "more is sent then", lines = { { 2, 2, 0, 0, 1 } }, was = "returned", what = "send",
      moves = { { "return_status", "send_more" } } },
    { why = "and unpacked", lines = { { 2, 1, 0, 0, 1 } }, was = "partial", what = "take_back",
      moves = { { "return_status", "take_back_rest" } } },
    { why = "nothing, and more is sent", lines = { { 2, 2, 0, 0, 0 } }, was = "none",
      what = "send", moves = {} },
  }, function(case)
    t.same(states.return_moves(order({ return_status = case.was }, case.lines), case.what),
      case.moves)
  end)

  -- A free gift that is kept is owed nothing for.
  t.it("end a sent order when nothing is owed for it any more, whatever is kept of it", function()
    local machine = states.MACHINES.status
    local function can(payment_status, returned)
      return machine:can("placed", "complete", order({ payment_status = payment_status,
        return_status = returned == 2 and "returned" or "partial" }, { { 2, 2, 0, 0, returned } }))
    end
    t.same({ can("voided", 1), can("voided", 2), can("authorized", 1), can("awaiting", 2) },
      { true, true, false, false })
  end)

  t.table({
    { why = "nothing of it", line = { 2, 0, 0 }, is = "unfulfilled" },
    { why = "a part", line = { 2, 1, 0 }, is = "partial" },
    { why = "all", line = { 2, 2, 0 }, is = "fulfilled" },
    { why = "all that was not cancelled", line = { 3, 2, 1 }, is = "fulfilled" },
    { why = "a part, the rest is cancelled or open", line = { 4, 2, 1 }, is = "partial" },
    { why = "cancelled", line = { 2, 0, 2 }, is = "cancelled" },
    { why = "nothing at all was bought", line = { 0, 0, 0 }, is = "fulfilled" },
  }, function(case) t.equal(states.of_line(order(nil, { case.line }).lines[1]), case.is) end)

  t.it("are refused with what is possible instead", function()
    local o = order({ fulfilment_status = "partial" }, { { 2, 1, 0, 0 } })
    local good, e = states.allow(o, "cancel")
    t.same({ good, e.code, e.possible, e.message }, { nil, "conflict",
      { "fulfil", "cancel_lines", "return_lines" },
      "a part of the order was sent or packed already; possible now: fulfil, cancel_lines,"
      .. " return_lines" })
    good, e = states.change(nil, order { status = "completed" }, { { "status", "cancel" } })
    t.same({ good, e.code, e.message }, { nil, "conflict",
      "cancel is not possible while it is completed; possible now: nothing" })
  end)

  t.it("are changed nowhere but by the tables", function()
    local found, names = {}, file.list("lua/till/flow")
    if not names then t.skip("not in the source tree") end
    for _, dir in ipairs { "lua/till/flow", "lua/till/http/admin_api", "lua/till/http/store_api",
      "lua/till/store" } do
      for _, name in ipairs(file.list(dir)) do
        local text = name:find("%.lua$") and file.read(dir .. "/" .. name) or ""
        text = text:gsub("orders%.set%([^()]*, {}%)", "") -- raises the version, no more
        if text:find("%f[%a]orders%.set%(") or text:find('UPDATE orders SET "', 1, true)
          or text:find("UPDATE orders SET[^\n]*status") then
          found[#found + 1] = dir .. "/" .. name
        end
      end
    end
    table.sort(found)
    t.same(found, { "lua/till/flow/order_states.lua", "lua/till/store/orders.lua" })
  end)
end)

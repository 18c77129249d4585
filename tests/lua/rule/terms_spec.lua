local t = require "till.test"
local terms = require "till.rule.terms"

local TEN = { level = "order", type = "percent", value = "10" }


local function with(more)
  local out = {}
  for key, value in pairs(TEN) do out[key] = value end
  for key, value in pairs(more) do out[key] = value end
  return out
end


t.describe("what a rule answers", function()
  t.it("may be nothing, one term or several", function()
    t.ok(terms.answer({}))
    t.ok(terms.answer({ TEN }))
    t.ok(terms.answer({ with { id = "a", label = "Ten off" }, with { id = "b" } }))
    t.ok(terms.answer({ { level = "line", type = "buy_x_get_y", buy = { qty = 1 },
      get = { qty = 1, percent = "100" } } }))
  end)

  t.table({
    { why = "no list", value = TEN, detail = "must be a list" },
    { why = "a text", value = "10 %", detail = "must be a list of terms, not a string" },
    { why = "a list of texts", value = { "10 %" }, detail = "/0 must be an object" },
    { why = "a field that nobody knows", value = { with { percent = "10" } },
      detail = "/0/percent" },
    { why = "a fraction of a penny", value = { { level = "order", type = "amount", value = 0.5 } },
      detail = "/0/value" },
    { why = "money that is given", value = { { level = "order", type = "amount", value = -5 } },
      detail = "/0/value" },
    { why = "more than everything", value = { with { value = "101" } }, detail = "/0: the rules" },
    { why = "a type that its level does not have", value = { { level = "order",
      type = "fixed_price", value = 1 } }, detail = "/0: the rules" },
    { why = "a filter that is no filter", value = { with { filter = 5 } },
      detail = "/0/filter must be" },
    { why = "a list of SKUs with a number", value = { with { filter = { skus = { 1 } } } },
      detail = "/0/filter/skus/0" },
    { why = "one id twice", value = { with { id = "a" }, with { id = "a" } },
      detail = "/1/id is there twice" },
    { why = "the id of another's place", value = { with { id = "1" }, with { id = "1" } },
      detail = "twice" },
    { why = "an id with a slash", value = { with { id = "a/b" } }, detail = "/0/id" },
    { why = "a code of its own making", value = { with { code = "FREE" } }, detail = "/0/code" },
    { why = "a label that is no text", value = { with { label = {} } }, detail = "/0/label" },
    { why = "a window of time", value = { with { starts_at = "2026-01-01T00:00:00Z" } },
      detail = "/0/starts_at" },
  }, function(case)
    local ok, why = terms.answer(case.value)
    t.equal(ok, nil)
    t.ok(why:find(case.detail, 1, true), why)
  end)

  t.it("has no more terms than a shopper could read", function()
    local many = {}
    for i = 1, 21 do many[i] = TEN end
    local ok, why = terms.answer(many)
    t.equal(ok, nil)
    t.ok(why:find("at most 20"), why)
  end)
end)

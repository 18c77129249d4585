local t = require "till.test"
local when = require "till.rule.when"


local function facts(more)
  local summary = { currency = "GBP", country = "GB", subtotal = 5000, codes = { " summer " },
    lines = { { sku = "TEA", tags = { "hot", "leaf" }, quantity = 2 },
      { sku = "POT", tags = {}, quantity = 1 } } }
  for name, value in pairs(more or {}) do summary[name] = value end
  return when.facts(summary, more and more.customer or { id = "cus_1", group = "trade" })
end


t.describe("conditions of a rule", function()
  t.table({
    { why = "none hold for everybody", spec = {} },
    { why = "the currency is the one", spec = { currency = "GBP" } },
    { why = "the currency is one of several", spec = { currency = { "EUR", "GBP" } } },
    { why = "the currency is another", spec = { currency = "EUR" }, unmet = "currency" },
    { why = "the country is one of several", spec = { country = { "FR", "GB" } } },
    { why = "the country is another", spec = { country = { "FR" } }, unmet = "country" },
    { why = "the group is the one", spec = { customer_group = "trade" } },
    { why = "the group is another", spec = { customer_group = "staff" },
      unmet = "customer_group" },
    { why = "nobody has no group", spec = { customer_group = "trade" }, facts = { customer = {} },
      unmet = "customer_group" },
    { why = "somebody is signed in", spec = { signed_in = true } },
    { why = "nobody is signed in", spec = { signed_in = true }, facts = { customer = {} },
      unmet = "signed_in" },
    { why = "only guests are meant", spec = { signed_in = false }, unmet = "signed_in" },
    { why = "the subtotal is reached exactly", spec = { min_subtotal = 5000 } },
    { why = "the subtotal is missed by one", spec = { min_subtotal = 5001 },
      unmet = "min_subtotal" },
    { why = "the subtotal is not passed", spec = { max_subtotal = 5000 } },
    { why = "the subtotal is passed by one", spec = { max_subtotal = 4999 },
      unmet = "max_subtotal" },
    { why = "units are counted over all lines", spec = { min_quantity = 3, max_quantity = 3 } },
    { why = "there are too few units", spec = { min_quantity = 4 }, unmet = "min_quantity" },
    { why = "there are too many units", spec = { max_quantity = 2 }, unmet = "max_quantity" },
    { why = "there are lines enough", spec = { min_lines = 2 } },
    { why = "there are too few lines", spec = { min_lines = 3 }, unmet = "min_lines" },
    { why = "a code was entered, however it was written", spec = { codes = { "Summer" } } },
    { why = "no such code was entered", spec = { codes = { "WINTER" } }, unmet = "codes" },
    { why = "one SKU of several is enough", spec = { any_sku = { "CUP", "POT" } } },
    { why = "none of the SKUs is there", spec = { any_sku = { "CUP" } }, unmet = "any_sku" },
    { why = "all SKUs are there", spec = { all_skus = { "TEA", "POT" } } },
    { why = "one of all SKUs is missing", spec = { all_skus = { "TEA", "CUP" } },
      unmet = "all_skus" },
    { why = "one tag is enough", spec = { any_tag = { "cold", "leaf" } } },
    { why = "no line has the tag", spec = { any_tag = { "cold" } }, unmet = "any_tag" },
    { why = "the tags are those of all lines together", spec = { all_tags = { "hot", "leaf" } } },
    { why = "one tag is missing", spec = { all_tags = { "hot", "cold" } }, unmet = "all_tags" },
    { why = "all of it must hold", spec = { currency = "GBP", any_sku = { "TEA" },
      min_subtotal = 9000 }, unmet = "min_subtotal" },
  }, function(case)
    t.equal(when.compile(case.spec)(facts(case.facts)), case.unmet)
  end)

  t.table({
    { why = "an unknown one, with the nearest name", spec = { any_skus = { "TEA" } },
      pointer = "/any_skus", detail = "any_sku" },
    { why = "an amount without its currency", spec = { min_subtotal = 1 }, pointer = "/currency",
      detail = "amount of money" },
    { why = "an amount in two currencies", pointer = "/currency", detail = "amount of money",
      spec = { min_subtotal = 1, currency = { "EUR", "GBP" } } },
    { why = "what could never hold", spec = { min_quantity = 3, max_quantity = 2 },
      pointer = "/min_quantity", detail = "could never hold" },
    { why = "a fraction of a penny", spec = { currency = "GBP", min_subtotal = 0.5 },
      pointer = "/min_subtotal", detail = "whole" },
    { why = "a list without entries", spec = { any_tag = {} }, pointer = "/any_tag", detail = "" },
    { why = "a currency that is none", spec = { currency = "pounds" }, pointer = "/currency",
      detail = "" },
  }, function(case)
    local errors = t.ok(when.check(case.spec), "it was taken")
    t.equal(errors[1].pointer, case.pointer)
    t.ok(errors[1].detail:find(case.detail, 1, true), errors[1].detail)
  end)
end)

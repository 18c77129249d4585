-- till/flow/promo_terms - the promotions that a cart is priced with: rows of the shop and what
-- plugins offer, in the words of till.rule.price.
--
--   collect(rows, cart, summary) -> list of promotions, labels by id { code, name, public }
--
-- Money in terms is of the promotion's currency: terms of another currency are left out, never
-- read as though they were the cart's.
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local log = require "till.prim.log"

local promo_terms = {}

local NOT_TERMS = { currency = true, label = true, name = true }


local function copy(terms)
  local out = {}
  for key, value in pairs(terms) do
    if not NOT_TERMS[key] then out[key] = value end
  end
  return out
end


local function of_row(row)
  local p = copy(row.terms)
  p.id, p.code, p.starts_at, p.ends_at = row.id, row.code, row.starts_at, row.ends_at
  if row.usage_limit then p.usage_remaining = math.max(0, row.usage_limit - row.used) end
  if row.per_customer_limit then
    p.customer_usage_remaining = math.max(0, row.per_customer_limit - (row.used_by_customer or 0))
  end
  return p
end


local function is_of(terms, currency)
  return terms.currency == nil or terms.currency == currency
end


local function of_plugins(cart, summary, out, labels)
  local answers, e = dispatch.ask("promo.evaluate", summary)
  if not answers then
    log.warn("promo.evaluate", { error = err.is(e) and e.message or tostring(e) })
    return
  end
  for _, answer in ipairs(answers) do
    for i, terms in ipairs(answer.value) do
      if is_of(terms, cart.currency) then
        local p = copy(terms)
        p.id = ("%s/%s"):format(answer.plugin, terms.id or i)
        out[#out + 1] = p
        labels[p.id] = { name = terms.label or answer.plugin }
      end
    end
  end
end


function promo_terms.collect(rows, cart, summary)
  local out, labels = {}, {}
  for _, row in ipairs(rows) do
    if is_of(row.terms, cart.currency) then
      out[#out + 1] = of_row(row)
      labels[row.id] = { code = row.code, name = row.name, public = true }
    end
  end
  of_plugins(cart, summary, out, labels)
  return out, labels
end


return promo_terms

-- till/flow/promo_terms - the promotions that a cart is priced with: rows of the shop, and what
-- plugins and merchants' rules offer, in the words of till.rule.price.
--
--   rows(cart) -> the shop's promotions that may apply to the cart | nil, err
--   forget()   one of them was changed, after the commit
--   collect(rows, cart, case) -> list of promotions, labels by id { code, name, public, rule };
--              case as till.flow.rulebook makes it. Waits where a merchant's rule applies
--
-- Promotions for everybody are read once and kept (till.cache), unless one of them has a limit: how
-- often it was used is asked for each time, and so is what was entered as a code.
--
-- Money in terms is of the promotion's currency: terms of another currency are left out, never
-- read as though they were the cart's.
local cache = require "till.cache"
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local log = require "till.prim.log"
local promotions = require "till.store.promotions"
local rulebook = require "till.flow.rulebook"
local when = require "till.rule.when"

local promo_terms = {}

local NOT_TERMS = { currency = true, label = true, name = true }


local function is_limited(rows)
  for _, row in ipairs(rows) do
    if row.usage_limit or row.per_customer_limit then return true end
  end
  return false
end


local function load_automatic()
  return promotions.for_cart({}, "")
end


--- Who has nothing in the cart and no code gets nothing off.
function promo_terms.rows(cart)
  if #cart.codes == 0 then
    if #cart.lines == 0 then return {} end
    local rows, e = cache.get("promotions", "automatic", load_automatic)
    if not rows then return nil, e end
    if not is_limited(rows) then return rows end
  end
  return promotions.for_cart(cart.codes, (cart.email or ""):lower())
end


function promo_terms.forget()
  cache.invalidate("promotions", { "automatic" })
end


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


-- Whoever looks at a price later finds the very text that made it by the hash.
local function of_rules(cart, case, out, labels)
  for _, answer in ipairs(rulebook.promotions(case)) do
    local rule = answer.rule
    local code = when.code_of(rule.when, case.summary.codes)
    for i, terms in ipairs(answer.value) do
      if is_of(terms, cart.currency) then
        local p = copy(terms)
        p.id, p.code = ("rule:%s/%s"):format(rule.name, terms.id or i), code
        p.priority = terms.priority or rule.priority
        p.rule = { name = rule.name, version = rule.version, hash = rule.hash }
        out[#out + 1] = p
        labels[p.id] = { name = terms.label or rule.title, code = code, rule = p.rule }
      end
    end
  end
end


function promo_terms.collect(rows, cart, case)
  local out, labels = {}, {}
  for _, row in ipairs(rows) do
    if is_of(row.terms, cart.currency) then
      out[#out + 1] = of_row(row)
      labels[row.id] = { code = row.code, name = row.name, public = true }
    end
  end
  of_plugins(cart, case.summary, out, labels)
  of_rules(cart, case, out, labels)
  return out, labels
end


return promo_terms

--- The shop's own search: what is indexed, what a query means, in which order it is shown.
--
-- A query's words must all be in a product, each as itself, as the beginning
-- of a word, or, where the shop knows no such word, one letter off or sounding
-- alike ("hart t-lite" finds the hanging heart t-light holder). A word nobody
-- has ever heard of is left out as long as another is left.
--
-- Answers are kept (till.cache) until the catalogue changes. How often something was bought may be
-- as old as conf cache.ttl_ms.
local cache = require "till.cache"
local conf = require "till.prim.conf"
local products = require "till.store.products"
local sql = require "till.prim.sql"
local store = require "till.store.search"
local words = require "till.util.words"


local search = {}


local MAX_TOKENS = 8
local MAX_ANSWERS = 500 -- kept by a worker, of at most 500 ids each: some 20 MB
local INDEX_BATCH = 200
local ADJACENT = 3
local WEIGHT = { exact = 10, prefix = 6, sound = 5, near = 4 }
local PRICE_BOUNDS = { 0, 100, 250, 500, 1000, 2500 } -- minor units; facets' bands

-- What InnoDB does not index: its default stop words, and words below three letters.
local STOP = {}
for word in ("about are com for from how that the this was what when where who will with und www")
  :gmatch("%a+") do
  STOP[word] = true
end


cache.own("search", { max = MAX_ANSWERS })


-- ---- indexing --------------------------------------------------------------

local function document_of(product)
  local list, seen = {}, {}
  local function add(text)
    for _, word in ipairs(words.split(text)) do
      if not seen[word] then
        seen[word] = true
        list[#list + 1] = word
      end
    end
  end
  add(product.title)
  for _, variant in ipairs(product.variants) do
    add(variant.sku)
    for _, value in pairs(variant.options) do
      add(tostring(value))
    end
  end
  for _, category in ipairs(product.categories) do
    add(category.title)
  end
  for _, tag in ipairs(product.tags) do
    add(tag)
  end
  add(product.description:sub(1, 2000))
  return { product_id = product.id, words = list }
end


--- Indexes the products `ids` as they are now; those that are not active are taken out.
function search.index(ids)
  local found, failure = products.load(ids)
  if not found then
    return nil, failure
  end
  local documents = {}
  for _, id in ipairs(ids) do
    local product = found[id]
    if product and product.status == "active" then
      documents[#documents + 1] = document_of(product)
    else
      local ok
      ok, failure = store.remove(id)
      if not ok then
        return nil, failure
      end
    end
  end
  if #documents == 0 then
    return true
  end
  return sql.transaction(function(tx) return store.put(tx, documents) end,
    { attempts = 5, timeout_ms = 60000 })
end


--- Indexes every active product that is not yet. @return how many, or nil and an error
function search.index_missing()
  local count = 0
  while true do
    local ids, failure = store.missing(INDEX_BATCH)
    if not ids then
      return nil, failure
    elseif #ids == 0 then
      return count
    end
    local ok
    ok, failure = search.index(ids)
    if not ok then
      return nil, failure
    end
    count = count + #ids
  end
end


-- ---- asking ----------------------------------------------------------------

local function tokens_of(text)
  local tokens, seen = {}, {}
  for _, word in ipairs(words.split(text)) do
    if #word >= 3 and not STOP[word] and not seen[word] and #tokens < MAX_TOKENS then
      seen[word] = true
      tokens[#tokens + 1] = word
    end
  end
  if #tokens > 0 then
    return tokens
  end
  -- Nothing but short words: the longest of them as a beginning.
  local all = words.split(text)
  table.sort(all, function(a, b) return #a > #b end)
  return { all[1] }
end


-- Token → { word → weight }: what may stand for it in a product.
local function meanings_of(tokens, rows)
  local meanings = {}
  for _, token in ipairs(tokens) do
    meanings[token] = { words = {}, known = false }
  end
  for _, row in ipairs(rows) do
    if row.how == "prefix" then
      local meaning = meanings[row.token]
      meaning.words[row.word] = row.word == row.token and WEIGHT.exact or WEIGHT.prefix
      meaning.known = true
    end
  end
  for _, row in ipairs(rows) do
    local meaning = meanings[row.token]
    local alike = row.how == "sound" or row.how == "near" and words.is_near(row.token, row.word)
    if alike and not meaning.known then
      meaning.words[row.word] = math.max(meaning.words[row.word] or 0, WEIGHT[row.how])
    end
  end
  return meanings
end


-- The full text query: every token that means something, as one of its words.
local function match_of(tokens, meanings)
  local parts = {}
  for _, token in ipairs(tokens) do
    local list = {}
    for word in pairs(meanings[token].words) do
      if #word >= 3 and not STOP[word] then
        list[#list + 1] = word
      end
    end
    if #list > 0 then
      table.sort(list)
      parts[#parts + 1] = "+(" .. table.concat(list, " ") .. ")"
    end
  end
  return #parts > 0 and table.concat(parts, " ") or nil
end


-- The place and weight of the best word that stands for a token.
local function best_word(list, weights)
  local best, place = 0, nil
  for i, word in ipairs(list) do
    local weight = weights[word]
    if weight and weight > best then
      best, place = weight, i
    end
  end
  return best, place
end


-- The best of each token's words that the product has, summed; words that
-- follow each other as they were typed count more.
local function score(row, tokens, meanings)
  local list = words.split(row.words)
  local total, before = 0, nil
  for _, token in ipairs(tokens) do
    local best, place = best_word(list, meanings[token].words)
    total = total + best
    if before and place and place > before and place <= before + 2 then
      total = total + ADJACENT
    end
    before = place
  end
  return total
end


local function rank(rows, tokens, meanings)
  for i, row in ipairs(rows) do
    row.score, row.place = score(row, tokens, meanings), i
  end
  table.sort(rows, function(a, b)
    if a.score ~= b.score then
      return a.score > b.score
    elseif a.popularity ~= b.popularity then
      return a.popularity > b.popularity
    end
    return a.place < b.place
  end)
end


-- What the shopper's words were taken for, where they are no words of the shop.
local function corrections(tokens, meanings)
  local out = {}
  for _, token in ipairs(tokens) do
    local best
    local weights = meanings[token].words
    for word, weight in pairs(weights) do
      if not meanings[token].known and (not best or weight > weights[best] or
          weight == weights[best] and word < best) then
        best = word
      end
    end
    out[token] = best
  end
  return out
end


local function bands_of(rows)
  local bands = {}
  for _, row in ipairs(rows) do
    bands[#bands + 1] = { min = PRICE_BOUNDS[row.band],
      max = PRICE_BOUNDS[row.band + 1] and PRICE_BOUNDS[row.band + 1] - 1, count = row.count }
  end
  return bands
end


local function facets(filter)
  local categories, failure = store.category_counts(filter)
  if not categories then
    return nil, failure
  end
  local prices
  prices, failure = store.price_counts(filter, PRICE_BOUNDS)
  return prices and { categories = categories, prices = bands_of(prices) }, failure
end


local EMPTY = { ids = {}, facets = { categories = {}, prices = {} }, corrections = {} }


local function answer(tokens, filter)
  local vocabulary, failure = store.vocabulary(tokens)
  if not vocabulary then
    return nil, failure
  end
  local meanings = meanings_of(tokens, vocabulary)
  filter.match = match_of(tokens, meanings)
  if not filter.match then
    return EMPTY
  end
  local rows, counted
  rows, failure = store.find(filter)
  if rows then
    counted, failure = facets(filter)
  end
  if not counted then
    return nil, failure
  end
  rank(rows, tokens, meanings)
  local ids = {}
  for i, row in ipairs(rows) do
    ids[i] = row.id
  end
  return { ids = ids, facets = counted, corrections = corrections(tokens, meanings) }
end


-- The same words and filters, however they were typed.
local function key_of(tokens, filter)
  return table.concat({ filter.currency, filter.category_id or "", filter.price_min or "",
    filter.price_max or "", table.concat(tokens, " ") }, "|")
end


--- Looks for `text` within `filter` {category_id, currency, price_min, price_max}.
-- @return {ids (best first, at most 500), facets = {categories, prices}, corrections}, or nil, err
function search.run(text, filter)
  local tokens = tokens_of(text)
  if #tokens == 0 then
    return EMPTY
  end
  filter.currency = filter.currency or conf.get("shop.currency")
  return cache.get("search", key_of(tokens, filter), function() return answer(tokens, filter) end)
end


return search

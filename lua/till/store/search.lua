--- The embedded search's tables: documents with full text, and the vocabulary beside them.
local db = require "till.store.db"
local id = require "till.util.id"
local import = require "till.store.import"
local sql = require "till.prim.sql"
local words = require "till.util.words"


local search = {}


local MAX_FOUND = 500   -- documents that are ranked; nobody reads further
local MAX_PREFIXED = 12 -- words a prefix stands for, the most frequent ones
local MAX_ALIKE = 6


-- ---- writing ---------------------------------------------------------------

local function rows_of_words(list)
  local of_words, of_pieces = {}, {}
  for i, word in ipairs(list) do
    of_words[i] = { word, words.sound(word) }
    for _, piece in ipairs(words.pieces(word)) do
      of_pieces[#of_pieces + 1] = { piece, word }
    end
  end
  return of_words, of_pieces
end


--- Puts documents in: list of `{product_id (public), words (list)}`. In order of id, so that two
-- writers never deadlock.
function search.put(tx, documents)
  local rows, seen, vocabulary = {}, {}, {}
  for i, document in ipairs(documents) do
    rows[i] = { db.bin("prod", document.product_id), table.concat(document.words, " ") }
    for _, word in ipairs(document.words) do
      if not seen[word] then
        seen[word] = true
        vocabulary[#vocabulary + 1] = word
      end
    end
  end
  table.sort(vocabulary)
  local of_words, of_pieces = rows_of_words(vocabulary)
  local ok, failure = import.insert(tx, "search_documents", { "product_id", "words" }, rows,
    " ON DUPLICATE KEY UPDATE words = VALUES(words)")
  if ok then
    ok, failure = import.insert(tx, "search_words", { "word", "sound" }, of_words,
      " ON DUPLICATE KEY UPDATE frequency = frequency + 1")
  end
  if ok then
    ok, failure = import.insert(tx, "search_pieces", { "piece", "word" }, of_pieces,
      " ON DUPLICATE KEY UPDATE word = VALUES(word)")
  end
  return ok, failure
end


--- Takes a product's document out.
function search.remove(product_id)
  return sql.exec("DELETE FROM search_documents WHERE product_id = ?", db.bin("prod", product_id))
end


--- Up to `max` active products that have no document yet.
function search.missing(max)
  local rows, failure = sql.query("SELECT p.id FROM products p LEFT JOIN search_documents d " ..

      "ON d.product_id = p.id WHERE p.status = 'active' AND d.product_id IS NULL " ..
    "ORDER BY p.id LIMIT ?",
    max)
  if not rows then
    return nil, failure
  end
  local ids = {}
  for i, row in ipairs(rows) do
    ids[i] = id.text("prod", row.id)
  end
  return ids
end


--- Counts once more how often each product was bought; for imports.
function search.count_bought(tx)
  return tx:exec("UPDATE search_documents d JOIN (SELECT v.product_id, COUNT(*) AS times " ..
    "FROM order_lines l JOIN variants v ON v.id = l.variant_id GROUP BY v.product_id) b " ..
    "ON b.product_id = d.product_id SET d.popularity = b.times")
end


--- The products of these orders were bought once more.
function search.bought(order_ids)
  local bins = db.bins("ord", order_ids)
  return sql.exec("UPDATE search_documents d JOIN (SELECT v.product_id, " ..
    "COUNT(DISTINCT l.order_id) AS times FROM order_lines l JOIN variants v " ..
    "ON v.id = l.variant_id WHERE l.order_id IN (" .. sql.marks(#bins) .. ") " ..
    "GROUP BY v.product_id) b ON b.product_id = d.product_id " ..
    "SET d.popularity = d.popularity + b.times", unpack(bins))
end


-- ---- reading ---------------------------------------------------------------

local PREFIXED = "(SELECT ? AS token, word, 'prefix' AS how, frequency FROM search_words " ..
  "WHERE word LIKE ? ORDER BY word = ? DESC, frequency DESC LIMIT " .. MAX_PREFIXED .. ")"
local SOUNDING = "(SELECT ? AS token, word, 'sound' AS how, frequency FROM search_words " ..
  "WHERE sound = ? AND sound <> '' ORDER BY frequency DESC LIMIT " .. MAX_ALIKE .. ")"
local NEAR = "(SELECT DISTINCT ? AS token, w.word, 'near' AS how, " ..
  "w.frequency FROM search_pieces s " ..
  "JOIN search_words w ON w.word = s.word WHERE s.piece IN (%s) " ..
  "ORDER BY w.frequency DESC LIMIT 40)"


--- What the vocabulary has for each token: rows `{token, word, how = prefix|sound|near}`.
-- `near` are candidates only: they share a piece with the token (words.is_near decides).
function search.vocabulary(tokens)
  local parts, values = {}, {}
  local function add(...)
    for _, value in ipairs({ ... }) do
      values[#values + 1] = value
    end
  end
  for _, token in ipairs(tokens) do
    parts[#parts + 1] = PREFIXED
    add(token, token .. "%", token)
    parts[#parts + 1] = SOUNDING
    add(token, words.sound(token))
    local pieces = words.pieces(token)
    if #pieces > 0 then
      parts[#parts + 1] = NEAR:format(sql.marks(#pieces))
      add(token, unpack(pieces))
    end
  end
  return sql.query(table.concat(parts, " UNION ALL "), unpack(values))
end


-- The filters of a search as SQL: a list of conditions and their values.
local function conditions(filter, without)
  local where, values = { "p.status = 'active'" }, {}
  if filter.match then
    where[#where + 1] = "MATCH (d.words) AGAINST (? IN BOOLEAN MODE)"
    values[#values + 1] = filter.match
  end
  if filter.category_id and without ~= "category" then
    where[#where + 1] = "EXISTS (SELECT 1 FROM product_categories f WHERE f.product_id = p.id " ..
      "AND f.category_id = ?)"
    values[#values + 1] = db.bin("cat", filter.category_id)
  end
  if without ~= "price" and (filter.price_min or filter.price_max) then
    where[#where + 1] = "EXISTS (SELECT 1 FROM variants v JOIN prices r ON r.variant_id = v.id " ..
      "WHERE v.product_id = p.id AND v.archived_at IS NULL AND r.currency = ? " ..
      "AND r.kind = 'base' AND r.amount BETWEEN ? AND ?)"
    values[#values + 1] = filter.currency
    values[#values + 1] = filter.price_min or 0
    values[#values + 1] = filter.price_max or 2 ^ 53 - 1
  end
  return table.concat(where, " AND "), values
end


--- The best documents for a filter `{match, category_id, currency, price_min, price_max}`:
-- rows `{id (public), words, popularity}`, at most 500.
function search.find(filter)
  local where, values = conditions(filter)
  local order = filter.match and "MATCH (d.words) AGAINST (? IN BOOLEAN MODE) DESC, p.id" or "p.id"
  if filter.match then
    values[#values + 1] = filter.match
  end
  local rows, failure = sql.query("SELECT p.id, d.words, d.popularity FROM search_documents d " ..
    "JOIN products p ON p.id = d.product_id WHERE " .. where .. " ORDER BY " .. order ..
    " LIMIT " .. MAX_FOUND, unpack(values))
  if not rows then
    return nil, failure
  end
  for _, row in ipairs(rows) do
    row.id = id.text("prod", row.id)
  end
  return rows
end


--- How many of a search's products stand in each category (whatever category is chosen).
function search.category_counts(filter)
  local where, values = conditions(filter, "category")
  local rows, failure = sql.query("SELECT c.id, c.handle, c.title, COUNT(*) AS count " ..
    "FROM search_documents d JOIN products p ON p.id = d.product_id " ..
    "JOIN product_categories pc ON pc.product_id = p.id " ..
    "JOIN categories c ON c.id = pc.category_id WHERE " .. where ..
    " GROUP BY c.id, c.handle, c.title ORDER BY count DESC, c.handle LIMIT 50", unpack(values))
  if not rows then
    return nil, failure
  end
  for _, row in ipairs(rows) do
    row.id = id.text("cat", row.id)
  end
  return rows
end


--- How many stand in each band of lowest price: rows `{band, count}`; `bounds` are the lower
-- bounds, ascending.
function search.price_counts(filter, bounds)
  local where, values = conditions(filter, "price")
  local marks = sql.marks(#bounds)
  local all = {}
  for _, bound in ipairs(bounds) do
    all[#all + 1] = bound
  end
  all[#all + 1] = filter.currency
  for _, value in ipairs(values) do
    all[#all + 1] = value
  end
  return sql.query("SELECT INTERVAL(lowest, " .. marks .. ") AS band, COUNT(*) AS count FROM (" ..
    "SELECT MIN(r.amount) AS lowest FROM search_documents d " ..
    "JOIN products p ON p.id = d.product_id JOIN variants v ON v.product_id = p.id " ..
    "AND v.archived_at IS NULL JOIN prices r ON r.variant_id = v.id AND r.currency = ? " ..
    "AND r.kind = 'base' WHERE " .. where .. " GROUP BY p.id) AS lows GROUP BY band ORDER BY band",
    unpack(all))
end


return search

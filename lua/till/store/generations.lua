-- till/store/generations - generations, their texts and trees; see sql/0013_generations.sql.
--
--   put(files, hash, fields)   stores it unless it is there: parent, program, author, reason
--   get(hash) -> generation | false        list(opts) -> rows, newest first
--   find(prefix) -> hashes, at most 8
--   files(hash) -> { path = text } | false
--   parts_of(files) -> { library, plugins, configuration, rules }: the hash of each
--   paths(a, b) -> { { path, before, after } } whose texts differ; hashes of texts, nil: not there
--   text(file) -> the text
--   is_known(parts)            has anybody ever stored these library, plugins and configuration?
--   check_refused(generation) -> true | nil, err     may it be made live, though it was refused?
--   last_of(program)           -> hash of what was live last and belongs to it | false
--   served(hash, n)            adds to the requests
-- Hashes are 64 hex digits here, 32 bytes in the tables.
local crypto = require "till.prim.crypto"
local db = require "till.store.db"
local err = require "till.util.err"
local page = require "till.store.page"
local sql = require "till.prim.sql"

local generations = {}

local PARTS = { "library", "plugins", "configuration", "rules" }
local COLUMNS = "hash, parent, library, plugins, configuration, rules, program, author, reason,"
  .. " files, size, requests, live_at, refused_at, created_at"
local BATCH = 200
local BATCH_BYTES = 400000
generations.PARTS = PARTS


--- A hash as a parameter. What is none names nothing.
function generations.param(hash)
  return hash and sql.bytes(crypto.hex_decode(hash) or "") or sql.null
end


function generations.hex(bytes)
  return bytes and crypto.hex(bytes) or nil
end


local param, hex = generations.param, generations.hex


local function to_generation(row)
  for _, column in ipairs { "hash", "parent", "library", "plugins", "configuration", "rules" } do
    row[column] = hex(row[column])
  end
  return row
end


function generations.part_of(path)
  if path:find("^plugins/") then return "plugins" end
  if path:find("^rules/") then return "rules" end
  return path:find("^lua/") and "library" or "configuration"
end


local function to_trees(files)
  local trees = {}
  for _, part in ipairs(PARTS) do trees[part] = {} end
  for path, text in pairs(files) do
    local list = trees[generations.part_of(path)]
    list[#list + 1] = { path = path, file = crypto.hex(crypto.sha256(text)), text = text }
  end
  for part, list in pairs(trees) do
    table.sort(list, function(a, b) return a.path < b.path end)
    local lines = {}
    for i, entry in ipairs(list) do lines[i] = entry.file .. " " .. entry.path .. "\n" end
    trees[part] = { hash = crypto.hex(crypto.sha256(table.concat(lines))), entries = list }
  end
  return trees
end


--- The hash of each part.
function generations.parts_of(files)
  local out = {}
  for part, tree in pairs(to_trees(files)) do out[part] = tree.hash end
  return out
end


-- Which of these (hex) the column holds -> set.
local function present(tx, from, column, hashes)
  local out = {}
  for first = 1, #hashes, BATCH do
    local list = {}
    for i = first, math.min(first + BATCH - 1, #hashes) do list[#list + 1] = param(hashes[i]) end
    db.padded(list)
    local rows, e = tx:query("SELECT DISTINCT " .. column .. " AS hash FROM " .. from .. " WHERE "
      .. column .. " IN (" .. sql.marks(#list) .. ")", unpack(list))
    if not rows then return nil, e end
    for _, row in ipairs(rows) do out[hex(row.hash)] = true end
  end
  return out
end


local function insert_texts(tx, batch)
  if #batch == 0 then return true end
  local args = {}
  for _, entry in ipairs(batch) do
    args[#args + 1], args[#args + 2] = param(entry.file), #entry.text
    args[#args + 1] = sql.bytes(entry.text)
  end
  return tx:exec("INSERT IGNORE INTO generation_files (hash, size, content) VALUES "
    .. ("(?, ?, COMPRESS(?)), "):rep(#batch - 1) .. "(?, ?, COMPRESS(?))", unpack(args))
end


local function put_texts(tx, entries)
  local hashes = {}
  for i, entry in ipairs(entries) do hashes[i] = entry.file end
  local there, e = present(tx, "generation_files", "hash", hashes)
  if not there then return nil, e end
  local batch, bytes = {}, 0
  for _, entry in ipairs(entries) do
    if not there[entry.file] then
      there[entry.file] = true
      batch[#batch + 1], bytes = entry, bytes + #entry.text
      if #batch == BATCH or bytes > BATCH_BYTES then
        local ok, e2 = insert_texts(tx, batch)
        if not ok then return nil, e2 end
        batch, bytes = {}, 0
      end
    end
  end
  return insert_texts(tx, batch)
end


local function put_tree(tx, tree)
  local ok, e = put_texts(tx, tree.entries)
  for first = 1, #tree.entries, BATCH do
    if not ok then return nil, e end
    local args, n = {}, 0
    for i = first, math.min(first + BATCH - 1, #tree.entries) do
      local entry = tree.entries[i]
      args[#args + 1], args[#args + 2] = param(tree.hash), entry.path
      args[#args + 1], n = param(entry.file), n + 1
    end
    ok, e = tx:exec("INSERT IGNORE INTO generation_trees (tree, path, file) VALUES "
      .. ("(?, ?, ?), "):rep(n - 1) .. "(?, ?, ?)", unpack(args))
  end
  return ok, e
end


local function put_trees(tx, trees)
  local hashes = {}
  for _, part in ipairs(PARTS) do hashes[#hashes + 1] = trees[part].hash end
  local there, e = present(tx, "generation_trees", "tree", hashes)
  if not there then return nil, e end
  for _, part in ipairs(PARTS) do
    if not there[trees[part].hash] then
      local ok, e2 = put_tree(tx, trees[part])
      if not ok then return nil, e2 end
    end
  end
  return true
end


local function put_row(tx, hash, trees, fields)
  local count, size = 0, 0
  for _, tree in pairs(trees) do
    for _, entry in ipairs(tree.entries) do count, size = count + 1, size + #entry.text end
  end
  return tx:exec("INSERT IGNORE INTO generations (hash, parent, library, plugins, configuration,"
    .. " rules, program, author, reason, files, size) VALUES (" .. sql.marks(11) .. ")",
    param(hash), param(fields.parent), param(trees.library.hash), param(trees.plugins.hash),
    param(trees.configuration.hash), param(trees.rules.hash), fields.program, fields.author,
    fields.reason or "", count, size)
end


function generations.put(files, hash, fields)
  local known, e = generations.get(hash)
  if known or known == nil then return known, e end
  local trees = to_trees(files)
  return sql.transaction(function(tx)
    -- against the purge, which holds it alone
    local held, e2 = tx:one("SELECT id FROM generation_live WHERE id = 1 LOCK IN SHARE MODE")
    if not held then return nil, e2 end
    local ok, e3 = put_trees(tx, trees)
    if not ok then return nil, e3 end
    return put_row(tx, hash, trees, fields)
  end)
end


function generations.get(hash)
  local row, e = sql.one("SELECT " .. COLUMNS .. " FROM generations WHERE hash = ?", param(hash))
  if not row then return row, e end
  return to_generation(row)
end


function generations.list(opts)
  local rows, e = page.rows { select = COLUMNS, from = "generations", key = "created_at",
    key_param = db.at, id = "hash", opts = opts, newest_first = true, id_param = param }
  if not rows then return nil, e end
  for _, row in ipairs(rows) do to_generation(row) end
  return rows
end


--- Those whose hash begins with these hex digits.
function generations.find(prefix)
  local low, high = prefix .. ("0"):rep(64 - #prefix), prefix .. ("f"):rep(64 - #prefix)
  local rows, e = sql.query("SELECT hash FROM generations WHERE hash BETWEEN ? AND ?"
    .. " ORDER BY hash LIMIT 8", param(low), param(high))
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = hex(row.hash) end
  return rows
end


local function in_parts(generation)
  local args = {}
  for i, part in ipairs(PARTS) do args[i] = param(generation[part]) end
  return args
end


function generations.files(hash)
  local generation, e = generations.get(hash)
  if not generation then return generation, e end
  local rows, e2 = sql.query("SELECT t.path, UNCOMPRESS(f.content) AS text FROM generation_trees t"
    .. " JOIN generation_files f ON f.hash = t.file WHERE t.tree IN (?, ?, ?, ?)",
    unpack(in_parts(generation)))
  if not rows then return nil, e2 end
  local out = {}
  for _, row in ipairs(rows) do out[row.path] = row.text end
  return out
end


local function entries_of(generation)
  local rows, e = sql.query("SELECT path, file FROM generation_trees WHERE tree IN (?, ?, ?, ?)",
    unpack(in_parts(generation)))
  if not rows then return nil, e end
  local out = {}
  for _, row in ipairs(rows) do out[row.path] = hex(row.file) end
  return out
end


--- What two generations (as get gives them; `a` may be nil) differ in, by path.
function generations.paths(a, b)
  local before, e = {}, nil
  if a then before, e = entries_of(a) end
  local after, e2 = entries_of(b)
  if not before or not after then return nil, e or e2 end
  local out = {}
  for path, file in pairs(after) do
    if before[path] ~= file then
      out[#out + 1] = { path = path, before = before[path], after = file }
    end
  end
  for path, file in pairs(before) do
    if not after[path] then out[#out + 1] = { path = path, before = file } end
  end
  table.sort(out, function(x, y) return x.path < y.path end)
  return out
end


function generations.text(file)
  local row, e = sql.one("SELECT UNCOMPRESS(content) AS text FROM generation_files WHERE hash = ?",
    param(file))
  if not row then return row, e end
  return row.text
end


local function is_any(parts, condition)
  local row, e = sql.one("SELECT 1 AS known FROM generations WHERE library = ? AND plugins = ?"
    .. " AND configuration = ?" .. condition .. " LIMIT 1", param(parts.library),
    param(parts.plugins), param(parts.configuration))
  if row == nil then return nil, e end
  return row and true or false
end


function generations.is_known(parts)
  return is_any(parts, "")
end


-- What was refused may kill every worker that loads it: a rollback is not tried aside. Where the
-- same code has been live, it was refused for something else.
function generations.check_refused(row)
  if not row.refused_at then return true end
  local was_live, e = is_any(row, " AND live_at IS NOT NULL")
  if was_live == nil then return nil, e end
  if was_live then return true end
  return nil, err.new("conflict", ("generation %s was refused when it came and has never been live"
    .. " (`moontill generations history` says why): mend the folders and reload"):format(
    row.hash:sub(1, 12)))
end


function generations.last_of(program)
  local row, e = sql.one("SELECT hash FROM generations WHERE program = ? AND live_at IS NOT NULL"
    .. " ORDER BY live_at DESC LIMIT 1", program)
  if not row then return row, e end
  return hex(row.hash)
end


function generations.served(hash, n)
  return sql.exec("UPDATE generations SET requests = requests + ? WHERE hash = ?", n, param(hash))
end


return generations

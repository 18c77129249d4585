-- till/plugin/statement - which tables a statement of SQL names, for the capabilities of a plugin.
--
--   statement.tables(text) -> list of names in small letters, "base.table" where it says so
--                          |  nil, sentence: nobody could say for sure
--
-- No parser of SQL: whatever stands where a table may stand counts as one, and what could be read
-- in two ways is refused (escapes in texts, comments that the server runs, two statements).
-- A name too many costs the plugin a line in its manifest, one too few another's data.
local statement = {}

local VERBS = { select = true, insert = true, update = true, delete = true, replace = true,
  create = true, drop = true, alter = true, truncate = true }
local ON_TABLES = { create = true, drop = true, alter = true }
local FILES = { outfile = true, dumpfile = true, load_file = true, infile = true }
local BEFORE_TABLE = { from = true, join = true, straight_join = true, into = true, update = true,
  table = true, references = true, insert = true, replace = true, truncate = true, using = true }
-- A comma after the table of these names another.
local BEFORE_LIST = { from = true, join = true, straight_join = true, update = true, using = true }
-- Or they are functions, and a list of columns.
local NOT_BEFORE_PAREN = { insert = true, replace = true, truncate = true, using = true }
local NO_TABLE_AFTER = { ["for"] = true, key = true } -- FOR UPDATE, ON DUPLICATE KEY UPDATE
local BETWEEN = { ignore = true, low_priority = true, high_priority = true, delayed = true,
  quick = true, ["if"] = true, ["not"] = true, exists = true, lateral = true, only = true }
-- Reserved words all: another could be the alias of a table, and a list go on behind it.
local ENDS_LIST = { where = true, set = true, group = true, order = true, limit = true,
  having = true, values = true, select = true, union = true }


-- ---- words ----------------------------------------------------------------------------------

-- Each reads what begins at `at` -> where it ends, or nil, a sentence.
local function past_line(text, at)
  return (text:find("\n", at, true) or #text)
end


local function past_comment(text, at)
  if text:find("^/%*M?!", at) then return nil, "a comment that the server runs" end
  local _, last = text:find("*/", at + 2, true)
  if last then return last end
  return nil, "a comment without end"
end


local function past_quote(text, at)
  local last = text:find(text:sub(at, at), at + 1, true)
  if last then return last end
  return nil, "a quote without end"
end


local function past_blank(text, at)
  local c = text:sub(at, at)
  if c:find("%s") then return at end
  if c == "#" or text:find("^%-%-[%s%c]", at) or text:find("^%-%-$", at) then
    return past_line(text, at)
  end
  if text:find("^/%*", at) then return past_comment(text, at) end
  return false
end


-- The server reads 1.from as a number and a word.
local function is_glued(text, at, word)
  if not word:find("^%d") or word:find("^0[xX]%x+$") then return false end
  return word:find("%D") ~= nil or text:find("^%.[%a_$\128-\255]", at + #word) ~= nil
end


-- -> token { word = } | { name = } | { mark = }, where it ends | nil, sentence
local function token_at(text, at)
  local c = text:sub(at, at)
  if c == "'" or c == '"' or c == "`" then
    local last, why = past_quote(text, at)
    if not last then return nil, why end
    if c ~= "`" then return { mark = "text" }, last end
    return { name = text:sub(at + 1, last - 1):lower() }, last
  end
  local word = text:match("^[%w_$\128-\255]+", at)
  if not word then return { mark = c }, at end
  if is_glued(text, at, word) then return nil, "a number that runs into a word" end
  return { word = word:lower(), name = word:lower() }, at + #word - 1
end


local function tokens_of(text)
  if text:find("\\", 1, true) then return nil, "a backslash: give values apart, as ?" end
  local out, at = {}, 1
  while at <= #text do
    local last, why = past_blank(text, at)
    if last == nil then return nil, why end
    if not last then
      out[#out + 1], last = token_at(text, at)
      if type(last) == "string" then return nil, last end
    end
    at = last + 1
  end
  return out
end


-- "a . b" is one name.
local function qualified(tokens)
  local out, i = {}, 1
  while i <= #tokens do
    local token = tokens[i]
    while token.name and tokens[i + 1] and tokens[i + 1].mark == "." and tokens[i + 2]
      and tokens[i + 2].name do
      token = { name = token.name .. "." .. tokens[i + 2].name }
      i = i + 2
    end
    out[#out + 1] = token
    i = i + 1
  end
  return out
end


local function fault_of(tokens)
  local verb = tokens[1] and tokens[1].word
  if not VERBS[verb] then
    return "plugins have SELECT, INSERT, UPDATE, DELETE, REPLACE, and CREATE, ALTER, DROP TABLE"
  end
  if ON_TABLES[verb] and not (tokens[2] and tokens[2].word == "table") then
    return verb:upper() .. " of anything but a TABLE"
  end
  for i, token in ipairs(tokens) do
    if token.mark == ";" and i < #tokens then return "more than one statement" end
    if FILES[token.name] then return "files of the database's server" end
  end
end


-- ---- tables ---------------------------------------------------------------------------------

local function is_before_table(word, before, next_token)
  if not BEFORE_TABLE[word] then return false end
  if word == "update" and NO_TABLE_AFTER[before] then return false end
  return not (NOT_BEFORE_PAREN[word] and next_token and next_token.mark == "(")
end


-- at = { wants: a table comes next, in_list: a comma brings another, verb }
local function on_word(at, token, before, next_token)
  local word = token.word
  if is_before_table(word, before, next_token) then
    at.wants = true
    at.in_list = BEFORE_LIST[word] or word == "table" and at.verb == "drop" or false
  elseif ENDS_LIST[word] or word == "update" and before == "key" then
    at.wants, at.in_list = false, false
  elseif at.wants and not BETWEEN[word] then
    at.wants = false
    return token.name
  end
end


local function on_mark(at, mark, outer)
  if mark == "(" then
    outer[#outer + 1] = at
    return { wants = at.wants, in_list = at.wants, verb = at.verb }
  elseif mark == ")" and outer[1] then
    at = table.remove(outer)
    at.wants = false
  elseif mark == "," then
    at.wants = at.in_list
  end
  return at
end


function statement.tables(text)
  if type(text) ~= "string" then return nil, "a statement is a text" end
  local tokens, why = tokens_of(text)
  if not tokens then return nil, why end
  tokens = qualified(tokens)
  why = fault_of(tokens)
  if why then return nil, why end
  local out, outer, at, before = {}, {}, { verb = tokens[1].word }, nil
  for i, token in ipairs(tokens) do
    if token.mark then
      at = on_mark(at, token.mark, outer)
    elseif token.word then
      out[#out + 1] = on_word(at, token, before, tokens[i + 1])
    elseif at.wants then
      out[#out + 1], at.wants = token.name, false
    end
    before = token.word
  end
  return out
end


return statement

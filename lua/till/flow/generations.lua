-- till/flow/generations - the code of the shop: what is live, what was, and making something live.
--
--   live() -> { hash, since, sequence, … } | nil, err          of the database, not of this worker
--   get(hash) -> generation | nil, err
--   resolve(prefix) -> hash | nil, err     also of "live", "previous" ("" is that too)
--   files(hash) -> { path = text } | nil, err
--   diff(a, b) -> { { path, change = "added|removed|changed", text = unified diff } } | nil, err
--   with_rules(changes, { author =, reason = }) -> hash | nil, err
--       the live generation with changes[name] = { manifest = table, text = string }, or false:
--       gone. Stored in the database; identical content is the same generation.
--   activate(hash, { author =, reason =, expect = }) -> true | nil, err     live in every worker or
--       in none; waits for it. A refusal is err `conflict`, with the sentence of who refused;
--       `precondition_failed` where another one became live first, or `expect` (a hash) is not live
--       any more: build on what is live now, and try again. `unknown_outcome` where the database
--       does not say. Another change that is under way is `busy`: try again in a moment.
--   reload{ author =, reason = } -> answer | nil, err              from the folders of this server
--   run(text) -> text        what the master has a worker do (core/serve/master_record.c)
--   background()             hears of other servers' changes, counts requests; until closing
local bundle = require "till.prim.bundle"
local changes = require "till.store.generation_changes"
local co = require "till.prim.co"
local err = require "till.util.err"
local fault = require "till.prim.fault"
local generation = require "till.prim.generation"
local json = require "till.prim.json"
local log = require "till.prim.log"
local redis = require "till.prim.redis"
local store = require "till.store.generations"
local time = require "till.prim.time"
local unified = require "till.util.unified"

local generations = {}

local CHANNEL = "till:generation"
local TELL_MS = 5000
local LOOKUPS = 20
local LOOKUP_MS = 250
local READ_ONLY = 1290


-- ---- reading ----------------------------------------------------------------

function generations.get(hash)
  local row, e = store.get(hash)
  if row == nil then return nil, e end
  if not row then return nil, err.new("not_found", "there is no generation " .. hash) end
  return row
end


function generations.live()
  local live, e = changes.live()
  if not live then return nil, e end
  if not live.hash then return nil, err.new("not_found", "no generation has been live yet") end
  return live
end


local function sentence_of(found)
  local short = {}
  for i, hash in ipairs(found) do short[i] = hash:sub(1, 16) end
  return table.concat(short, ", ")
end


--- "live", "previous" or the beginning of a hash -> the whole hash.
function generations.resolve(prefix)
  if prefix == "live" then
    local live, e = generations.live()
    return live and live.hash, e
  elseif prefix == "" or prefix == "previous" then
    local hash, e = changes.previous()
    if hash == nil then return nil, e end
    if hash then return hash end
    return nil, err.new("not_found", "there is no generation before the live one")
  end
  if not prefix:find("^%x+$") or #prefix > 64 then
    return nil, err.new("invalid_request", prefix:sub(1, 80) .. ": a hash has up to 64 hex digits;"
      .. " `moontill generations` lists them")
  end
  local found, e = store.find(prefix:lower())
  if not found then return nil, e end
  if #found == 1 then return found[1] end
  if #found == 0 then
    return nil, err.new("not_found", "no generation begins with " .. prefix
      .. "; `moontill generations` lists them")
  end
  return nil, err.new("conflict", ("%d generations begin with %s: %s; give more digits")
    :format(#found, prefix, sentence_of(found)))
end


local function own_files()
  local out = {}
  for _, path in ipairs(bundle.list("")) do out[path] = bundle.read(path) end
  return out
end


function generations.files(hash)
  if hash == co.generation() then return own_files() end
  if generation.has(hash) then return generation.read(hash) end
  local files, e = store.files(hash)
  if files == nil then return nil, e end
  if not files then return nil, err.new("not_found", "there is no generation " .. hash) end
  return files
end


local function text_of(file)
  if not file then return "" end
  return store.text(file)
end


local function entry_of(difference)
  local before, e = text_of(difference.before)
  local after, e2 = text_of(difference.after)
  if not before or not after then return nil, e or e2 or err.new("not_found", "a text is gone") end
  return { path = difference.path, text = unified.diff(before, after, difference.path),
    change = not difference.before and "added" or not difference.after and "removed" or "changed" }
end


function generations.diff(a, b)
  local first, e = generations.get(a)
  if not first then return nil, e end
  local second, e2 = generations.get(b)
  if not second then return nil, e2 end
  local out, e3 = store.paths(first, second)
  if not out then return nil, e3 end
  for i, difference in ipairs(out) do
    out[i], e = entry_of(difference)
    if not out[i] then return nil, e end
  end
  return out
end


-- ---- making -------------------------------------------------------------------

local function with_changes(files, rules)
  local out = {}
  for path, text in pairs(files) do out[path] = text end
  for name, rule in pairs(rules) do
    if not name:find("^[%w_-]+$") then error("a rule's name: " .. name, 3) end
    out["rules/" .. name .. ".lua"] = rule and rule.text or nil
    out["rules/" .. name .. ".json"] = rule and json.encode(rule.manifest) or nil
  end
  return out
end


function generations.with_rules(rules, opts)
  local live, e = generations.live()
  if not live then return nil, e end
  local row, e1 = generations.get(live.hash)
  if not row then return nil, e1 end
  local files, e2 = generations.files(live.hash)
  if not files then return nil, e2 end
  files = with_changes(files, rules)
  local hash, why = generation.save(files)
  if not hash then return nil, err.new("internal", why) end
  local ok, e3 = store.put(files, hash, { parent = live.hash, program = row.program,
    author = opts.author, reason = opts.reason })
  if not ok then return nil, e3 end
  return hash
end


local function asked(command, opts)
  command.author, command.reason, command.expect = opts.author, opts.reason, opts.expect
  local answer, e = generation.ask(command)
  if not answer then return nil, e end
  if answer.ok then return answer end
  local code = answer.unknown and "unknown_outcome" or answer.busy and "busy"
    or answer.stale and "precondition_failed" or "conflict"
  return nil, err.new(code, answer.error or "the server refused it without a word")
end


function generations.activate(hash, opts)
  local answer, e = asked({ command = opts.kind or "activate", hash = hash }, opts)
  if not answer then return nil, e end
  return true
end


function generations.reload(opts)
  return asked({ command = "reload" }, opts)
end


-- ---- for the master --------------------------------------------------------------

local run = {}


-- The copy that the workers of this machine load.
local function fetch(hash)
  if generation.has(hash) then return true end
  local files, e = store.files(hash)
  if not files then return nil, e or err.new("not_found", "there is no generation " .. hash) end
  local name, why = generation.save(files)
  if not name then return nil, err.new("internal", why) end
  if name == hash then return true end
  return nil, err.new("internal", ("generation %s: its texts in the database do not fit its name")
    :format(hash))
end


function run.fetch(order)
  local hash, e = generations.resolve(order.hash)
  if not hash then return nil, e end
  local row, e2 = generations.get(hash)
  if not row then return nil, e2 end
  local good, e4 = store.check_refused(row)
  if not good then return nil, e4 end
  if row.program ~= generation.program() then
    return nil, err.new("conflict", ("generation %s belongs to version %s of the program and this"
      .. " is %s: run that version, or reload"):format(hash:sub(1, 12), row.program,
      generation.program()))
  end
  local ok, e3 = fetch(hash)
  if not ok then return nil, e3 end
  return { generation = hash }
end


function run.look(order)
  local live, e = changes.live()
  if not live then return nil, e end
  if live.sequence == order.sequence or not live.hash then return { same = true } end
  local row, e2 = generations.get(live.hash)
  if not row then return nil, e2 end
  local answer = { generation = live.hash, sequence = live.sequence, program = row.program }
  if row.program ~= generation.program() then return answer end
  local ok, e3 = fetch(live.hash)
  if not ok and e3.retryable then return nil, e3 end
  answer.unusable = not ok and e3.message or nil
  return answer
end


local function to_change(order)
  return { id = order.change, kind = order.kind, from = order.from, sequence = order.sequence,
    to = order.to ~= "" and order.to or nil, author = order.author, reason = order.reason,
    expect = order.expect ~= "" and order.expect or nil,
    refusal = order.refusal, machine = order.machine, took_ms = order.took_ms }
end


-- A server that starts has it already: its parent is what was live for all before.
local function keep(order)
  local files, why = generation.read(order.to)
  if not files then return nil, err.new("internal", why) end
  local before = order.from == order.to and (changes.live() or {}).hash or order.from
  return store.put(files, order.to, { parent = before ~= order.to and before or nil,
    program = generation.program(), author = order.author, reason = order.reason })
end


-- Where the answer was lost the same is asked again: it finds the change, or makes it.
local function move(order)
  local sequence, e
  for _ = 1, LOOKUPS do
    sequence, e = changes.move(to_change(order))
    if sequence and fault.fires "generation.lost" then
      sequence, e = nil, err.new("conn_lost", "the answer was lost", { unknown_outcome = true })
    end
    if sequence ~= nil or not (e.unknown_outcome or e.retryable) then return sequence, e end
    order.again = order.again or e.unknown_outcome
    if not time.sleep(LOOKUP_MS) then break end
  end
  return nil, e
end


function run.record(order)
  local ok, e = keep(order)
  if not ok then return nil, e end
  fault.crash "generation.before_record"
  local sequence, e2 = move(order)
  fault.crash "generation.after_record"
  if sequence then
    co.turn_end(redis.publish, CHANNEL, tostring(sequence)) -- nobody waits for Redis
    return { sequence = sequence }
  end
  if sequence == nil then return nil, e2 end
  return nil, err.new("precondition_failed", ("%s is live meanwhile (change %d): look at that"
    .. " first, then try again"):format(e2.hash:sub(1, 12), e2.sequence))
end


function run.note(order)
  if order.to ~= "" and generation.has(order.to) then
    local ok, e = keep(order)
    if not ok then return nil, e end
  end
  local ok, e = changes.note(to_change(order))
  if not ok then return nil, e end
  return {}
end


-- Where something may have been done, now or when it was asked before; and while the database is
-- away, which is waited for. An error that it answers with has changed nothing.
local function is_unknown(order, e)
  local is_answer = e.errcode and (e.errcode < 2000 or e.errcode >= 3000) -- between: the client's
  return e.unknown_outcome
    or order.verb == "record" and e.retryable and (order.again or not is_answer) or false
end


function generations.run(text)
  local order = json.decode(text)
  local answer, e = run[order.verb](order)
  if answer then
    answer.ok = true
    return json.encode(answer)
  end
  local sentence = e.errcode == READ_ONLY and "the database is read-only: nothing can go live"
  return json.encode { ok = false, error = sentence or e.message, unknown = is_unknown(order, e),
    stale = err.is(e, "precondition_failed") }
end


-- ---- behind the requests ---------------------------------------------------------

local function tell_served()
  local n = generation.served()
  if n == 0 then return end
  local ok, e = store.served(co.generation(), n)
  if not ok then log.warn("generation.uncounted", { requests = n, error = tostring(e) }) end
end


function generations.background()
  redis.subscribe(CHANNEL, function(text)
    if text then generation.ask { command = "hurry" } end
  end)
  local waiter = co.waiter()
  while not co.closing() do
    waiter:wait(TELL_MS)
    tell_served()
  end
end


return generations

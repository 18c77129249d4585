-- till/flow/rules - merchants' rules: written, tried, published and taken back.
--
--   rules.find(id), rules.find_version(rule, number)
--   rules.check(draft) -> true | nil, err(invalid_request with errors)
--   rules.draft(rule, version, changes) -> the draft that a version becomes with them
--   rules.made(draft [, version]) -> the rule of a draft that was checked, as though it were live
--   rules.create(tx, draft, note) -> id;  rules.edit(tx, rule, draft, note) -> number
--   rules.publish(id, { version =, author =, reason =, commit = }) -> what commit returned
--   rules.unpublish(id, same), rules.restore(tx, rule, note)
--   rules.live(rule) -> { version, hash } | nil     in this generation
--   rules.settle(rule)     publications whose server died are ended by what is live
--
-- draft = { name, hook, title, text, schema, args, when, priority, starts_at, ends_at };
-- note = { author, reason }. commit(finish, live): opens the last transaction, calls finish(tx) in
-- it -> true | nil, err; live = { version, hash, generation } is what is served from now on.
--
-- A publication is a generation: the live one with this rule in it, or without it, made live in
-- every worker or in none. Two at a time would each begin with the live one and lose the other's:
-- a lock keeps them apart, and `expect` refuses one whose ground has moved (a reload came between),
-- which then begins anew. Where the server dies:
--
--   before the generation is live     nothing is live; the event stays `begun` and is found refused
--   after it, before the tables know  the rule is live and is shown so: `live` is read from the
--                                     generation, never from the tables; the event is found done
local box = require "till.prim.box"
local err = require "till.util.err"
local fault = require "till.prim.fault"
local generations = require "till.flow.generations"
local guard = require "till.flow.rule_guard"
local json = require "till.prim.json"
local lock = require "till.prim.lock"
local plugin_rules = require "till.plugin.rules"
local rulebook = require "till.flow.rulebook"
local store = require "till.store.rules"
local time = require "till.prim.time"

local rules = {}

local PATIENCE_MS, AGAIN_MS = 5000, 50
local MAX_RULES = 2000
local LOCK = { lease_ms = 5000, wait_ms = 6500 }
local DEAD_MS = 60000
local AWAY = { unavailable = true, overloaded = true, timeout = true }
local FIELDS = { "title", "schema", "args", "when", "priority", "starts_at", "ends_at" }


local function given(value)
  if value == json.null then return nil end
  return value
end


local function to_time(text)
  text = given(text)
  return text and time.rfc3339(assert(time.parse(text)))
end


local function manifest_of(draft, version)
  return { name = draft.name, hook = draft.hook, version = version,
    title = given(draft.title) or draft.name, schema = given(draft.schema) or {},
    args = given(draft.args) or {}, when = given(draft.when) or {},
    priority = given(draft.priority) or 100, starts_at = to_time(draft.starts_at),
    ends_at = to_time(draft.ends_at) }
end


local function refused(errors)
  return nil, err.new("invalid_request", "this does not make a rule", { errors = errors })
end


-- Parsing is the box's business: it may cost it its life.
local function check_syntax(draft)
  local ok, failure = box.check { hook = draft.hook, name = draft.name, text = draft.text }
  if ok then return nil end
  if AWAY[failure.code] then return nil, err.new(failure.code, failure.message) end
  return { { pointer = "/text", detail = failure.message, code = failure.code,
    line = failure.line, column = failure.column } }
end


local function append(to, from)
  for _, e in ipairs(from or {}) do to[#to + 1] = e end
  return to
end


--- Everything that is wrong with it at once: what stands around the text, and the text.
function rules.check(draft)
  local manifest = manifest_of(draft, 1)
  local errors = append({}, plugin_rules.check(manifest))
  local in_text, failure = plugin_rules.check_text(draft.text), nil
  if not in_text then in_text, failure = check_syntax(draft) end
  if failure then return nil, failure end
  append(errors, in_text)
  if #errors > 0 then return refused(errors) end
  return true
end


--- The rule of a draft that was checked, as though it were live.
function rules.made(draft, version)
  return plugin_rules.make(manifest_of(draft, version or 1), draft.text)
end


local function version_of(draft, number, note)
  local manifest = manifest_of(draft, number)
  return { manifest = manifest, text = draft.text, hash = plugin_rules.hash(manifest, draft.text),
    author = note.author, reason = note.reason }
end


function rules.create(tx, draft, note)
  local n, e = store.count(tx)
  if not n then return nil, e end
  if n >= MAX_RULES then
    return nil, err.new("conflict", ("there are %d rules, as many as may be"):format(n))
  end
  return store.create(tx, draft, version_of(draft, 1, note))
end


--- What the latest version becomes with these changes.
function rules.draft(rule, latest, changes)
  local draft = { name = rule.name, hook = rule.hook, text = latest.text }
  for _, name in ipairs(FIELDS) do
    draft[name] = latest.manifest[name]
    if changes[name] ~= nil then draft[name] = changes[name] end
  end
  if changes.text ~= nil then draft.text = changes.text end
  return draft
end


function rules.edit(tx, rule, draft, note)
  return store.add_version(tx, rule, version_of(draft, rule.version + 1, note))
end


function rules.live(rule)
  local found = rulebook.get(rule.name)
  return found and { version = found.version, hash = found.hash } or nil
end


local function is_done(event, live)
  if event.type == "unpublished" then return live == nil end
  return live ~= nil and live.version == event.version
end


--- Under the lock every publication that is `begun` is of somebody who died; without it one that is
--- old enough is.
function rules.settle(rule, is_locked)
  local list, e = store.begun(rule.id)
  if not list then return nil, e end
  for _, event in ipairs(list) do
    local age = time.now_ms() - time.parse(event.created_at)
    if is_locked or age > DEAD_MS then
      local done = is_done(event, rules.live(rule))
      local ok, e2 = store.finish(nil, event.id, done and "done" or "refused", { detail =
        not done and "the server stopped in the middle of it; nothing was changed" or nil })
      if not ok then return nil, e2 end
    end
  end
  return true
end


local function swap_once(changes, note)
  local live, e = generations.live()
  if not live then return nil, e end
  local hash, e2 = generations.with_rules(changes, note)
  if not hash then return nil, e2 end
  local ok, e3 = generations.activate(hash, { author = note.author, reason = note.reason,
    expect = live.hash })
  if ok then return hash end
  return nil, e3
end


-- Somebody else makes something live just now, or has done so since we looked.
local function is_in_the_way(failure)
  return err.is(failure, "precondition_failed") or err.is(failure, "busy")
end


local function swap(changes, note)
  local until_ms = time.mono_ms() + PATIENCE_MS
  repeat
    local hash, failure = swap_once(changes, note)
    if hash or not is_in_the_way(failure) or time.mono_ms() >= until_ms then
      return hash, failure
    end
  until not time.sleep(AGAIN_MS)
  return nil, err.new("cancelled", "the request was given up")
end


-- What the owner reads: why not. What nobody knows yet is looked up by the next who asks.
local function refuse(event_id, failure)
  if err.is(failure, "unknown_outcome") then return nil, failure end
  store.finish(nil, event_id, "refused", { detail = failure.message })
  if failure.retryable then return nil, failure end
  return nil, err.new("conflict", "it is not live: " .. tostring(failure.message))
end


-- The event first, then the generation, then what the tables remember of it.
local function change(rule, event, changes, ask)
  local ok, e = rules.settle(rule, ask.is_locked)
  if not ok then return nil, e end
  local event_id
  event_id, e = store.begin(rule.id, event)
  if not event_id then return nil, e end
  fault.crash "rules.before_swap"
  local hash, failure = swap(changes, event)
  if not hash then return refuse(event_id, failure) end
  fault.crash "rules.after_swap"
  local response
  response, e = ask.commit(function(tx)
    local done, why = store.finish(tx, event_id, "done", { generation = hash })
    if done then
      done, why = store.set(tx, rule.id, { state = event.type, published = event.version or false })
    end
    if done then done, why = store.restore(tx, rule.name) end
    return done, why
  end, { version = event.version, hash = event.hash, generation = hash })
  if response then guard.forget() end
  return response, e
end


local function find(rule_id)
  local rule, e = store.get(rule_id)
  if rule == nil then return nil, e end
  if not rule then return nil, err.new("not_found", "there is no such rule") end
  return rule
end


local function find_version(rule, number)
  local version, e = store.version(rule.id, number)
  if version == nil then return nil, e end
  if not version then return nil, err.new("not_found", "the rule has no such version") end
  return version
end


rules.find, rules.find_version = find, find_version


local function published(rule, ask)
  if rule.state == "archived" then
    return nil, err.new("conflict", "the rule is archived")
  end
  local version, e = find_version(rule, ask.version or rule.version)
  if not version then return nil, e end
  local event = { type = "published", version = version.number, hash = version.hash,
    author = ask.author, reason = ask.reason }
  return change(rule, event, { [rule.name] = { manifest = version.manifest, text = version.text } },
    ask)
end


local function unpublished(rule, ask)
  if not rules.live(rule) and rule.published == nil then
    return nil, err.new("conflict", "the rule is not live")
  end
  return change(rule, { type = "unpublished", author = ask.author, reason = ask.reason },
    { [rule.name] = false }, ask)
end


-- The rule is read again under the lock: somebody may have been first. Without Redis `expect` alone
-- keeps two apart: slower, for one of them begins anew.
local function locked(fn)
  return function(rule_id, ask)
    local held, e = lock.acquire("rules:publish", LOCK)
    if not held and not err.is(e, "conn_lost") then return nil, e end
    ask.is_locked = held ~= nil
    local rule, e2 = find(rule_id)
    if not rule then return nil, e2 end
    local response, e3 = fn(rule, ask)
    if held then held:release() end
    return response, e3
  end
end


rules.publish, rules.unpublish = locked(published), locked(unpublished)


--- Called again in every worker, without being published anew.
function rules.restore(tx, rule, note)
  local n, e = store.restore(tx, rule.name)
  if not n then return nil, e end
  if n == 0 then return nil, err.new("conflict", "the rule is not set aside") end
  local ok, e2 = store.set(tx, rule.id, { state = rule.published and "published" or "unpublished" })
  if ok then
    ok, e2 = store.event(tx, rule.id, { type = "restored", version = rule.published,
      author = note.author, reason = note.reason })
  end
  return ok, e2
end


return rules

-- till/cli/start - which generation a server begins with; asked by `moontill serve` itself.
--
-- Prints one line of JSON: { generation, previous, sequence, release, reason }, and has written the
-- generation to where workers load it from. `release`: it is not live in the database yet, and
-- becomes so when all workers have loaded it. docs/decisions/0009 says why it decides as it does.
local bundle = require "till.prim.bundle"
local changes = require "till.store.generation_changes"
local conf = require "till.prim.conf"
local generation = require "till.prim.generation"
local json = require "till.prim.json"
local say = require "till.cli.say"
local store = require "till.store.generations"
local term = require "till.prim.term"

local start = {}


-- The command runs on what the folders hold.
local function in_folders()
  local out = {}
  for _, path in ipairs(bundle.list("")) do out[path] = bundle.read(path) end
  return out
end


local function with_rules(files, rules)
  local out = {}
  for path, text in pairs(files) do out[path] = text end
  for path, text in pairs(rules) do
    if path:find("^rules/") then out[path] = text end
  end
  return out
end


local function release(files, reason)
  local hash, why = generation.save(files)
  if not hash then return nil, why end
  return { generation = hash, release = true, reason = reason }
end


local function take(hash, files, reason)
  local name, why = generation.save(files)
  if not name then return nil, why end
  if name ~= hash then
    return nil, ("generation %s: its texts in the database do not fit its name"):format(hash)
  end
  return { generation = hash, release = false, reason = reason }
end


-- Its library belongs to a program that this is not. We keep our own, and take nothing back.
local function take_own(files, live)
  local hash, e = store.last_of(generation.program())
  if hash == nil then return nil, e end
  local reason = ("what is live belongs to version %s and this is %s"):format(live.program,
    generation.program())
  local own = files
  if hash then
    own, e = store.files(hash)
    if not own then return nil, e end
  end
  local answer, why = release(own, reason)
  if not answer then return nil, why end
  answer.release, answer.is_foreign = false, true
  return answer
end


-- -> a reason to make the folders' content live | false
local function reason_for_folders(files, is_crashed)
  if is_crashed then return false end
  local mode = conf.get("generations.start")
  if mode == "folders" then return "what the folders hold" end
  if mode == "live" then return false end
  local is_known, e = store.is_known(store.parts_of(files))
  if is_known == nil then return nil, e end
  return not is_known and "nobody has seen yet what the folders hold"
end


local function why_live(is_crashed, is_same)
  if is_same then return "it is live, and what the folders hold" end
  return (is_crashed and "it is live, and the server before did not end in order"
    or "it is live, though the folders hold another one that is known") ..
    "; `moontill reload` takes the folders"
end


local function decide(is_crashed)
  local files = in_folders()
  local now, e = changes.live()
  if not now then return nil, e end
  if not now.hash then return release(files, "the first one"), nil, now end
  local live, e1 = store.get(now.hash)
  if not live then return nil, e1 or "the row of the live generation is gone" end
  local live_files, e2 = store.files(now.hash)
  if not live_files then return nil, e2 end
  files = with_rules(files, live_files)
  local is_same = generation.name(files) == now.hash
  local reason, e3 = false, nil
  if not is_same then reason, e3 = reason_for_folders(files, is_crashed) end
  if reason == nil then return nil, e3 end
  if reason then return release(files, reason), nil, now end
  if live.program ~= generation.program() then
    local own, why = take_own(files, live)
    return own, why, { sequence = 0 }
  end
  local answer, why = take(now.hash, live_files, why_live(is_crashed, is_same))
  return answer, why, now
end


function start.main(...)
  local answer, e, now = decide((...) == "--crashed")
  if not answer then return say.refused("serve", e or "the generation cannot be written") end
  local previous, e2 = changes.previous()
  if previous == nil then return say.refused("serve", e2) end
  answer.previous, answer.sequence = previous or nil, now.sequence
  term.write(json.encode(answer) .. "\n")
  return 0
end


return start

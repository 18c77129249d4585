-- till/cli/key - `moontill key create|list|revoke`
local audit = require "till.store.audit"
local id = require "till.util.id"
local json = require "till.prim.json"
local keys = require "till.store.keys"
local term = require "till.prim.term"
local say = require "till.cli.say"

local HELP = [[
usage: moontill key create --name NAME [--kind publishable|secret] [--role ROLE]…
                           [--reservation-minutes N] [--hold-minutes N]
       moontill key list [--json]
       moontill key revoke KEY_ID

The key is printed once, when it is made; the shop keeps its hash only.
]]

local OPTIONS = { ["--name"] = "name", ["--kind"] = "kind", ["--role"] = "roles",
  ["--reservation-minutes"] = "reservation_minutes", ["--hold-minutes"] = "hold_minutes" }
local MOST = { reservation_minutes = 1440, hold_minutes = 10080 }


local function refuse(e)
  return say.refused("key", e)
end


local function misuse(why)
  return say.misused("key", why, HELP)
end


-- As the admin API's routes do it.
local function note(action, subject, detail)
  local ok, e = audit.add { actor = "command", action = action, subject = subject,
    detail = detail or {} }
  if not ok then return refuse(e) end
  return 0
end


-- -> why not | nil
local function minutes_of(f)
  for name, most in pairs(MOST) do
    if f[name] then
      if f.kind ~= "publishable" then return "only carts of publishable keys hold stock" end
      local n = tonumber(f[name]:match("^%d+$"))
      if not n or n < 1 or n > most then
        return ("--%s is 1 to %d"):format(name:gsub("_", "-"), most)
      end
      f[name] = n
    end
  end
  return nil
end


local function create(args)
  local f, why = say.options(args, OPTIONS, { kind = "secret", roles = {} })
  if not f then return misuse(why) end
  if not f.name then return misuse("--name is needed") end
  if f.kind ~= "secret" and f.kind ~= "publishable" then
    return misuse("--kind is publishable or secret")
  end
  why = minutes_of(f)
  if why then return misuse(why) end
  local made, text = keys.create(f)
  if not made then return refuse(text) end
  term.write(made.id .. " " .. text .. "\n")
  return note("key.create", made.id, { kind = f.kind, name = f.name, roles = f.roles })
end


local function to_json(rows)
  local out = {}
  for i, row in ipairs(rows) do
    out[i] =
      { id = row.id, kind = row.kind, hint = row.hint, name = row.name,
        roles = json.array(row.roles), revoked = row.revoked or false }
  end
  return out
end


local function list(args)
  local rows, e = keys.list { limit = 100 }
  if not rows then return refuse(e) end
  if args[2] == "--json" then
    term.write(json.encode({ data = json.array(to_json(rows)) }) .. "\n")
    return 0
  end
  for _, row in ipairs(rows) do
    term.write(("%s  %-11s  …%s  %s%s  [%s]\n"):format(row.id, row.kind, row.hint, row.name,
      row.revoked and " (revoked)" or "", table.concat(row.roles, " ")))
  end
  return 0
end


local function revoke(args)
  if not id.valid("key", args[2]) then return misuse("revoke needs the id of a key") end
  local done, e = keys.revoke(args[2])
  if done == nil then return refuse(e) end
  if not done then return refuse("there is no such key, or it was revoked already") end
  return note("key.revoke", args[2])
end


local key = {}


--- @return the exit code
function key.main(...)
  local args = { ... }
  if args[1] == "create" then return create(args) end
  if args[1] == "list" then return list(args) end
  if args[1] == "revoke" then return revoke(args) end
  if args[1] == "--help" then
    term.write(HELP)
    return 0
  end
  return misuse((args[1] and args[1] .. ": " or "") .. "create, list or revoke?")
end


return key

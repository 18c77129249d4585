-- till/cli/user - `moontill user create|list|disable|password`
local access = require "till.flow.access"
local audit = require "till.store.audit"
local id = require "till.util.id"
local json = require "till.prim.json"
local people = require "till.store.people"
local term = require "till.prim.term"
local say = require "till.cli.say"

local HELP = [[
usage: moontill user create --email ADDRESS [--name NAME] [--role ROLE]…
       moontill user password --email ADDRESS
       moontill user list [--json]
       moontill user disable STAFF_ID

The password is read from the environment, MOONTILL_PASSWORD: arguments are seen by everybody.
]]

local MIN_PASSWORD = 10
local OPTIONS = { ["--email"] = "email", ["--name"] = "name", ["--role"] = "roles" }


local function refuse(e)
  return say.refused("user", e)
end


local function misuse(why)
  return say.misused("user", why, HELP)
end


local function parse(args)
  local f, why = say.options(args, OPTIONS, { roles = {} })
  if not f then return nil, why end
  if not f.email then return nil, "--email is needed" end
  f.password = term.env("MOONTILL_PASSWORD")
  if not f.password or #f.password < MIN_PASSWORD then
    return nil, ("MOONTILL_PASSWORD must have at least %d characters"):format(MIN_PASSWORD)
  end
  return f
end


-- As the admin API's routes do it.
local function note(action, subject, detail)
  local ok, e = audit.add { actor = "command", action = action, subject = subject,
    detail = detail or {} }
  if not ok then return refuse(e) end
  return 0
end


local function create(args)
  local f, why = parse(args)
  if not f then return misuse(why) end
  if #f.roles == 0 then f.roles = { "owner" } end
  local made, e = access.create_staff(f)
  if not made then return refuse(e) end
  term.write(made.id .. "\n")
  return note("staff.create", made.id, { roles = f.roles })
end


local function password(args)
  local f, why = parse(args)
  if not f then return misuse(why) end
  local digest, e = access.digest(f.password, "staff")
  if not digest then return refuse(e) end
  local done, e2 = people.staff.set_password(f.email, digest)
  if done == nil then return refuse(e2) end
  if not done then return refuse("there is nobody with this address") end
  local who, e3 = people.staff.id_of(f.email)
  if not who then return refuse(e3) end
  return note("staff.password", who)
end


local function to_json(rows)
  local out = {}
  for i, row in ipairs(rows) do
    out[i] =
      { id = row.id, email = row.email, name = row.name, roles = json.array(row.roles),
        disabled = row.disabled_at ~= nil }
  end
  return out
end


local function list(args)
  local rows, e = people.staff.list { limit = 100 }
  if not rows then return refuse(e) end
  if args[2] == "--json" then
    term.write(json.encode({ data = json.array(to_json(rows)) }) .. "\n")
    return 0
  end
  for _, row in ipairs(rows) do
    term.write(("%s  %s  %s%s  [%s]\n"):format(row.id, row.email, row.name,
      row.disabled_at and " (disabled)" or "", table.concat(row.roles, " ")))
  end
  return 0
end


local function disable(args)
  if not id.valid("staff", args[2]) then return misuse("disable needs the id of somebody") end
  local done, e = people.staff.disable(args[2])
  if done == nil then return refuse(e) end
  if not done then return refuse("there is nobody of that id, or he is disabled already") end
  return note("staff.disable", args[2])
end


local user = {}


--- @return the exit code
function user.main(...)
  local args = { ... }
  local run = ({ create = create, password = password, list = list, disable = disable })[args[1]]
  if run then return run(args) end
  if args[1] == "--help" then
    term.write(HELP)
    return 0
  end
  return misuse((args[1] and args[1] .. ": " or "") .. "create, password, list or disable?")
end


return user

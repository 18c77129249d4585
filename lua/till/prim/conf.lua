-- till/prim/conf - the configuration, read-only.
--
--   get("server.listen")  -> value; an option that does not exist throws
--   plugins()             -> { name = {...} } as this generation was made with; secrets unresolved
--   secret(ref)           -> string | nil, err. ref: a plain string, { ["$env"] = "NAME" } or
--                            { ["$file"] = "/path" }. Ask late and do not keep it.
--   place(path)           -> "conf/moontill.lua:12" | nil: where `plugins.<path>`, or as much of it
--                            as is there, was configured; for messages while a generation loads
--   signing_secret()      -> what the server seals cursors with; "" where there is none
local c = require "till.c.conf"
local bundle = require "till.c.bundle"
local json = require "till.c.json"

local conf = {}
local options, plugins


function conf.get(name)
  if not options then options = json.decode(c.options_json() or "{}") end
  local value = options[name]
  if value == nil then error("there is no option " .. tostring(name), 2) end
  return value
end


function conf.plugins()
  if not plugins then
    local err
    plugins, err = json.decode(bundle.read("conf/plugins.json") or "{}")
    if not plugins then error(err) end
  end
  return plugins
end


function conf.secret(ref)
  if type(ref) == "string" then return ref end
  if type(ref) ~= "table" then error("conf.secret: no reference", 2) end
  if ref["$env"] then return c.env(ref["$env"]) end
  if ref["$file"] then return c.file(ref["$file"]) end
  error("conf.secret: no reference", 2)
end


function conf.place(path)
  return c.place(path)
end


function conf.signing_secret()
  return c.signing_secret()
end


return conf

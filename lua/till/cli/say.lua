--- What commands have in common: reading `--name value`, and saying why they did not do their work.
local err = require "till.util.err"
local term = require "till.prim.term"


local say = {}


local ADVICE = {
  conn_lost = "the database cannot be reached: is it running, and do --var, mysql.socket or " ..
    "mysql.host name it?",
  timeout = "the database did not answer in time; try again",
}


--- It could not be done, or was refused. @param why  an error, or a sentence. @return 1
function say.refused(command, why)
  local text = err.is(why) and (ADVICE[why.code] or why.message) or tostring(why)
  term.err("moontill " .. command .. ": " .. text .. "\n")
  return 1
end


--- The command was not used as `help` says. @return 2
function say.misused(command, why, help)
  term.err("moontill " .. command .. ": " .. why .. "\n" .. help)
  return 2
end


--- Reads `--name VALUE` pairs of `args` from the second on
-- into `into`; a list there gathers.
-- @param names  option → field
-- @return the table, or nil and a sentence
function say.options(args, names, into)
  for i = 2, #args, 2 do
    local name, value = args[i], args[i + 1]
    local field = names[name]
    if not field then
      return nil, "there is no option " .. name
    elseif not value then
      return nil, name .. " needs a value"
    elseif type(into[field]) == "table" then
      table.insert(into[field], value)
    else
      into[field] = value
    end
  end
  return into
end


return say

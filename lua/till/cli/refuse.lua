--- How a command that could not do its work says so: exit code 1, and what to do next.
local err = require "till.util.err"
local term = require "till.prim.term"


local ADVICE = {
  conn_lost = "the database cannot be reached: is it running, and do --var, mysql.socket or " ..
    "mysql.host name it?",
  timeout = "the database did not answer in time; try again",
}


--- @param why  an error, or a sentence. @return 1
return function(command, why)
  local text = err.is(why) and (ADVICE[why.code] or why.message) or tostring(why)
  term.err("moontill " .. command .. ": " .. text .. "\n")
  return 1
end

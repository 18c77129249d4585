-- till/plugin/findings - what is wrong with plugins: thrown at once, or gathered where all of it is
-- wanted (`moontill plugin check`, and the trial before a reload).
--
--   findings.try(plugin, fn, ...)  -> what fn returned; while gathering nil where it threw
--   findings.add(plugin, message)  notes one; throws it where nobody gathers
--   findings.list()                -> { { plugin =, at = "file:line" or nil, message = }, ... }
--   findings.leave_out(plugin, reason), findings.left_out(plugin) -> reason | nil: that is no fault
--
-- A message begins with its place where it has one: "plugins/promo-x/handler.lua:3: ...".
local bundle = require "till.prim.bundle"
local co = require "till.prim.co"

local findings = {}

local gathers = co.process() == "check"
local list, left_out = {}, {}
local PLACELESS = { ["not enough memory"] = true, ["stack overflow"] = true }


local function split(text)
  local at, message = text:match("^([%w_%-%./]+:%d+):%s+(.*)$")
  if not at then at, message = text:match("^([%w_%-%./]+%.lua):%s+(.*)$") end
  return at, message or text
end


function findings.add(plugin, text)
  if not gathers then error(text, 0) end
  local at, message = split(text)
  list[#list + 1] = { plugin = plugin, at = at, message = message }
end


function findings.try(plugin, fn, ...)
  if not gathers then return fn(...) end
  local good, value = pcall(fn, ...)
  if good then return value end
  findings.add(plugin, PLACELESS[value] and bundle.overrun() or tostring(value))
end


function findings.list()
  return list
end


function findings.leave_out(plugin, reason)
  left_out[plugin] = reason
end


function findings.left_out(plugin)
  return left_out[plugin]
end


return findings

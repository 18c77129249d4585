-- support/folder - files for specs, in the folder of the shop that is there for them.
--
--   folder.write(name, text) -> path;  skips the test where there is no such shop
local t = require "till.test"
local file = require "till.prim.file"
local term = require "till.prim.term"

local folder = {}


function folder.write(name, text)
  local dir = term.env("MOONTILL_VAR")
  if dir == "var" or not file.stat(dir .. "/dev.json") then t.skip("no --var DIR to write to") end
  local path = dir .. "/spec-" .. name
  assert(file.write(path, text))
  return path
end


return folder

-- till/prim/generation - generations as files of this machine, and asking this server's master.
--
--   name(files)          -> the name of the generation of these files: { path = text }
--   save(files)          -> its name | nil, sentence; workers of this machine can load it then
--   read(name)           -> files | nil, sentence          has(name) -> is it here, and whole?
--   ask(command [, ms])  waits -> the master's answer (a table) | nil, err. `command` is a table as
--                        core/serve/control.h describes; an answer without `ok` is an error
--   served()             -> requests that this generation was asked since the last time
--   program()            -> the version of the program
--
-- An answer may come when this generation is not the live one any more: who asks for a change is
-- replaced by it, and goes on to its end.
local c = require "till.c.generation"
local json = require "till.prim.json"

local generation = { name = c.name, save = c.save, read = c.read, has = c.has,
  served = c.served, program = c.program }


function generation.ask(command, ms)
  local text, failure = c.ask(json.encode(command), ms)
  if not text then return nil, failure end
  return json.decode(text)
end


return generation

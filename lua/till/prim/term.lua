-- till/prim/term - what a command says.
--
--   write(text)   standard output;  err(text) standard error
--   is_tty()      is standard error a terminal?
--   progress(label, share)  a line that redraws itself on a terminal, one line each tenth elsewhere
--   env(name)     -> the environment's value | nil
local c = require "till.c.term"

local term = { write = c.write, err = c.err, is_tty = c.is_tty, env = c.env }

local shown = {}


function term.progress(label, share)
  local tty = c.is_tty()
  local step = math.floor(share * (tty and 100 or 10))
  if shown[label] == step then return end
  shown[label] = step
  local text = string.format("%s %3d %%", label, math.floor(share * 100))
  c.err((tty and "\r" or "") .. text .. ((not tty or share >= 1) and "\n" or ""))
end


return term

-- till/util/fsm - a table of states, checked when it is made.
--
--   local order = fsm.define("order", {
--     initial = "placed",
--     final = { "cancelled", "fulfilled" },
--     { from = "placed", event = "pay", to = "paid", guard = function(ctx) return ctx.due == 0,
--       "the order is not paid in full" end },
--     ...
--   })
--   order:next("placed", "pay", ctx) -> "paid" | nil, sentence
--   order:can("placed", "pay", ctx)  -> boolean
--   order:events("placed")           -> sorted names
--   order:states()                   -> sorted names
--   order:moves()                    -> its edges, in the order given: for printing
--
-- Refused when defined: an edge twice, a state that cannot be reached from the initial one, a state
-- without a way out that is not final, a final one with a way out. A guard answers true, or false
-- and a sentence; it must not change anything.
local fsm = {}
fsm.__index = fsm


local function add_edge(self, edge, i)
  for _, field in ipairs { "from", "event", "to" } do
    if type(edge[field]) ~= "string" then
      error(("fsm %s: edge %d has no `%s`"):format(self.name, i, field), 3)
    end
  end
  local edges = self.edges[edge.from] or {}
  self.edges[edge.from] = edges
  if edges[edge.event] then
    error(("fsm %s: %s on %s is there twice"):format(self.name, edge.event, edge.from), 3)
  end
  edges[edge.event] = edge
  self.known[edge.from], self.known[edge.to] = true, true
end


local function reach(self)
  local seen, todo = { [self.initial] = true }, { self.initial }
  while #todo > 0 do
    local state = table.remove(todo)
    for _, edge in pairs(self.edges[state] or {}) do
      if not seen[edge.to] then
        seen[edge.to] = true
        todo[#todo + 1] = edge.to
      end
    end
  end
  return seen
end


local function check(self)
  local seen = reach(self)
  for _, state in ipairs(self:states()) do
    local goes_on = self.edges[state] ~= nil
    if not seen[state] then
      error(("fsm %s: %s cannot be reached from %s"):format(self.name, state, self.initial), 3)
    elseif self.final[state] and goes_on then
      error(("fsm %s: %s is final and has a way out"):format(self.name, state), 3)
    elseif not self.final[state] and not goes_on then
      error(("fsm %s: %s has no way out and is not final"):format(self.name, state), 3)
    end
  end
end


function fsm.define(name, spec)
  local self = setmetatable({
    name = name, initial = spec.initial, edges = {}, final = {}, known = {},
    list = {},
  }, fsm)
  if type(spec.initial) ~= "string" then error("fsm " .. name .. ": no initial state", 2) end
  self.known[spec.initial] = true
  for _, state in ipairs(spec.final or {}) do
    self.final[state], self.known[state] = true, true
  end
  for i, edge in ipairs(spec) do
    add_edge(self, edge, i)
    self.list[i] = edge
  end
  check(self)
  return self
end


function fsm:next(state, event, ctx)
  if not self.known[state] then
    error(("fsm %s: no state %s"):format(self.name, tostring(state)), 2)
  end
  local edge = (self.edges[state] or {})[event]
  if not edge then return nil, ("%s is not possible while it is %s"):format(event, state) end
  if edge.guard then
    local good, why = edge.guard(ctx)
    if not good then return nil, why or ("%s is not allowed now"):format(event) end
  end
  return edge.to
end


function fsm:can(state, event, ctx)
  return self:next(state, event, ctx) ~= nil
end


local function sorted_keys(map)
  local out = {}
  for key in pairs(map) do out[#out + 1] = key end
  table.sort(out)
  return out
end


function fsm:events(state)
  return sorted_keys(self.edges[state] or {})
end


function fsm:states()
  return sorted_keys(self.known)
end


function fsm:moves()
  return self.list
end


return fsm

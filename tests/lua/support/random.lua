-- random.lua - numbers that are the same on every machine and run, so that a property that fails
-- can be seen failing again: Park and Miller's generator.
--
--   local random = require("tests.support.random").new(seed)
--   random.below(n)      0 .. n-1
--   random.chance(n)     true once in n times
--   random.pick(list)    random.shuffle(list) -> a new list
local random = {}


function random.new(seed)
  local self = {}

  function self.below(n)
    seed = seed * 16807 % 2147483647
    return math.floor(seed / 2147483647 * n)
  end

  function self.chance(n)
    return self.below(n) == 0
  end

  function self.pick(list)
    return list[1 + self.below(#list)]
  end

  function self.shuffle(list)
    local out = {}
    for i, value in ipairs(list) do out[i] = value end
    for i = #out, 2, -1 do
      local j = 1 + self.below(i)
      out[i], out[j] = out[j], out[i]
    end
    return out
  end

  for _ = 1, 8 do self.below(2) end
  return self
end


return random

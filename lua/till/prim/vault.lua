-- till/prim/vault - what is kept and must not be read from a stolen database
-- (core/trade/vault.h).
--
--   seal(place, text)     -> bytes | nil, err       for VARBINARY; up to 106 more than text
--   open(place, sealed)   -> text | nil, err        err "internal": changed, or of another place
--   reseal(place, sealed) -> bytes | nil, err       by the current key
--   is_current(sealed)    -> boolean | nil, err     false: reseal it
--   index(purpose, text)  -> 32 bytes | nil, err    equal for equal texts: to be stored
--   indexes(purpose, text)-> list | nil, err        by each key, to be searched for: IN (...)
--   of(ring)              -> a vault with these functions and other keys than vault.keys | nil, err
--
-- place is { table =, row =, column = }, texts: what is sealed opens nowhere else. The purpose of
-- an index is a name of its own, such as "customers.phone". err is "unavailable" where vault.keys
-- is empty, wrong, or lacks the key. Never log what was opened.
local c = require "till.c.vault"


-- `get` gives the keys, or nil and an err.
local function with(get)
  local vault = {}

  local function at(fn)
    return function(place, text)
      local keys, err = get()
      if not keys then return nil, err end
      return fn(keys, place.table, place.row, place.column, text)
    end
  end

  vault.seal, vault.open, vault.reseal = at(c.seal), at(c.open), at(c.reseal)

  function vault.is_current(sealed)
    local keys, err = get()
    if not keys then return nil, err end
    return c.is_current(keys, sealed)
  end

  function vault.indexes(purpose, text)
    local keys, err = get()
    if not keys then return nil, err end
    return c.indexes(keys, purpose, text)
  end

  function vault.index(purpose, text)
    local all, err = vault.indexes(purpose, text)
    if not all then return nil, err end
    return all[1]
  end

  return vault
end


local vault = with(c.configured)


function vault.of(ring)
  local keys, err = c.of(ring)
  if not keys then return nil, err end
  return with(function() return keys end)
end


return vault

-- till/prim/log - one JSON line an event.
--
--   debug, info, warn, error(event [, fields])   event: dotted lower case, "cart.completed"
--   email(s), name(s), phone(s)                   personal data: masks itself on the line
--
-- Values: strings, numbers, booleans, err objects, masked ones. The call's trace is added.
-- Secrets have no place in a line at all.
local c = require "till.c.log"

local log = { debug = c.debug, info = c.info, warn = c.warn, error = c.error }


function log.email(s) return { tostring(s), "email" } end


function log.name(s) return { tostring(s), "name" } end


function log.phone(s) return { tostring(s), "phone" } end


return log

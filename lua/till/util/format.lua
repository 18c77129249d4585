-- till/util/format - the named forms of strings that schemas know.
--
--   format.check(name, s) -> true | false, sentence     an unknown name throws
--   format.define(name, { check=, detail=, openapi= })   a layer above adds what it alone knows
--   format.openapi(name)  -> fields for a JSON Schema
--
-- `currency` is only a form here; till.http gives it the list of till.money.
local clock = require "till.util.clock"
local id = require "till.util.id"
local iso = require "till.util.iso"

local format = {}

local FORMATS = {}


function format.define(name, def)
  FORMATS[name] = def
end


local function of(name)
  local def = FORMATS[name]
  if not def then error("no such string format: " .. tostring(name), 3) end
  return def
end


function format.check(name, s)
  local def = of(name)
  if def.check(s) then return true end
  return false, def.detail
end


function format.openapi(name)
  return of(name).openapi
end


local EMAIL = "^[^%s@<>()%[%],;:\\\"%c]+@[%w\128-\255%-%.]+$"


local function is_email(s)
  if #s > 254 or not s:find(EMAIL) then return false end
  local mailbox, host = s:match("^(.*)@(.*)$")
  if #mailbox > 64 or mailbox:find("^%.") or mailbox:find("%.$") or mailbox:find("..", 1, true) then
    return false
  end
  return host:find("^[%w\128-\255].*%.[%w\128-\255][%w\128-\255%-]*[%w\128-\255]$") ~= nil
    and not host:find("..", 1, true)
end


format.define("email", {
  check = is_email,
  detail = "must be an email address such as ann@example.com",
  openapi = { format = "email" },
})

format.define("country", {
  check = iso.country,
  detail = "must be a country of ISO 3166-1 in two capital letters, such as GY",
  openapi = { pattern = "^[A-Z]{2}$" },
})

format.define("currency", {
  check = function(s) return s:find("^%u%u%u$") ~= nil end,
  detail = "must be a currency of ISO 4217 in three capital letters, such as GYD",
  openapi = { pattern = "^[A-Z]{3}$" },
})

format.define("handle", {
  check = function(s) return #s <= 255 and s:find("^[a-z0-9][a-z0-9-]*$") ~= nil end,
  detail = "must be a handle: small letters, digits and hyphens, such as tea-pot",
  openapi = { pattern = "^[a-z0-9][a-z0-9-]*$", maxLength = 255 },
})

format.define("sku", {
  check = function(s) return #s <= 64 and s:find("^%w[%w%._/-]*$") ~= nil end,
  detail = "must be a SKU: letters, digits and . _ / -, at most 64 characters",
  openapi = { pattern = "^[A-Za-z0-9][A-Za-z0-9._/-]*$", maxLength = 64 },
})

-- What the tables and the clock of the core can hold.
local FIRST_MS, LAST_MS = 0, 253402300799999
local MAX_TIME = 40 -- bytes


local function is_time(s)
  if #s > MAX_TIME then return false end
  local ms = clock.parse(s)
  return ms ~= nil and ms >= FIRST_MS and ms <= LAST_MS
end


format.define("date-time", {
  check = is_time,
  detail = "must be a time of RFC 3339, from 1970 to 9999, such as 2026-11-20T10:00:00Z",
  openapi = { format = "date-time", maxLength = MAX_TIME },
})

format.define("date", {
  check = clock.date,
  detail = "must be a date such as 2026-11-20",
  openapi = { format = "date" },
})

format.define("decimal", {
  -- linear: of 32 bytes at most
  check = function(s) return #s <= 32 and s:find("^%d+%.?%d*$") ~= nil and not s:find("%.$") end,
  detail = "must be a decimal number in quotes, such as \"9.975\"",
  openapi = { pattern = "^[0-9]+(\\.[0-9]+)?$", maxLength = 32 },
})

format.define("url", {
  check = function(s) return #s <= 2048 and s:find("^https?://[%w%.%-%[%]:][^%s%c]*$") ~= nil end,
  detail = "must be a URL that begins with https:// or http://",
  openapi = { format = "uri", maxLength = 2048 },
})

for prefix, what in pairs(id.PREFIXES) do
  format.define("id:" .. prefix, {
    check = function(s) return id.valid(prefix, s) end,
    detail = ("must be the id of %s: %s_ and 26 characters"):format(what, prefix),
    openapi = { pattern = "^" .. prefix .. "_[0-7][0-9A-HJKMNP-TV-Z]{25}$" },
  })
end


return format

-- till/util/err - the one kind of error value.
--
--   local e = err.new("sold_out", "3 wanted, 2 there", { errors = {...} })
--   return nil, e:at("checkout.reserve")
--
--   new(code, message [, fields])  code: one of the status table of C (core/base/status.h); another
--                                  throws. The object has code, message, retryable, http, title and
--                                  everything in `fields`, which may override those but `code`.
--   is(value [, code])             is it such an object (with that code)?
--   e:at(where)                    prefixes `where` to the trace and returns e: the outermost first
--   tostring(e)                    "code: message (where)"
--
-- `message` is for logs and developers; what a client reads is `title` and what a handler chose.
-- C makes the same objects (till_push_failure) with `err.meta`.
-- Under plain luajit (the benchmarks) there is no status table: there any code passes, as a 500.
local err = {}

local has_c, status = pcall(require, "till.c.status")
local known = has_c and status.table or nil
local unknown = { retryable = false, http = 500, title = "" }

local methods = {}
local meta = { __index = methods }
err.meta = meta


function methods:at(where)
  self.where = self.where and where .. " > " .. self.where or where
  return self
end


function meta.__tostring(self)
  local text = tostring(self.code) .. ": " .. tostring(self.message)
  return self.where and text .. " (" .. self.where .. ")" or text
end


function err.new(code, message, fields)
  local row = known and known[code] or not known and unknown
  if not row then error("there is no status " .. tostring(code), 2) end
  local self = { retryable = row.retryable, http = row.http, title = row.title }
  if fields then
    for key, value in pairs(fields) do self[key] = value end
  end
  self.code, self.message = code, message
  return setmetatable(self, meta)
end


function err.is(value, code)
  if type(value) ~= "table" or getmetatable(value) ~= meta then return false end
  return code == nil or value.code == code
end


return err

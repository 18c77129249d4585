-- till/http/ctx - what a handler is given.
--
--   ctx.params ctx.query ctx.body     checked
--   ctx.req                           as it came
--   ctx.auth                          { kind, key_id, session_id, customer_id, staff_id, roles }
--   ctx.route                         the route
--   ctx.if_match                      text of the entity tag to be changed ("7"), nil without one;
--                                     compare with ctx:matches(version)
--   ctx.idem                          { key, resumed } on a request under an Idempotency-Key
--
--   ctx:json(status, body [, { etag =, headers =, keep_ms = }]) -> response
--   ctx:empty()                       -> 204
--   ctx:matches(version) -> true | nil, err(precondition_failed)
--   ctx:transaction(fn)  -> what fn(tx) returned | nil, err; under an Idempotency-Key fn returns
--                           the response, which is recorded in the same transaction
--   ctx:finish(tx, response) -> true | nil, err     the same, for a transaction of one's own;
--   ctx:record(script, response [, pieces])         the same with a script; pieces as in
--                                                   till.store.records
--   ctx:committed()                                 call it once that one is committed
--   ctx:claim()          -> response to send instead | nil | nil, err      where the route's
--                           idempotency is "late": nothing may be done under the key before
--                           that, or it is done in one script with its record
--   ctx:claim_in(script) -> function to be called once it has run    the same with a script, which
--                           is refused where the key has a record
--   ctx:page()           -> { limit, after, before } | nil, err      for routes with page = true
--   ctx:list(rows, page, render, key_of) -> the body of a page; rows has up to limit + 1
local err = require "till.util.err"
local cursor = require "till.util.cursor"
local conf = require "till.prim.conf"
local crypto = require "till.prim.crypto"
local json = require "till.prim.json"
local sql = require "till.prim.sql"
local idempotency = require "till.http.idempotency"
local respond = require "till.http.respond"

-- Where nobody gave one (a check without configuration) its cursors end with this VM.
local function seal()
  local given = conf.signing_secret()
  return given ~= "" and given or crypto.random(32)
end

cursor.secret(seal())

local methods = {}
local meta = { __index = methods }


function methods:json(status, body, opts)
  return respond.json(status, body, opts)
end


function methods:empty()
  return respond.json(204, nil)
end


--- Weak tags never match (RFC 9110 13.1.1).
function methods:matches(version)
  local given = self._if_match
  if not given or given.any then return true end
  local wanted = respond.etag(version)
  for _, tag in ipairs(given.tags) do
    if not tag.weak and '"' .. tag.text .. '"' == wanted then return true end
  end
  return nil, err.new("precondition_failed",
    "It was changed since you read it. Read it again, then decide.")
end


local function must_respond(response)
  if not respond.is(response) then
    error("under an Idempotency-Key the transaction must return ctx:json(...) or nil, err", 0)
  end
end


function methods:finish(tx, response)
  if not self.idem then return true end
  must_respond(response)
  local good, failure = idempotency.finish(self, tx, response)
  if not good then return nil, failure end
  self.idem.pending = true
  return true
end


function methods:record(script, response, pieces)
  if not self.idem then return end
  must_respond(response)
  idempotency.record_in(self, script, response, pieces)
  self.idem.pending = true
end


function methods:claim()
  return idempotency.claim_late(self)
end


function methods:claim_in(script)
  return idempotency.claim_in(self, script)
end


--- The record is valid when the transaction is: only then the router leaves it alone.
function methods:transaction(fn, opts)
  if not self.idem then return sql.transaction(fn, opts) end
  local response, failure = sql.transaction(function(tx)
    local answer, why = fn(tx)
    if answer == nil then return nil, why end
    must_respond(answer)
    local good
    good, why = idempotency.finish(self, tx, answer)
    if not good then return nil, why end
    return answer
  end, opts)
  if response == nil then return nil, failure end
  self.idem.recorded = true
  return response
end


--- After a transaction of one's own with ctx:finish in it was committed.
function methods:committed()
  if self.idem and self.idem.pending then self.idem.recorded = true end
end


function methods:page()
  local query, out = self.query, { limit = self.query.limit }
  for _, side in ipairs { "after", "before" } do
    if query[side] then
      local keys, failure = cursor.read(self.route.path, query[side])
      if not keys then return nil, failure end
      out[side] = keys
    end
  end
  if out.after and out.before then
    return nil, err.new("invalid_cursor", "Give after or before, not both.")
  end
  return out
end


--- `key_of(row)` -> list of the values that the rows are sorted by, the id last.
--- With `before` the rows come in reverse order, nearest first, as the statement finds them.
function methods:list(rows, page, render, key_of)
  local data, more = {}, #rows > page.limit
  local n = math.min(#rows, page.limit)
  for i = 1, n do data[i] = rows[page.before and n + 1 - i or i] end
  local first, last = data[1], data[n]
  local out = { data = {}, has_more = more }
  if page.before then out.has_more = n > 0 end
  for i = 1, n do out.data[i] = render and render(data[i]) or data[i] end
  json.array(out.data)
  if n == 0 then return out end
  if out.has_more then out.next_cursor = cursor.make(self.route.path, key_of(last)) end
  if page.after or page.before and more then
    out.prev_cursor = cursor.make(self.route.path, key_of(first))
  end
  return out
end


local ctx = {}


function ctx.new(route, req, who, params, query, body, if_match)
  local tag = if_match and not if_match.any and if_match.tags[1]
  return setmetatable({
    route = route, req = req, auth = who, params = params, query = query, body = body,
    if_match = tag and (tag.weak and "W/" or "") .. tag.text or nil, _if_match = if_match,
  }, meta)
end


return ctx

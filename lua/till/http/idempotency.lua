-- till/http/idempotency - one effect for one Idempotency-Key, around a handler.
--
--   idempotency.claim(route, ctx) -> nil (run the handler), or the response to send instead
--   idempotency.claim_late(ctx) -> the same, for a route that does not have it claimed beforehand
--   idempotency.claim_in(ctx, script) -> function to be called once it has run: the key is claimed
--                        with the script, or the script is refused
--   idempotency.record_in(ctx, script, response, pieces)    as finish, with a till.store.script
--   idempotency.finish(ctx, tx, response)   inside the handler's transaction (ctx:transaction does)
--   idempotency.settle(ctx, response, failure) -> true once the record says what was answered
--
-- The record's states are those of core/trade/idem.h. What settle does with a claim that the
-- handler left open:
--
--   answered, below 400           recorded, in a transaction of its own
--   202, no outcome yet           taken back: the same key asks for it again
--   a refusal, below 500          taken back: nothing was changed, and the body may be mended
--   a failure worth trying again  taken back: the same key runs again
--   any other failure, a fault    recorded: the same key says the same again
--   the call was cancelled        left running: it is free again when its time is over, `resumed`
--
-- Who is refused, or told 503, may come back at once. Where his claim cannot be taken back then it
-- is void (till.http.idempotency_void). Where the time was up (504) or no outcome is known it is
-- left to its lease: something of it may still be on its way.
--
-- A route with idempotency = "late" begins without a claim. Its handler does everything in one
-- script with the record, or claims the key before it does anything. What was never claimed needs
-- not be taken back; what is to be recorded is claimed for that.
local err = require "till.util.err"
local conf = require "till.prim.conf"
local idem = require "till.prim.idem"
local json = require "till.prim.json"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local sql = require "till.prim.sql"
local records = require "till.store.records"
local respond = require "till.http.respond"
local void = require "till.http.idempotency_void"

local idempotency = {}

-- What is made anew for each answer, or belongs to the connection, is not replayed.
local NOT_KEPT = { date = true, ["x-request-id"] = true, ["set-cookie"] = true }


local function key_of(route, req)
  local header = req.headers["idempotency-key"]
  if not header then
    if route.idempotency ~= "optional" then
      return nil, err.new("idempotency_key_missing",
        "Send an Idempotency-Key of your own making, a new one for each thing to be done.")
    end
    return false
  end
  local key = idem.parse(header)
  if not key then
    return nil, err.new("idempotency_key_invalid",
      "The key has 1 to 255 visible ASCII characters, bare or in quotes.")
  end
  -- it is kept, so it is looked at as bodies are
  local _, failure = json.decode_foreign(json.encode { key })
  if failure then
    return nil, err.new("card_number_refused", "The Idempotency-Key looks like the number of a"
      .. " payment card. Nothing of the request was kept. Make a random one, as a UUID is.")
  end
  return key
end


-- A key is of who asks, not of his session: he may have to log in again before he hears what became
-- of his request. All guests of a channel have one credential: theirs is of the path as well.
local function scope_of(route, who, path)
  local caller = who.staff_id or who.customer_id or who.session_id
  if caller or who.kind ~= "publishable" then path = route.path end
  return ("%s %s %s"):format(caller or who.key_id or who.kind, route.method, path)
end


local function replayed(claim)
  metrics.add("till_idempotent_replays_total")
  local headers = claim.headers
  if type(headers) == "string" then headers = headers ~= "" and json.decode(headers) or {} end
  headers = headers or {}
  headers["idempotent-replayed"] = "true"
  return respond.raw(claim.status, headers, claim.body or "")
end


local function answer_to(claim)
  if claim.outcome == "replay" then return replayed(claim) end
  if claim.outcome == "mismatch" then
    return nil, err.new("idempotency_key_reused",
      "This Idempotency-Key was used with another body, or for another address. Make a new key for"
        .. " a new request.")
  end
  return nil, err.new("idempotency_in_flight",
    "The first request with this key is still running. Ask again in a moment.",
    { retry_after_ms = claim.retry_after_ms or 1000 })
end


-- Who was not told whether he has it does nothing under it.
local function claim(i)
  local clear, why = void.clear(i)
  if not clear then return nil, why:at("idempotency") end
  local answer, failure = idem.claim(i.scope, i.key, i.print, conf.get("idem.lease_ms"))
  if not answer then
    if failure.claim then void.add({ scope = i.scope, key = i.key, claim = failure.claim }) end
    return nil, failure:at("idempotency")
  end
  if answer.outcome ~= "run" then return answer_to(answer) end
  i.claim, i.resumed = answer.claim, answer.resumed or false
  return nil
end


function idempotency.claim(route, ctx)
  local key, failure = key_of(route, ctx.req)
  if failure then return nil, failure end
  if not key then return nil end
  local req = ctx.req
  ctx.idem = { key = key, scope = scope_of(route, ctx.auth, req.path), resumed = false,
    recorded = false,
    print = idem.fingerprint(req.method, req.path, req.body or "") }
  if route.idempotency == "late" then return nil end
  return claim(ctx.idem)
end


--- Who is told of another's answer, or that he has to wait, has nothing to record.
function idempotency.claim_late(ctx)
  local i = ctx.idem
  if i.claim then return nil end
  local instead, failure = claim(i)
  if instead or failure then i.recorded = true end
  return instead, failure
end


function idempotency.claim_in(ctx, script)
  local i = ctx.idem
  local number = records.claim(script, i, conf.get("idem.lease_ms"))
  return function() i.claim = number end
end


local function kept(headers)
  local out = {}
  for name, value in pairs(headers) do
    if not NOT_KEPT[name] then out[name] = value end
  end
  return json.encode(out)
end


function idempotency.finish(ctx, tx, response)
  local i = ctx.idem
  local good, failure = idem.finish(tx, i.scope, i.key, i.claim, response.status,
    kept(response.headers), response.body)
  if good then return true end
  if err.is(failure, "conflict") then
    failure = err.new("idempotency_in_flight", "This request took so long that another one with its"
      .. " key has taken over. Ask again in a moment.", { retry_after_ms = 1000 })
  end
  return nil, failure:at("idempotency.finish")
end


function idempotency.record_in(ctx, script, response, pieces)
  records.answer(script, ctx.idem, response.status, kept(response.headers),
    pieces or response.body)
end


local function record(ctx, response)
  if not ctx.idem.claim then
    local instead, failure = claim(ctx.idem)
    if instead or failure then return end
  end
  local good, failure = sql.transaction(function(tx)
    return idempotency.finish(ctx, tx, response)
  end)
  if good then return end
  log.warn("idempotency.unrecorded", { scope = ctx.idem.scope, error = tostring(failure) })
end


local function take_back(i, is_void)
  local good, failure = idem.forget(i.scope, i.key, i.claim)
  if good or err.is(failure, "conflict") then return end
  if is_void then return void.add(i, true) end
  log.warn("idempotency.kept", { scope = i.scope, error = tostring(failure) })
end


function idempotency.settle(ctx, response, failure)
  local i = ctx.idem
  if not i or i.recorded then return end
  i.recorded = true
  if failure and failure.code == "cancelled" then return end
  local is_refusal = response.status >= 400 and response.status < 500
  -- "Accepted" and "unknown" tell that there is no outcome yet: the same key asks for it again.
  local is_open = response.status == 202 or failure and failure.code == "unknown_outcome"
  if is_refusal or is_open or failure and failure.retryable then
    if i.claim then take_back(i, is_refusal or response.status == 503 and not is_open) end
  else
    record(ctx, response)
  end
end


return idempotency

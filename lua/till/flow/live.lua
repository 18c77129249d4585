-- till/flow/live - what clients are told of as it happens: their cart, and what is in stock.
--
--   open_cart(auth, cart_id) -> states | nil, err      states of till.flow.live_state, for
--   open_stock(skus) -> states | nil, err              respond.stream
--   background()      looks for as long as this generation is live
--
-- The streams are the core's (till.prim.live): who was connected before this generation is watched
-- by it. Truth is in the tables: each second one statement asks for the versions of all carts that
-- are watched here, and one for the units of all that lies in them; what is found to differ from
-- its tag is read whole and told. Hints (till.flow.live_hints) only make that sooner: some
-- milliseconds after the commit; without them it is within the second.
local carts = require "till.store.carts"
local cart_flow = require "till.flow.cart"
local co = require "till.prim.co"
local err = require "till.util.err"
local hints = require "till.flow.live_hints"
local live_state = require "till.flow.live_state"
local live_store = require "till.store.live"
local log = require "till.prim.log"
local offers = require "till.store.offers"
local redis = require "till.prim.redis"
local streams = require "till.prim.live"
local time = require "till.prim.time"

local live = {}

local LOOK_MS, GATHER_MS, IDLE_MS = 1000, 10, 50 -- idle: while nobody has a stream
local AT_ONCE = 500 -- variants of one statement

-- What is known of the carts that are watched: { version, state, owner, head, lines }. `wanted` is
-- what lies in them; both are of this generation and fill again by themselves.
local known, wanted = {}, {}
local names = {} -- variant id -> sku, of the stock that is watched
local dirty = {} -- topics of hints
local look_again


-- ---- stock -----------------------------------------------------------------------------------

-- -> units that are there, those and what may be promised besides | nil, err
local function units_of(variant_ids)
  local out, all = {}, {}
  for from = 1, #variant_ids, AT_ONCE do
    local part = { unpack(variant_ids, from, math.min(from + AT_ONCE - 1, #variant_ids)) }
    local found, e = offers.load(part)
    if not found then return nil, e end
    for v, offer in pairs(found) do
      out[v], all[v] = offer.available, offer.available + offer.more
    end
  end
  return out, all
end


local function keys(set)
  local out = {}
  for key in pairs(set) do out[#out + 1] = key end
  return out
end


-- ---- the begin of a stream -------------------------------------------------------------------

local function lines_of(cart)
  local out = {}
  for i, line in ipairs(cart.lines) do
    out[i] = { variant_id = line.variant_id, quantity = line.quantity }
  end
  return out
end


local function remember(cart)
  local lines = lines_of(cart)
  known[cart.id] = { version = cart.version, state = cart.state, lines = lines,
    owner = live_store.owner(cart), head = live_state.head_of(cart) }
  for _, line in ipairs(lines) do wanted[line.variant_id] = true end
end


-- -> units for sale, units held for the cart | nil, nil, err
local function units_for(cart)
  local set = {}
  for _, line in ipairs(cart.lines) do set[line.variant_id] = true end
  local there, free = units_of(keys(set))
  if not there then return nil, nil, free end
  if not live_state.is_short(cart.lines, free) then return free end
  local held, e2 = live_store.held({ cart.id })
  if not held then return nil, nil, e2 end
  return free, held[cart.id]
end


function live.open_cart(auth, cart_id)
  local cart, e = cart_flow.get(auth, cart_id)
  if not cart then return nil, e end
  local free, held, e2 = units_for(cart)
  if not free then return nil, e2 end
  remember(cart)
  return { live_state.of_cart(cart, free, held) }
end


function live.open_stock(skus)
  local ids, e = live_store.sold(skus)
  if not ids then return nil, e end
  local list, states = {}, {}
  for i, sku in ipairs(skus) do
    if not ids[sku] then
      return nil, err.new("not_found", ("there is no product with the SKU %s"):format(sku))
    end
    list[i] = ids[sku]
  end
  local free, e2 = units_of(list)
  if not free then return nil, e2 end
  for i, variant_id in ipairs(list) do
    names[variant_id] = skus[i]
    states[i] = live_state.of_stock(variant_id, skus[i], free[variant_id])
  end
  return states
end


-- ---- looking ---------------------------------------------------------------------------------

local function tell(state, before, changes)
  if state.tag == before then return end
  streams.set(state.topic, state.owner, state.tag, state.json, changes)
end


local function is_news(cart_id, head)
  local k = known[cart_id]
  return not k or k.version ~= head.version or k.state ~= head.state or k.owner ~= head.owner
end


-- Reads those that were changed; gives all back that are there still.
local function carts_now(cart_ids)
  local heads, e = live_store.heads(cart_ids)
  if not heads then return nil, e end
  local there, fresh = {}, {}
  for _, cart_id in ipairs(cart_ids) do
    if not heads[cart_id] then
      streams.finish("cart:" .. cart_id)
    elseif is_news(cart_id, heads[cart_id]) then
      local cart, e2 = carts.get(cart_id)
      if cart == nil then return nil, e2 end
      if cart then
        remember(cart)
        fresh[cart_id], there[#there + 1] = cart, cart_id
      end
    else
      there[#there + 1] = cart_id
    end
  end
  return there, fresh
end


local function held_by_short(cart_ids, free)
  local short = {}
  for _, cart_id in ipairs(cart_ids) do
    if live_state.is_short(known[cart_id].lines, free) then short[#short + 1] = cart_id end
  end
  return live_store.held(short)
end


local function tell_cart(cart_id, cart, free, held)
  local k, topic = known[cart_id], "cart:" .. cart_id
  local before = streams.tag(topic)
  if not before or live_state.tag_of(k.head, k.lines, free, held) == before then return true end
  local e
  if not cart then cart, e = carts.get(cart_id) end
  if not cart then return cart, e end
  -- Whoever began meanwhile may have read a newer one, and it may be another's by now.
  if cart.version < known[cart_id].version then return true end
  remember(cart)
  local state = live_state.of_cart(cart, free, held)
  tell(state, before, live_state.changes(before, state.tag))
  return true
end


local function tell_stock(variant_ids, free)
  local unnamed = {}
  for _, variant_id in ipairs(variant_ids) do
    if not names[variant_id] then unnamed[#unnamed + 1] = variant_id end
  end
  local found, e = live_store.names(unnamed)
  if not found then return nil, e end
  for variant_id, sku in pairs(found) do names[variant_id] = sku end
  for _, variant_id in ipairs(variant_ids) do
    local topic, sku = "stock:" .. variant_id, names[variant_id]
    local before = streams.tag(topic)
    if before and sku then
      tell(live_state.of_stock(variant_id, sku, free[variant_id] or 0), before,
        streams.changes.availability)
    end
  end
  return true
end


-- `topics` are watched all of them.
local function look(topics)
  local cart_ids, variant_ids, set = {}, {}, {}
  for topic in pairs(topics) do
    local kind, name = topic:match("^(%l+):(.+)$")
    if kind == "cart" then cart_ids[#cart_ids + 1] = name
    else
      variant_ids[#variant_ids + 1] = name
      set[name] = true
    end
  end
  local there, fresh = carts_now(cart_ids)
  if not there then return nil, fresh end
  for _, cart_id in ipairs(there) do
    for _, line in ipairs(known[cart_id].lines) do set[line.variant_id] = true end
  end
  local free, all = units_of(keys(set))
  if not free then return nil, all end
  local held, e2 = held_by_short(there, all)
  if not held then return nil, e2 end
  for _, cart_id in ipairs(there) do
    local done, e3 = tell_cart(cart_id, fresh[cart_id], all, held[cart_id])
    if done == nil then return nil, e3 end
  end
  return tell_stock(variant_ids, free)
end


-- ---- when ------------------------------------------------------------------------------------

-- Carts that nobody watches any more are forgotten, and what lies in them.
local function forget(watched)
  wanted = {}
  for cart_id, k in pairs(known) do
    if watched["cart:" .. cart_id] then
      for _, line in ipairs(k.lines) do wanted[line.variant_id] = true end
    else
      known[cart_id] = nil
    end
  end
  for variant_id in pairs(names) do
    if not watched["stock:" .. variant_id] then names[variant_id] = nil end
  end
end


local function has_any(lines, moved)
  for _, line in ipairs(lines) do
    if moved[line.variant_id] then return true end
  end
  return false
end


-- A cart is looked at too where something of it has moved.
local function hinted()
  local topics, moved = {}, {}
  for topic in pairs(dirty) do
    local variant_id = topic:match("^stock:(.+)$")
    if variant_id then moved[variant_id] = true end
    if streams.tag(topic) then topics[topic] = true end
  end
  dirty = {}
  if not next(moved) then return topics end
  for cart_id, k in pairs(known) do
    if has_any(k.lines, moved) and streams.tag("cart:" .. cart_id) then
      topics["cart:" .. cart_id] = true
    end
  end
  return topics
end


local function all()
  local watched = streams.watched()
  dirty = {}
  forget(watched)
  return watched
end


local function is_wanted(topic)
  local variant_id = topic:match("^stock:(.+)$")
  return streams.tag(topic) or variant_id and wanted[variant_id]
end


local function on_hints(topics)
  if streams.streams() == 0 then return end
  for _, topic in ipairs(topics) do
    if is_wanted(topic) then dirty[topic] = true end
  end
  if next(dirty) then look_again:signal() end
end


local function on_message(text)
  if not text then return look_again:signal("all") end
  local topics = {}
  for topic in text:gmatch("[^\n]+") do topics[#topics + 1] = topic end
  on_hints(topics)
end


local function try_look(topics)
  if not next(topics) then return end
  local good, done, e = pcall(look, topics)
  if not good then return log.error("live.fault", { error = tostring(done) }) end
  if not done then log.warn("live.unread", { error = tostring(e) }) end
end


-- Redis is listened to while there is somebody to tell.
local function listen(heard)
  if streams.streams() > 0 then return heard or redis.subscribe(hints.CHANNEL, on_message) end
  if heard then heard:close() end
end


local function run()
  local due, heard = 0, nil
  while not co.closing() do
    heard = listen(heard)
    local now = time.mono_ms()
    if streams.streams() > 0 then
      local is_due = now >= due
      if is_due then due = now + LOOK_MS end
      try_look(is_due and all() or hinted())
    end
    local left = streams.streams() > 0 and due - time.mono_ms() or IDLE_MS
    local why = look_again:wait(math.max(1, math.min(LOOK_MS, left)))
    if why == "all" then due = 0 elseif why then time.sleep(GATHER_MS) end
  end
end


function live.background()
  look_again = co.waiter()
  hints.listen(on_hints)
  co.spawn(run)
end


return live

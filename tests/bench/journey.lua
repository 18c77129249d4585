-- For wrk: shoppers who list, choose, fill a cart and pay, one after the other, for a while.
--
--   wrk -t16 -c16 -d10 -s journey.lua URL -- KEY CURSORS        a cursor of the list a line; a thread is a shopper
--
-- A thread of wrk has a state of Lua of its own, and here one connection: what it is answered is what it goes on with.
local ADDRESS = '{"first_name":"Ada","last_name":"Lovelace","address1":"12 St James\'s Square","city":"London",'
  .. '"postal_code":"SW1Y 4JH","country":"GB"}'
local WORDS = { "hanging+heart", "lunch+bag", "cake+stand", "mug", "candle", "vintage", "red+bag", "clock", "box+set", "tea" }
local CART = "/store/v1/carts"

local cursors, at, step, run, threads = {}, {}, 1, nil, {}
orders, failed, why = 0, 0, nil -- asked for by `done`, so they are global


local function any(list)
  return list[math.random(#list)]
end


-- The first id of this kind in the text, after `from` if given.
local function id_of(kind, text, from)
  local _, begin = text:find(from or "", 1, true)
  return text:match('"(' .. kind .. '_%w+)"', begin)
end


-- In their order: { what is asked for, what is kept of the answer }.
local STEPS = {
  { function() return "GET", "/store/v1/products?limit=24" .. any(cursors) end,
    function(body)
      local found = {}
      for id in body:gmatch '"id":"(prod_%w+)"' do found[#found + 1] = id end
      at.product = any(found)
      return at.product
    end },
  { function() return "GET", "/store/v1/search?q=" .. any(WORDS) end },
  { function() return "GET", "/store/v1/products/" .. at.product end,
    function(body) at.variant = id_of("var", body, '"variants":') return at.variant end },
  { function() return "POST", CART, '{"currency":"GBP","country":"GB"}' end,
    function(body) at.cart = CART .. "/" .. (id_of("cart", body) or "") return at.cart ~= CART .. "/" end },
  { function() return "POST", at.cart .. "/lines", '{"variant_id":"' .. at.variant .. '","quantity":1}' end },
  { function()
    return "PATCH", at.cart, '{"email":"ada@example.com","shipping_address":' .. ADDRESS
      .. ',"billing_address":' .. ADDRESS .. "}"
  end },
  { function() return "GET", at.cart .. "/shipping-options" end,
    function(body) at.option = body:match '"id":"([^"]+)"' return at.option end },
  { function() return "PATCH", at.cart, '{"shipping_option_id":"' .. at.option .. '"}' end },
  { function() return "POST", at.cart .. "/payment-sessions", '{"provider":"manual"}' end },
  { function() return "POST", at.cart .. "/complete", "{}" end,
    function(body)
      at.order = body:find('"type":"order"', 1, true) and id_of("ord", body)
      return at.order
    end },
  { function() return "GET", "/store/v1/orders/" .. at.order end,
    function() orders = orders + 1 return true end },
}


function setup(thread)
  threads[#threads + 1] = thread
  thread:set("number", #threads)
end


function init(args)
  for line in io.lines(args[2]) do cursors[#cursors + 1] = line end
  wrk.headers["authorization"] = "Bearer " .. args[1]
  wrk.headers["content-type"] = "application/json"
  run = args[1]:sub(-4) .. os.time() .. "-" .. number .. "-"
  math.randomseed(os.time() * 100 + number)
end


-- May be called more often than it is answered: the step is the same until then.
function request()
  local method, path, body = STEPS[step][1]()
  wrk.headers["idempotency-key"] = path:find("/complete", 1, true) and run .. at.cart:sub(-26) or nil
  return wrk.format(method, path, nil, body)
end


function response(status, _, body)
  local keep = STEPS[step][2]
  if status < 200 or status > 299 or keep and not keep(body) then
    failed, why = failed + 1, ("step %d: %d %s"):format(step, status, body:sub(1, 200):gsub("%c", " "))
    step = 1
  else
    step = step % #STEPS + 1
  end
end


function done(summary, latency)
  local all, wrong, reason = 0, summary.errors.connect + summary.errors.read + summary.errors.timeout, nil
  for _, thread in ipairs(threads) do
    all, wrong, reason = all + thread:get "orders", wrong + thread:get "failed", thread:get "why" or reason
  end
  if reason then io.stderr:write(reason, "\n") end
  print(('{"orders":%d,"failed":%d,"seconds":%.4f,"p50":%.3f,"p95":%.3f,"p99":%.3f}'):format(all, wrong,
    summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(95) / 1000, latency:percentile(99) / 1000))
end

-- See till/flow/cart_merge: asked again with a guest's cart that went into another one.
local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"

local CREDENTIALS = { email = "ada@example.com", password = "correct horse battery" }
local PLACE = { currency = "GBP", country = "GB" }


-- -> what logging in with that guest's cart answers
local function log_in(raw, cart_id)
  local status, body = raw.store("POST", "/auth/v1/customers/sessions", {
    email = CREDENTIALS.email, password = CREDENTIALS.password, cart_id = cart_id })
  t.equal(status, 201)
  return body
end


-- As the customer. -> cart
local function begin(raw, token)
  local _, body = raw.request("POST", "/store/v1/carts", PLACE,
    { authorization = "Bearer " .. token })
  return body.cart
end


-- A guest's cart whose line went into the customer's. -> ids of both
local function merged(raw)
  local tea = make_shop(raw).product("TEA", 1000, 50)
  raw.store("POST", "/auth/v1/customers", CREDENTIALS)
  local own = begin(raw, log_in(raw).token)
  local _, body = raw.store("POST", "/store/v1/carts", PLACE)
  local guest_id = body.cart.id
  raw.store("POST", "/store/v1/carts/" .. guest_id .. "/lines", { variant_id = tea, quantity = 1 })
  t.equal(log_in(raw, guest_id).cart.id, own.id)
  return guest_id, own.id
end


t.describe("a guest's cart that was merged already", function()
  t.it("leads to the cart that it went into", live.test(function(raw)
    local guest_id, own_id = merged(raw)
    local again = log_in(raw, guest_id)
    t.equal(again.cart.id, own_id)
    t.equal(again.cart_error, nil)
    t.equal(#again.left_out, 0)
  end))

  t.it("leads to the customer's open cart where that one is an order by now", live.test(
    function(raw)
      local guest_id = merged(raw)
      raw.sql.exec("UPDATE carts SET state = 'completed' WHERE state = 'open'")
      local new = begin(raw, log_in(raw).token)
      local again = log_in(raw, guest_id)
      t.equal(again.cart.id, new.id)
      t.equal(again.cart.state, "open")
      t.equal(again.cart_error, nil)
    end))

  t.it("says so where that one is an order and there is none to go on with", live.test(
    function(raw)
      local guest_id = merged(raw)
      raw.sql.exec("UPDATE carts SET state = 'completed' WHERE state = 'open'")
      local again = log_in(raw, guest_id)
      t.equal(again.cart_error.code, "cart_completed")
      t.equal(again.cart, require("till.prim.json").null)
      local status, problem = raw.request("POST", "/store/v1/carts/" .. guest_id .. "/merge", {},
        { authorization = "Bearer " .. again.token })
      t.equal(status, 409)
      t.equal(problem.code, "cart_completed")
    end))
end)

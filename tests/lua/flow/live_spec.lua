-- See till/flow/live and http/store_api/live: what streams there may be, and for whom they count.
local t = require "till.test"
local id = require "till.util.id"
local json = require "till.prim.json"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"

local CREDENTIALS = { email = "ada@example.com", password = "correct horse battery" }


-- -> status, problem, or for whom the stream counts
local function begin(raw, sku, token, peer)
  local status, _, text, _, _, told = raw.require("till.main").http { method = "GET",
    path = "/store/v1/stock/events", query = "sku=" .. sku, authority = "shop.test", body = "",
    headers = { authorization = "Bearer " .. token }, peer = peer, request_id = "r",
    trace_id = "t", traceparent = "", tls = true }
  return status, told and told[1] or text ~= "" and json.decode(text) or nil
end


local function key_of(raw)
  local _, text = raw.require("till.store.keys").create { kind = "publishable", name = "page",
    roles = {} }
  return text
end


local function log_in(raw)
  local status, body = raw.store("POST", "/auth/v1/customers/sessions", CREDENTIALS)
  t.equal(status, 201)
  return body
end


t.describe("streams of stock", function()
  t.it("are of what is sold alone: nobody finds out what is not out yet", live.test(function(raw)
    local shop, key = make_shop(raw), key_of(raw)
    shop.product("SECRET", 1000, 5, { status = "draft" })
    shop.product("OLD", 1000, 5, { status = "archived" })
    local _, tea = shop.product("TEA-1", 1000, 5)
    t.equal((begin(raw, "TEA-1", key, "192.0.2.1")), 200)
    for _, sku in ipairs { "SECRET", "OLD", "NOTHING", "TEA-1,SECRET" } do
      local status, problem = begin(raw, sku, key, "192.0.2.1")
      t.equal(status, 404)
      t.equal(problem.code, "not_found")
      t.equal(problem.detail, "there is no product with the SKU " .. sku:match("[^,]+$"))
    end
    raw.sql.exec("UPDATE variants SET archived_at = NOW(3) WHERE product_id = ?",
      id.bin("prod", tea.id))
    t.equal((begin(raw, "TEA-1", key, "192.0.2.1")), 404)
  end))
end)


t.describe("a stream", function()
  t.it("counts for a customer however often he has logged in", live.test(function(raw)
    make_shop(raw).product("TEA-1", 1000, 5)
    raw.store("POST", "/auth/v1/customers", CREDENTIALS)
    local first, second = log_in(raw), log_in(raw)
    for i, token in ipairs { first.token, second.token } do
      local status, client = begin(raw, "TEA-1", token, "192.0.2." .. i)
      t.equal(status, 200)
      t.equal(client, first.customer.id)
    end
  end))

  t.it("of a guest counts for the key and where it is used from", live.test(function(raw)
    make_shop(raw).product("TEA-1", 1000, 5)
    local key, seen = key_of(raw), {}
    for i, peer in ipairs { "192.0.2.1", "192.0.2.1", "192.0.2.2" } do
      local status, client = begin(raw, "TEA-1", key, peer)
      t.equal(status, 200)
      seen[i] = client
    end
    t.equal(seen[1], seen[2])
    t.ok(seen[1] ~= seen[3])
  end))
end)

local t = require "till.test"
local shop = require "tests.support.router"

local with_router, CART = shop.with_router, shop.CART
local KEY = { authorization = "Bearer mtp_shop" }


local function plus(headers)
  local out = { authorization = "Bearer mtp_shop", ["content-type"] = "application/json" }
  for k, v in pairs(headers or {}) do out[k] = v end
  return out
end


t.describe("input", function()
  t.it("is checked in order, and every fault is told", function()
    with_router(function(call)
      local path = "/store/v1/carts/" .. CART
      local match = { ["if-match"] = '"7"' }
      t.equal(call("GET", "/store/v1/carts/nonsense", KEY).status, 404)
      t.equal(call("GET", "/store/v1/carts/%zz", KEY).status, 400)
      t.equal(call("PATCH", path, plus { ["content-type"] = "text/plain" }, "{}").body.code,
        "unsupported_media_type")
      t.equal(call("PATCH", path, plus(), "{").body.code, "malformed_json")
      local bad = call("PATCH", path .. "?x=1", plus(match), '{"emial":"a","email":"b"}').body
      t.equal(bad.code, "invalid_request")
      t.same(bad.errors[1].pointer, "/query/x")
      t.same(bad.errors[2], { pointer = "/email", code = "format",
        detail = "must be an email address such as ann@example.com" })
      t.same(bad.errors[3], { pointer = "/emial", code = "unknown_field",
        detail = "is not known here; was email meant?" })
    end)
  end)

  t.it("of the query is turned into numbers, with defaults", function()
    with_router(function(call)
      local path = "/store/v1/carts/" .. CART
      t.equal(call("GET", path, KEY).body.limit, 20)
      t.equal(call("GET", path .. "?limit=5", KEY).body.limit, 5)
      t.equal(call("GET", path .. "?limit=500", KEY).body.errors[1].pointer, "/query/limit")
      t.equal(call("GET", path .. "?limit=abc", KEY).status, 422)
      t.equal(call("GET", path .. "?limit=1&limit=2", KEY).status, 422)
    end)
  end)

  t.it("under If-Match is compared strongly", function()
    with_router(function(call)
      local function status(tag)
        return call("PATCH", "/store/v1/carts/" .. CART, plus { ["if-match"] = tag }, "{}").status
      end
      t.equal(status(nil), 428)
      t.equal(status("7"), 400)
      t.equal(status('"6"'), 412)
      t.equal(status('W/"7"'), 412)
      t.equal(status('"6", "7"'), 200)
      t.equal(status("*"), 200)
    end)
  end)

  t.it("under If-None-Match is answered with 304", function()
    with_router(function(call)
      local path = "/store/v1/carts/" .. CART
      local same = call("GET", path, plus { ["if-none-match"] = 'W/"7"' })
      t.equal(same.status, 304)
      t.equal(same.headers.etag, '"7"')
      t.equal(call("GET", path, plus { ["if-none-match"] = '"8"' }).status, 200)
      local change = plus { ["if-match"] = "*", ["if-none-match"] = "*" }
      t.equal(call("PATCH", path, change, "{}").status, 200)
    end)
  end)
end)


t.describe("idempotency", function()
  local PATH = "/store/v1/carts/" .. CART .. "/complete"

  t.it("needs a key, runs once and says the same again", function()
    with_router(function(call, _, seen)
      t.equal(call("POST", PATH, plus(), "{}").body.code, "idempotency_key_missing")
      local first = call("POST", PATH, plus { ["idempotency-key"] = "k" }, "{}")
      local second = call("POST", PATH, plus { ["idempotency-key"] = "k" }, "{}")
      t.equal(first.status, 201)
      t.equal(first.headers["idempotent-replayed"], nil)
      t.equal(second.status, 201)
      t.equal(second.text, first.text)
      t.equal(second.headers["idempotent-replayed"], "true")
      t.equal(second.headers["content-type"], "application/json")
      t.equal(seen.runs, 1)
    end)
  end)

  t.it("refuses another body, and is busy while the first runs", function()
    with_router(function(call, fakes)
      local headers = plus { ["idempotency-key"] = "k" }
      call("POST", PATH, headers, "{}")
      t.equal(call("POST", PATH, headers, '{"want":"x"}').body.code, "idempotency_key_reused")
      for _, row in pairs(fakes.idem) do row.status = nil end
      local busy = call("POST", PATH, headers, "{}")
      t.equal(busy.status, 409)
      t.equal(busy.headers["retry-after"], "2")
    end)
  end)

  t.it("takes a refusal and a failure worth trying back, and records a fault", function()
    with_router(function(call, fakes)
      local headers = plus { ["idempotency-key"] = "k" }
      t.equal(call("POST", PATH, headers, '{"want":"refusal"}').status, 409)
      t.equal(next(fakes.idem), nil)
      local retry = call("POST", PATH, headers, '{"want":"retry"}')
      t.equal(retry.status, 503)
      t.equal(retry.text:find("secret"), nil)
      t.equal(next(fakes.idem), nil)
      local fault = call("POST", PATH, headers, '{"want":"fault"}')
      t.equal(fault.status, 500)
      t.equal(fault.text:find("secret"), nil)
      t.ok(fakes.log[#fakes.log].fields.error:find("secret detail"))
      local again = call("POST", PATH, headers, '{"want":"fault"}')
      t.equal(again.status, 500)
      t.equal(again.headers["idempotent-replayed"], "true")
    end)
  end)

  t.it("does not record what the schema refused", function()
    with_router(function(call, fakes)
      t.equal(call("POST", PATH, plus { ["idempotency-key"] = "k" }, '{"x":1}').status, 422)
      t.equal(next(fakes.idem), nil)
    end)
  end)
end)


t.describe("pages", function()
  t.it("go on where the cursor says, and nobody else's cursor is taken", function()
    with_router(function(call)
      local first = call("GET", "/store/v1/list?limit=2").body
      t.same(first.data, { { n = 1 }, { n = 2 } })
      t.equal(first.has_more, true)
      local second = call("GET", "/store/v1/list?limit=2&after=" .. first.next_cursor).body
      t.same(second.data, { { n = 3 }, { n = 4 } })
      local forged = call("GET", "/store/v1/list?after=" .. "A" .. first.next_cursor)
      t.equal(forged.status, 400)
      t.equal(forged.body.code, "invalid_cursor")
      local coded, seal = first.next_cursor:match("^(.-)%.(.*)$")
      local base64url = require("till.prim.crypto").base64url
      for _, other in ipairs { base64url("[9]") .. "." .. seal, coded .. ".AAAA",
        require("till.util.cursor").make("/another/list", { 2 }) } do
        t.equal(call("GET", "/store/v1/list?after=" .. other).status, 400)
      end
    end)
  end)
end)

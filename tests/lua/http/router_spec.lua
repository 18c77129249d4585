local t = require "till.test"
local shop = require "tests.support.router"

local with_router, CART = shop.with_router, shop.CART

local KEY = { authorization = "Bearer mtp_shop" }


t.describe("routes", function()
  t.it("finds the fixed segment before the parameter", function()
    with_router(function(call)
      t.same(call("GET", "/store/v1/carts/new").body, { new = true })
      t.equal(call("GET", "/store/v1/carts/" .. CART, KEY).route, "/store/v1/carts/{id}")
    end)
  end)

  t.it("answers 404 and 405 as problems, the second with Allow", function()
    with_router(function(call)
      local gone = call("GET", "/nowhere")
      t.equal(gone.status, 404)
      t.equal(gone.headers["content-type"], "application/problem+json")
      t.same(gone.body, { type = "/docs/problems#not_found", title = "There is no such thing",
        status = 404, code = "not_found", detail = "There is no such address.",
        instance = "/nowhere", trace_id = "t1" })
      local wrong = call("DELETE", "/store/v1/carts/" .. CART)
      t.equal(wrong.status, 405)
      t.equal(wrong.headers.allow, "GET, HEAD, OPTIONS, PATCH")
    end)
  end)

  t.it("serves HEAD by GET and OPTIONS with the methods", function()
    with_router(function(call)
      local head = call("HEAD", "/store/v1/carts/" .. CART, KEY)
      t.equal(head.status, 200)
      local options = call("OPTIONS", "/store/v1/carts/" .. CART)
      t.equal(options.status, 204)
      t.equal(options.headers.allow, "GET, HEAD, OPTIONS, PATCH")
    end)
  end)

  t.it("refuses a route twice, naming both sources", function()
    with_router(function(_, _, _, router, route)
      local function one(path)
        return { route.get(path, { auth = "none", handler = function() end }) }
      end
      t.throws(function()
        router.new { { source = "a.lua", routes = one("/x/{id}") },
          { source = "b.lua", routes = one("/x/{name}") } }
      end, "b.lua: route GET /x/{name} is there already, from a.lua %(/x/{id}%)")
    end)
  end)

  t.it("refuses what is wrong in a definition", function()
    with_router(function(_, _, _, router, route)
      local function refuse(def, pattern)
        t.throws(function()
          router.new { { source = "a.lua", routes = { route.get("/x", def) } } }
        end, pattern)
      end
      refuse({ auth = "none" }, "`handler` is missing")
      refuse({ handler = print }, "`auth` must be")
      refuse({ auth = "admin", handler = print }, "`permission` goes with")
      refuse({ auth = "none", handler = print, hander = 1 }, "there is no field `hander`")
    end)
  end)
end)


t.describe("credentials", function()
  t.it("are needed, known, of the right kind and allowed to do it", function()
    with_router(function(call)
      local path = "/admin/v1/orders"
      t.table({
        { why = "none", expected = 401 },
        { why = "another scheme", token = "Basic abc", expected = 401 },
        { why = "unknown", token = "Bearer mts_x", expected = 401 },
        { why = "revoked", token = "Bearer mts_gone", expected = 401 },
        { why = "a publishable key", token = "Bearer mtp_shop", expected = 403 },
        { why = "a role without the permission", token = "Bearer mts_stock", expected = 403 },
        { why = "an owner", token = "Bearer mts_all", expected = 200 },
      }, function(case)
        local answer = call("GET", path, { authorization = case.token })
        t.equal(answer.status, case.expected)
        local challenge = answer.headers["www-authenticate"]
        t.equal(challenge ~= nil, case.expected == 401)
      end)
    end)
  end)

  t.it("are believed for ten seconds", function()
    with_router(function(call, fakes)
      shop.lookups.count = 0
      call("GET", "/store/v1/carts/" .. CART, KEY)
      call("GET", "/store/v1/carts/" .. CART, KEY)
      t.equal(shop.lookups.count, 1)
      fakes.now = fakes.now + 10000
      call("GET", "/store/v1/carts/" .. CART, KEY)
      t.equal(shop.lookups.count, 2)
    end)
  end)

  t.it("of a session count beside the key of the shop", function()
    with_router(function(call, _, seen)
      call("GET", "/store/v1/carts/" .. CART,
        { authorization = "Bearer mtp_shop", cookie = "a=b; till_session=mtses_ann" })
      t.equal(seen.ctx.auth.customer_id, "cus_a")
      call("GET", "/store/v1/carts/" .. CART,
        { authorization = "Bearer mtp_shop", cookie = "till_session=mtses_old" })
      t.equal(seen.ctx.auth.kind, "publishable")
      local old = call("GET", "/store/v1/carts/" .. CART, { authorization = "Bearer mtses_old" })
      t.equal(old.status, 401)
    end)
  end)

  t.it("of a cookie change nothing from another site", function()
    with_router(function(call)
      local path = "/store/v1/carts/" .. CART .. "/complete"
      local function status(origin)
        return call("POST", path, { cookie = "till_session=mtses_ann", origin = origin,
          ["idempotency-key"] = "k" }).status
      end
      t.equal(status(nil), 403)
      t.equal(status("https://evil.test"), 403)
      t.equal(status("https://shop.test"), 201)
    end)
  end)
end)


t.describe("a fault of a handler", function()
  t.it("is a 500 without a word of what happened", function()
    with_router(function(call, fakes)
      local answer = call("GET", "/store/v1/bad")
      t.equal(answer.status, 500)
      t.equal(answer.body.code, "internal")
      t.equal(fakes.log[1].event, "http.fault")
    end)
  end)
end)

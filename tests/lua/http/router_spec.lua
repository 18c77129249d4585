local t = require "till.test"
local prim = dofile("tests/lua/support/prim.lua")

local KEYS = {
  ["mtp_shop"] = { id = "key_p", kind = "publishable" },
  ["mts_all"] = { id = "key_s", kind = "secret", roles = { "owner" } },
  ["mts_stock"] = { id = "key_t", kind = "secret", roles = { "stock" } },
  ["mts_gone"] = { id = "key_g", kind = "secret", roles = { "owner" }, revoked = true },
}
local SESSIONS = {
  ["mtses_ann"] = { id = "sess_a", kind = "customer", subject_id = "cus_a",
    expires_at_ms = 2000000 },
  ["mtses_old"] = { id = "sess_o", kind = "customer", subject_id = "cus_a", expires_at_ms = 1 },
}

local lookups = 0


local function finder(rows)
  return {
    find = function(hash)
      lookups = lookups + 1
      local sha256 = require("till.prim.crypto").sha256
      for token, row in pairs(rows) do
        if sha256(token) == hash then return row end
      end
      return false
    end,
  }
end

local STORES = { ["till.store.keys"] = finder(KEYS), ["till.store.sessions"] = finder(SESSIONS) }
local CART = "cart_01ARZ3NDEKTSV4RRFFQ69G5FAV"


local function sample_routes(s, route, err, seen)
  return {
    route.get("/store/v1/carts/{id}", { auth = "store", params = { id = s.id("cart") },
      query = { limit = s.integer { min = 1, max = 100, default = 20 } },
      handler = function(ctx)
        seen.ctx = ctx
        return ctx:json(200, { id = ctx.params.id, limit = ctx.query.limit }, { etag = 7 })
      end }),
    route.get("/store/v1/carts/new", { auth = "none",
      handler = function(ctx) return ctx:json(200, { new = true }) end }),
    route.patch("/store/v1/carts/{id}", { auth = "store", if_match = "required",
      body = s.object({ email = s.string { format = "email" } }),
      handler = function(ctx)
        local good, failure = ctx:matches(7)
        if not good then return nil, failure end
        return ctx:json(200, { ok = ctx.if_match })
      end }),
    route.post("/store/v1/carts/{id}/complete", { auth = "store", idempotency = "required",
      body = s.object({ want = s.string {} }),
      handler = function(ctx)
        seen.runs = (seen.runs or 0) + 1
        local want = ctx.body.want
        if want == "refusal" then return nil, err.new("sold_out", "2 are left") end
        if want == "fault" then error("secret detail") end
        if want == "retry" then return nil, err.new("deadlock", "SELECT secret") end
        return ctx:transaction(function() return ctx:json(201, { run = seen.runs }) end)
      end }),
    route.get("/admin/v1/orders", { auth = "admin", permission = "orders.read",
      handler = function(ctx) return ctx:json(200, {}) end }),
    route.get("/store/v1/bad", { auth = "none", handler = function() return { 1 } end }),
    route.get("/store/v1/list", { auth = "none", page = true, handler = function(ctx)
      local page, failure = ctx:page()
      if not page then return nil, failure end
      local from = page.after and page.after[1] or 0
      local rows = {}
      for i = 1, page.limit + 1 do rows[i] = { n = from + i } end
      return ctx:json(200, ctx:list(rows, page, nil, function(row) return { row.n } end))
    end }),
  }
end


local function with_router(fn)
  prim.with(STORES, function(fakes)
    local seen = {}
    local s, err = require "till.util.schema", require "till.util.err"
    local router, route = require "till.http.router", require "till.http.route"
    local r = router.new { { source = "sample", routes = sample_routes(s, route, err, seen) } }
    local json = require "till.prim.json"
    local function call(method, path, headers, body)
      local req = { method = method, path = path:match("^[^?]*"), query = path:match("%?(.*)$"),
        headers = headers or {}, body = body, trace_id = "t1", authority = "shop.test" }
      local status, out, text, template = r:handle(req)
      return { status = status, headers = out, text = text, route = template,
        body = text ~= "" and json.decode(text) or nil }
    end
    fn(call, fakes, seen, router, route)
  end)
end

local KEY = { authorization = "Bearer mtp_shop" }


local function plus(headers)
  local out = { authorization = "Bearer mtp_shop", ["content-type"] = "application/json" }
  for k, v in pairs(headers or {}) do out[k] = v end
  return out
end


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

  t.it("serves HEAD by GET without a body and OPTIONS with the methods", function()
    with_router(function(call)
      local head = call("HEAD", "/store/v1/carts/" .. CART, KEY)
      t.equal(head.status, 200)
      t.equal(head.text, "")
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
      lookups = 0
      call("GET", "/store/v1/carts/" .. CART, KEY)
      call("GET", "/store/v1/carts/" .. CART, KEY)
      t.equal(lookups, 1)
      fakes.now = fakes.now + 10000
      call("GET", "/store/v1/carts/" .. CART, KEY)
      t.equal(lookups, 2)
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

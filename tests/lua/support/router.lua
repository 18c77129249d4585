-- support/router - a router with a handful of routes that show everything it checks.
local prim = require "tests.support.prim"

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

local lookups = { count = 0 }


local function finder(rows)
  return {
    find = function(hash)
      lookups.count = lookups.count + 1
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
  prim.with(STORES, function(fakes, require)
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


return { with_router = with_router, CART = CART, lookups = lookups }

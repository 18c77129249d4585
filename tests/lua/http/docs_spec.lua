local t = require "till.test"
local prim = require "tests.support.prim"

local TEA = { id = "prod_1", title = "Tea <b>& more</b>", image = "/static/pictures/tea.svg",
  variants = { { prices = { { currency = "GBP", amount = 500 },
    { currency = "GBP", amount = 450 }, { currency = "EUR", amount = 1 } } } } }

local STORES = {
  ["till.store.keys"] = { find = function() return false end },
  ["till.store.products"] = {
    list = function() return { { id = "prod_1", title = "Tea" } } end,
    load = function() return { prod_1 = TEA } end,
  },
  ["till.store.categories"] = {
    all = function() return { { id = "cat_1", title = "Drinks" } } end,
  },
  ["till.flow.search"] = {
    run = function(text) return { ids = text == "tea" and { "prod_1" } or {} } end,
  },
}


local function with_docs(fn)
  prim.with(STORES, function(fakes, require)
    local router, route = require "till.http.router", require "till.http.route"
    local s = require "till.util.schema"
    local docs = require "till.http.docs"
    local own = { route.post("/store/v1/things/{id}", { auth = "store", tag = "things",
      summary = "Make <it>", params = { id = s.id("cart") }, idempotency = "required",
      if_match = "optional", body = s.object({ price = s.money() }, { name = "DocsThing" }),
      returns = { [201] = s.object({}, { name = "DocsAnswer" }) }, errors = { "payment_declined" },
      handler = function() end }) }
    local r = router.new { { source = "docs", routes = docs }, { source = "own", routes = own },
      { source = "home", routes = require "till.http.home" } }
    docs.set(r.routes)
    fn(function(path, headers)
      local status, out, body = r:handle { method = "GET", path = path:match("^[^?]*"),
        query = path:match("%?(.*)$"), headers = headers or {} }
      return { status = status, headers = out, body = body }
    end, fakes)
  end)
end


t.describe("/openapi.json", function()
  t.it("tells of every route what the router does", function()
    with_docs(function(get)
      local document = require("till.prim.json").decode(get("/openapi.json").body)
      t.equal(document.openapi, "3.1.0")
      local op = document.paths["/store/v1/things/{id}"].post
      local names = {}
      for i, parameter in ipairs(op.parameters) do names[i] = parameter.name end
      t.same(names, { "id", "Idempotency-Key", "If-Match" })
      t.equal(op.parameters[2].required, true)
      for _, status in ipairs { "201", "400", "401", "402", "403", "404", "409", "412", "415",
        "422" } do t.ok(op.responses[status], status) end
      t.ok(document.components.schemas.DocsThing.properties.price)
      t.ok(document.components.schemas.Money)
      t.ok(document.components.schemas.Problem)
      t.ok(document.components.securitySchemes.publishableKey)
      t.ok(document.webhooks["order.placed"])
      t.equal(document.paths["/"], nil)
    end)
  end)

  t.it("refers to nothing that is not there", function()
    with_docs(function(get)
      local body = get("/openapi.json").body
      local document = require("till.prim.json").decode(body)
      for kind, name in body:gmatch('"#/components/(%l+)/([%w_]+)"') do
        t.ok(document.components[kind][name], name)
      end
    end)
  end)

  t.it("has a strong ETag", function()
    with_docs(function(get)
      local etag = get("/openapi.json").headers.etag
      t.ok(etag:find('^"%x+"$'))
      t.equal(get("/openapi.json", { ["if-none-match"] = etag }).status, 304)
    end)
  end)
end)


t.describe("the pages", function()
  t.it("allow nothing from elsewhere, and scripts by nonce alone", function()
    with_docs(function(get)
      for _, path in ipairs { "/", "/docs", "/docs/problems" } do
        local answer = get(path)
        t.equal(answer.status, 200, path)
        local policy = answer.headers["content-security-policy"]
        t.ok(policy:find("default-src 'none'", 1, true))
        t.equal(policy:find("unsafe", 1, true), nil)
        t.equal(answer.body:find("https?://"), nil, path)
        t.ok(answer.body:find("^<!doctype html>"))
      end
    end)
  end)

  t.it("escape what the shop holds", function()
    with_docs(function(get)
      local home = get("/").body
      t.ok(home:find("Tea &lt;b&gt;&amp; more&lt;/b&gt;", 1, true))
      t.ok(home:find("4.50 GBP", 1, true))
      t.ok(home:find("Tea &amp; Co", 1, true))
      t.ok(get("/docs").body:find("Make &lt;it&gt;", 1, true))
      local found = get("/?q=%3Cscript%3E").body
      t.equal(found:find("<script>", 1, true), nil)
      t.ok(found:find("Nothing here", 1, true))
      t.ok(get("/?q=tea").body:find("4.50 GBP", 1, true))
    end)
  end)

  t.it("list every code of a problem", function()
    with_docs(function(get)
      local body = get("/docs/problems").body
      for code, row in pairs(require("till.prim.status").table) do
        if row.http >= 400 and row.http ~= 499 then
          t.ok(body:find('id="' .. code .. '"', 1, true), code)
        end
      end
    end)
  end)
end)

-- till/http/docs - the API's description: /openapi.json, /docs and /docs/problems.
--
--   docs.set(routes)     once, by main.lua, when all routes are known
--
-- Each is made once for a generation, when it is asked for the first time.
local conf = require "till.prim.conf"
local co = require "till.prim.co"
local crypto = require "till.prim.crypto"
local json = require "till.prim.json"
local status = require "till.prim.status"
local docs_page = require "till.http.docs_page"
local openapi = require "till.http.openapi"
local page = require "till.http.page"
local respond = require "till.http.respond"
local route = require "till.http.route"

local VERSION = "1.0.0"

local known_routes = {}
local document, text, etag


local function build()
  if document then return end
  document = openapi.build(known_routes, { title = conf.get("shop.name") .. " API",
    version = VERSION })
  text = json.encode(document)
  etag = crypto.hex(crypto.sha256(text)):sub(1, 32)
end


local function serve_json()
  build()
  return respond.text(200, "application/json", text, { etag = respond.etag(etag),
    ["cache-control"] = "no-cache", ["access-control-allow-origin"] = "*" })
end


local function serve_page()
  build()
  return docs_page.api(document, conf.get("shop.name"))
end


local function problem_rows()
  local h, codes, rows = page.h, {}, {}
  for code, row in pairs(status.table) do
    if row.http >= 400 and code ~= "cancelled" then codes[#codes + 1] = code end
  end
  table.sort(codes)
  for i, code in ipairs(codes) do
    local row = status.table[code]
    rows[i] = h.tr { id = code, h.td { h.code { code } }, h.td { ("%d"):format(row.http) },
      h.td { row.title }, h.td { row.retryable and "yes, with the same key" or "no" } }
  end
  return rows
end


local function serve_problems()
  local h = page.h
  return page.response { title = "Problems", body = { docs_page.head(conf.get("shop.name")),
    h.main { h.h1 { "Problems" },
      h.p { "Every failure is an ", h.code { "application/problem+json" }, " (RFC 9457). ",
        h.code { "code" }, " never changes; ", h.code { "detail" }, " is for people." },
      h.table { h.thead { h.tr { h.th { "Code" }, h.th { "Status" }, h.th { "Title" },
        h.th { "Worth trying again" } } }, h.tbody { problem_rows() } } },
    docs_page.foot(co.generation()) } }
end


local routes = {
  route.get("/openapi.json", { auth = "none", tag = "documentation", handler = serve_json,
    summary = "This description, in OpenAPI 3.1" }),
  route.get("/docs", { auth = "none", html = true, handler = serve_page }),
  route.get("/docs/problems", { auth = "none", html = true, handler = serve_problems }),
}


function routes.set(list)
  known_routes, document = list, nil
end


return routes

local t = require "till.test"
local file = require "till.prim.file"
local http = require "till.prim.http"
local json = require "till.prim.json"
local term = require "till.prim.term"
local waiting = require "tests.support.until"
local folder = require "tests.support.folder"


-- Asked of the shop that the specs were given, over TLS.
local function with_shop(fn)
  return function()
    local text = file.read(term.env("MOONTILL_VAR") .. "/dev.json")
    if term.env("MOONTILL_VAR") == "var" or not text then t.skip("no --var DIR of a shop") end
    local dev = json.decode(text)
    fn(function(method, path, more)
      local request = { method = method, url = dev.url .. path, ca_file = dev.ca_file }
      for name, value in pairs(more or {}) do request[name] = value end
      return http.request(request)
    end, dev)
  end
end


t.describe("till.prim.http", function()
  t.it("gives status, headers in lower case and body", with_shop(function(ask)
    local answer = assert(ask("GET", "/openapi.json"))
    t.equal(answer.status, 200)
    t.equal(answer.headers["content-type"]:match("^application/json"), "application/json")
    t.equal(json.decode(answer.body).openapi, "3.1.0")
    t.ok(answer.version == 20 or answer.version == 11)
  end))

  t.it("takes every status for an answer", with_shop(function(ask)
    t.equal(ask("GET", "/nowhere").status, 404)
    local answer = ask("POST", "/store/v1/carts", { body = "{", headers = {
      ["content-type"] = "application/json" } })
    t.equal(answer.status, 401)
    t.equal(json.decode(answer.body).code, "unauthorized")
  end))

  t.it("sends headers and body", with_shop(function(ask)
    local etag = ask("GET", "/openapi.json").headers.etag
    local same = ask("GET", "/openapi.json", { headers = { ["if-none-match"] = etag } })
    t.same({ same.status, same.body }, { 304, "" })
    local answer = ask("POST", "/auth/v1/staff/sessions", { body = '{"email":7}', headers = {
      ["content-type"] = "application/json" } })
    t.same({ answer.status, json.decode(answer.body).code }, { 422, "invalid_request" })
  end))

  t.it("answers many at once", with_shop(function(ask)
    local asked = {}
    for i = 1, 20 do
      asked[i] = function() t.equal(assert(ask("GET", "/nowhere/" .. i)).status, 404) end
    end
    waiting.together(unpack(asked))
  end))

  t.it("reads no more than it was told to", with_shop(function(ask)
    local answer, failure = ask("GET", "/openapi.json", { max_body = 100 })
    t.equal(answer, nil)
    t.equal(failure.sent, true)
  end))

  t.it("believes nobody whose certificate it cannot check", with_shop(function(ask, dev)
    local answer, failure = http.request { url = dev.url .. "/openapi.json" }
    t.same({ answer, failure.sent }, { nil, false })
    answer, failure = ask("GET", "/", { ca_file = folder.write("none.pem", "") })
    t.same({ answer, failure.sent }, { nil, false })
  end))

  t.it("says that nothing was sent where nobody listens", function()
    local answer, failure = http.request { url = "http://127.0.0.1:1/" }
    t.same({ answer, failure.sent }, { nil, false })
  end)

  t.it("ends at its limit", with_shop(function(ask)
    t.empty_shop() -- or too many logins are answered at once
    local answer, failure = ask("POST", "/auth/v1/staff/sessions", { timeout_ms = 5, -- scrypt: 40
      body = '{"email":"nobody@example.org","password":"x"}',
      headers = { ["content-type"] = "application/json" } })
    t.same({ answer, failure and failure.code }, { nil, "timeout" })
  end))

  t.it("refuses what is no request", function()
    t.throws(function() http.request {} end, "url is no string")
    t.throws(function() http.request "http://x" end, "table expected")
    t.throws(function() http.request { url = "http://x", headers = { a = {} } } end,
      "names with strings")
  end)
end)

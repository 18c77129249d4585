local t = require "till.test"
local idem = require "till.prim.idem"
local sql = require "till.prim.sql"
local waiting = require "tests.support.until"

local PRINT = idem.fingerprint("POST", "/x", "{}")


local function empty(fn)
  return function()
    t.empty_shop()
    fn()
  end
end


local function finish(claim, body)
  return sql.transaction(function(tx)
    return idem.finish(tx, "s", "k", claim, 201, { ["x-a"] = "1" }, body)
  end)
end


t.describe("till.prim.idem", function()
  t.table({
    { why = "takes a bare key", header = "abc-1", key = "abc-1" },
    { why = "takes a quoted key", header = '"abc 1"', key = "abc 1" },
    { why = "takes 255 characters", header = ("k"):rep(255), key = ("k"):rep(255) },
    { why = "takes no empty key", header = "" },
    { why = "takes no key that is too long", header = ("k"):rep(256) },
    { why = "takes no open quote", header = '"abc' },
    { why = "takes no control characters", header = "a\1b" },
  }, function(case) t.equal(idem.parse(case.header), case.key) end)

  t.it("has a fingerprint that no other request has", function()
    t.equal(#PRINT, 32)
    t.equal(idem.fingerprint("POST", "/x", "{}"), PRINT)
    for _, other in ipairs { { "PUT", "/x", "{}" }, { "POST", "/x{", "}" },
      { "POST", "/x", "" } } do
      t.ok(idem.fingerprint(unpack(other)) ~= PRINT)
    end
  end)

  t.it("runs one, is busy meanwhile, and replays to the byte", empty(function()
    local first = assert(idem.claim("s", "k", PRINT, 30000))
    t.same({ first.outcome, first.resumed }, { "run", false })
    local busy = idem.claim("s", "k", PRINT, 30000)
    t.equal(busy.outcome, "busy")
    t.ok(busy.retry_after_ms > 0 and busy.retry_after_ms <= 30000)
    t.ok(finish(first.claim, '{"a":"\0\195\164"}'))
    t.same(idem.claim("s", "k", PRINT, 30000), { outcome = "replay", status = 201,
      headers = { ["x-a"] = "1" }, body = '{"a":"\0\195\164"}' })
    t.equal(idem.claim("s", "k", idem.fingerprint("POST", "/x", "[]"), 30000).outcome, "mismatch")
    t.equal(idem.claim("other", "k", PRINT, 30000).outcome, "run")
  end))

  t.it("lets one of many run who come at once", empty(function()
    local outcomes, asked = { run = 0, busy = 0 }, {}
    for i = 1, 6 do
      asked[i] = function()
        local outcome = assert(idem.claim("s", "k", PRINT, 30000)).outcome
        outcomes[outcome] = outcomes[outcome] + 1
      end
    end
    waiting.together(unpack(asked))
    t.same(outcomes, { run = 1, busy = 5 })
  end))

  t.it("forgets what had no effect", empty(function()
    local first = assert(idem.claim("s", "k", PRINT, 30000))
    t.ok(idem.forget("s", "k", first.claim))
    t.equal(idem.claim("s", "k", PRINT, 30000).resumed, false)
  end))

  t.it("is resumed when its runner is gone, who then changes nothing", empty(function()
    local first = assert(idem.claim("s", "k", PRINT, 1))
    local second = waiting.eventually("the claim runs out", function()
      local again = assert(idem.claim("s", "k", PRINT, 30000))
      return again.outcome == "run" and again
    end)
    t.equal(second.resumed, true)
    local good, failure = finish(first.claim, "late")
    t.same({ good, failure.code }, { nil, "conflict" })
    t.ok(finish(second.claim, "mine"))
    t.equal(idem.claim("s", "k", PRINT, 1).body, "mine")
  end))

  t.it("records nothing when the effect is rolled back", empty(function()
    local first = assert(idem.claim("s", "k", PRINT, 30000))
    sql.transaction(function(tx)
      t.ok(idem.finish(tx, "s", "k", first.claim, 200, {}, "x"))
      return nil, "no"
    end)
    t.equal(idem.claim("s", "k", PRINT, 30000).outcome, "busy")
  end))
end)

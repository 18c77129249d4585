local t = require "till.test"
local co = require "till.prim.co"
local redis = require "till.prim.redis"
local waiting = require "tests.support.until"


local function with_redis(fn)
  return function()
    t.empty_shop()
    fn()
  end
end


t.describe("till.prim.redis", function()
  t.it("gives strings, numbers, nothing and lists", with_redis(function()
    t.equal(redis.call("SET", "k", "v"), "OK")
    t.equal(redis.call("GET", "k"), "v")
    t.equal(redis.call("GET", "none"), false)
    t.equal(redis.call("INCRBY", "n", 7), 7)
    t.same(redis.call("MGET", "k", "none", "n"), { "v", false, "7" })
    t.same(redis.call("KEYS", "x*"), {})
  end))

  t.it("keeps every byte", with_redis(function()
    local all = {}
    for byte = 0, 255 do all[#all + 1] = string.char(byte) end
    local text = table.concat(all):rep(4096)
    redis.call("SET", text:sub(1, 256), text)
    t.ok(redis.call("GET", text:sub(1, 256)) == text)
  end))

  t.it("tells a refusal from a failure, and goes on", with_redis(function()
    redis.call("SET", "k", "v")
    local reply, failure = redis.call("LPUSH", "k", "x")
    t.same({ reply, failure.code }, { nil, "rejected" })
    t.ok(tostring(failure):find("WRONGTYPE", 1, true))
    t.equal(redis.call("GET", "k"), "v")
  end))

  t.it("refuses what is no argument", function()
    t.throws(function() redis.call("SET", "k", {}) end, "string expected")
    t.throws(function() redis.call() end, "1 to 1024")
  end)

  t.it("hears what is published, the first word being that it listens", with_redis(function()
    local heard = {}
    local handle = redis.subscribe("spec", function(text) heard[#heard + 1] = text or "listens" end)
    waiting.eventually("it listens", function() return heard[1] end)
    t.equal(redis.publish("spec", "a\0b"), 1)
    redis.publish("other", "x")
    redis.publish("spec", "")
    waiting.eventually("both are heard", function() return heard[3] end)
    t.same(heard, { "listens", "a\0b", "" })
    handle:close()
    handle:close()
    waiting.eventually("nobody listens", function() return redis.publish("spec", "late") == 0 end)
    t.equal(#heard, 3)
  end))

  t.it("answers each of many who ask at once", with_redis(function()
    local asked = {}
    for i = 1, 50 do
      asked[i] = function()
        redis.call("SET", "k" .. i, i)
        t.equal(redis.call("GET", "k" .. i), tostring(i))
      end
    end
    waiting.together(unpack(asked))
  end))

  t.it("cannot wait where nothing may", function()
    t.throws(function() co.no_wait(redis.call, "PING") end, "cannot wait here")
  end)
end)

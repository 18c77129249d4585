local t = require "till.test"
local prim = require "tests.support.prim"


local function with_cache(fn)
  prim.with({}, function(fakes, require)
    fakes.conf["cache.ttl_ms"], fakes.conf["cache.max_entries"] = 30000, 2
    fakes.closing = true
    local cache = require "till.cache"
    cache.start()
    local hear = fakes.subscribed["till:invalidate"]
    hear(nil)
    fn(cache, fakes, hear)
  end)
end


local function counter()
  local loads = { n = 0 }
  return loads, function(id)
    loads.n = loads.n + 1
    return { id = id, n = loads.n }
  end
end


t.describe("the cache", function()
  t.it("loads once until its time is over", function()
    with_cache(function(cache, fakes)
      local loads, load = counter()
      cache.get("product", "p", load)
      t.equal(cache.get("product", "p", load).n, 1)
      fakes.now = fakes.now + 30000
      t.equal(cache.get("product", "p", load).n, 2)
      t.equal(loads.n, 2)
    end)
  end)

  t.it("drops what was changed here and tells the others", function()
    with_cache(function(cache, fakes)
      local _, load = counter()
      cache.get("product", "p", load)
      cache.invalidate("product", { "p" })
      t.same(fakes.published, { { channel = "till:invalidate", text = "product:p" } })
      t.equal(cache.get("product", "p", load).n, 2)
    end)
  end)

  t.it("drops what another worker names, and everything when it may have missed a word", function()
    with_cache(function(cache, _, hear)
      local _, load = counter()
      cache.get("product", "a", load)
      cache.get("product", "b", load)
      hear("product:a")
      t.equal(cache.peek("product", "a"), nil)
      t.ok(cache.peek("product", "b"))
      hear(nil)
      t.equal(cache.peek("product", "b"), nil)
    end)
  end)

  t.it("never keeps what was loaded before an invalidation", function()
    with_cache(function(cache, _, hear)
      for _, how in ipairs { "product:p", false } do
        local value = cache.get("product", "p", function()
          hear(how or nil)
          return { old = true }
        end)
        t.equal(value.old, true)
        t.equal(cache.peek("product", "p"), nil)
      end
    end)
  end)

  t.it("keeps a load that began after the invalidation, not the one before it", function()
    with_cache(function(cache, _, hear)
      local slow = coroutine.wrap(function()
        cache.get("product", "p", function()
          coroutine.yield()
          return { age = "old" }
        end)
      end)
      slow()
      hear("product:p")
      cache.get("product", "p", function() return { age = "new" } end)
      slow()
      t.equal(cache.peek("product", "p").age, "new")
    end)
  end)

  t.it("keeps no error", function()
    with_cache(function(cache)
      local value, failure = cache.get("product", "p", function() return nil, "away" end)
      t.equal(value, nil)
      t.equal(failure, "away")
      t.equal(cache.get("product", "p", function() return { 1 } end)[1], 1)
    end)
  end)

  t.it("says all that was changed in one word, and hears it so", function()
    with_cache(function(cache, fakes, hear)
      local _, load = counter()
      cache.get("product", "a", load)
      cache.get("product", "b", load)
      cache.invalidate("product", { "x", "y" })
      t.same(fakes.published, { { channel = "till:invalidate", text = "product:x\nproduct:y" } })
      cache.invalidate("product", {})
      t.equal(#fakes.published, 1)
      hear("product:a\nproduct:b")
      t.same({ cache.peek("product", "a"), cache.peek("product", "b") }, {})
    end)
  end)

  t.it("gives a kind a room of its own: nothing else is driven out, and it is emptied whole",
    function()
      with_cache(function(cache, fakes, hear)
        local _, load = counter()
        cache.own("page", { max = 2, ttl_ms = 1000 })
        cache.get("product", "a", load)
        for i = 1, 5 do cache.get("page", i, load) end
        t.ok(cache.peek("product", "a"))
        t.equal(cache.peek("page", 3), nil)
        fakes.now = fakes.now + 1000
        t.equal(cache.peek("page", 5), nil, "it has a time of its own")
        cache.get("page", 6, load)
        hear("page:*")
        t.equal(cache.peek("page", 6), nil)
        cache.get("page", 7, load)
        cache.flush { "page" }
        t.equal(cache.peek("page", 7), nil)
        t.equal(fakes.published[1].text, "page:*")
        t.ok(cache.peek("product", "a"))
        cache.flush()
        t.equal(cache.peek("product", "a"), nil)
        t.equal(fakes.published[2].text, "*")
      end)
    end)

  t.it("never keeps what was loaded before its whole kind was emptied", function()
    with_cache(function(cache, _, hear)
      cache.own("page", {})
      cache.get("page", "p", function()
        hear("page:*")
        return { old = true }
      end)
      t.equal(cache.peek("page", "p"), nil)
    end)
  end)

  t.it("makes nothing of a word that it does not know", function()
    with_cache(function(cache, _, hear)
      local _, load = counter()
      cache.get("product", "a", load)
      for _, word in ipairs { "", ":", "product", "unheard:*", "Product:a", "\n\n", "x:y:z" } do
        hear(word)
      end
      t.ok(cache.peek("product", "a"))
    end)
  end)

  t.it("keeps things for a short time while Redis is away", function()
    with_cache(function(cache, fakes)
      local _, load = counter()
      fakes.redis_down = true
      cache.invalidate("product", "q")
      cache.get("product", "p", load)
      fakes.now = fakes.now + 2000
      t.equal(cache.get("product", "p", load).n, 2)
    end)
  end)
end)


t.describe("the loader", function()
  local function with_loader(fetch, fn)
    prim.with({}, function(fakes, require)
      local l = require("till.loader").new(fetch, { max = 2 })
      fn(l, fakes.run_turn)
    end)
  end

  local function started(fn)
    local out = {}
    local co = coroutine.create(function() out.value, out.failure = fn() end)
    coroutine.resume(co)
    out.finish = function() assert(coroutine.resume(co)) end
    return out
  end

  t.it("merges the keys of a turn, in pieces of max", function()
    local asked = {}
    with_loader(function(keys)
      asked[#asked + 1] = table.concat(keys, ",")
      local rows = {}
      for _, key in ipairs(keys) do rows[key] = key .. "!" end
      return rows
    end, function(l, turn)
      local calls = {}
      for i, key in ipairs { "a", "b", "a", "c" } do
        calls[i] = started(function() return l:load(key) end)
      end
      local many = started(function() return l:load_many { "c", "d" } end)
      turn()
      for i, expected in ipairs { "a!", "b!", "a!", "c!" } do
        calls[i].finish()
        t.equal(calls[i].value, expected)
      end
      many.finish()
      t.same(many.value, { c = "c!", d = "d!" })
      t.equal(asked[1], "a,b")
    end)
  end)

  t.it("tells everyone who waits of an error, also of one that was thrown", function()
    for _, fetch in ipairs { function() return nil, { code = "conn_lost" } end,
      function() error("boom") end } do
      with_loader(fetch, function(l, turn)
        local one = started(function() return l:load("a") end)
        local two = started(function() return l:load("a") end)
        turn()
        one.finish()
        two.finish()
        t.equal(one.value, nil)
        t.ok(one.failure.code)
        t.equal(one.failure, two.failure)
      end)
    end
  end)
end)

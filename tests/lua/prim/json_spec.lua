local t = require "till.test"
local json = require "till.prim.json"


t.describe("till.prim.json", function()
  t.it("sorts keys, so that equal values give equal bytes", function()
    t.equal(json.encode({ b = 1, a = { c = true, ab = "x" } }), '{"a":{"ab":"x","c":true},"b":1}')
  end)

  t.it("sorts few keys and many alike", function()
    for _, count in ipairs { 1, 47, 48, 49, 50, 300 } do
      local object, wanted = {}, {}
      for i = count, 1, -1 do object[("k%03d"):format(i)] = i end
      for i = 1, count do wanted[i] = ('"k%03d":%d'):format(i, i) end
      t.equal(json.encode({ object, "after" }), "[{" .. table.concat(wanted, ",") .. '},"after"]')
    end
    local mixed = { [1.5] = true }
    for i = 1, 60 do mixed["k" .. i] = i end
    t.throws(function() json.encode(mixed) end, "key")
  end)

  t.it("tells an empty array from an empty object", function()
    t.equal(json.encode({ a = {}, b = json.array({}) }), '{"a":{},"b":[]}')
    t.equal(json.encode(json.decode('{"a":[],"b":{}}')), '{"a":[],"b":{}}')
  end)

  t.it("keeps null", function()
    t.equal(json.decode('{"a":null}').a, json.null)
    t.equal(json.encode({ json.null }), "[null]")
  end)

  t.it("throws on what cannot be JSON", function()
    t.throws(function() json.encode(print) end, "function")
    t.throws(function() json.encode(0 / 0) end, "finite")
    t.throws(function() json.encode({ 1, 2, nil, 4 }) end, "holes")
    t.throws(function() json.encode({ [{}] = 1 }) end, "key")
    local cycle = {}
    cycle.a = cycle
    t.throws(function() json.encode(cycle) end, "cycle")
  end)

  t.table({
    { why = "a duplicate key", text = '{"a":1,"a":null}' },
    { why = "an open array", text = "[1" },
    { why = "an open object", text = '{"a":1' },
    { why = "something behind it", text = "1 2" },
    { why = "nothing", text = "" },
  }, function(case)
    local value, err = json.decode(case.text)
    t.equal(value, nil)
    t.equal(err.code, "malformed_json")
    t.equal(type(err.offset), "number")
  end)

  t.it("refuses cards of what is foreign, and of nothing else", function()
    local text = '{"note":"4111 1111 1111 1111"}'
    local value, err = json.decode_foreign(text)
    t.same({ value, err.code, err.http }, { nil, "card_number_refused", 422 })
    t.equal(type(err.offset), "number")
    t.ok(not tostring(err):find("1111"), "the number is told back")
    t.equal(json.decode(text).note, "4111 1111 1111 1111")
    t.same(json.decode_foreign('{"note":"4111 1111 1111 1112"}'), { note = "4111 1111 1111 1112" })
    t.equal(select(2, json.decode_foreign("{")).code, "malformed_json")
  end)
end)

local t = require "till.test"
local err = require "till.util.err"


t.describe("till.util.err", function()
  t.it("carries code, message and the fields given", function()
    local e = err.new("sold_out", "3 wanted", { errors = { { pointer = "/lines/0" } } })
    t.equal(e.code, "sold_out")
    t.equal(e.message, "3 wanted")
    t.equal(e.errors[1].pointer, "/lines/0")
    t.equal(type(e.http), "number")
    t.equal(e.retryable, false)
  end)

  t.it("is told from other tables", function()
    local e = err.new("timeout", "late")
    t.ok(err.is(e))
    t.ok(err.is(e, "timeout"))
    t.equal(err.is(e, "conn_lost"), false)
    t.equal(err.is({ code = "timeout" }), false)
    t.equal(err.is(nil), false)
  end)

  t.it("prints code, message and the way it came", function()
    local e = err.new("timeout", "late"):at("store.load")
    t.equal(tostring(e), "timeout: late (store.load)")
    t.equal(tostring(e:at("flow.pay")), "timeout: late (flow.pay > store.load)")
  end)

  t.it("cannot be given another code by its fields", function()
    t.equal(err.new("timeout", "late", { code = "ok" }).code, "timeout")
  end)
end)

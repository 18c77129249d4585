local t = require "till.test"
local cookie = require "till.util.cookie"


t.describe("a cookie", function()
  t.it("is found by its whole name, the first of it", function()
    t.equal(cookie.get("a=1; sid=x-1; sid=y", "sid"), "x-1")
    t.equal(cookie.get('sid="x"', "sid"), "x")
    t.equal(cookie.get("xsid=x;  sid= y ;z", "sid"), "y")
    t.equal(cookie.get("sid=", "sid"), "")
    t.equal(cookie.get(" \t sid= \t x \t ; sid=y", "sid"), "x")
    t.equal(cookie.get(";;sid=x;", "sid"), "x")
  end)

  t.it("is not there", function()
    for _, header in ipairs { "", ";", "=", "sid", "xsid=1", "SID=1", "a=sid=1", "sid =1",
      "; ;" } do
      t.equal(cookie.get(header, "sid"), nil, header)
    end
  end)

  t.it("with what no cookie may hold is none", function()
    for _, value in ipairs { "a b", "a\1", 'a"b', "a,b", "a\\b", "\195\164" } do
      t.equal(cookie.get("sid=" .. value, "sid"), nil, value)
    end
  end)
end)

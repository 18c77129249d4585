local t = require "till.test"
local s = require "till.util.schema"

local LINE = s.object({
  variant_id = s.id("var"),
  quantity = s.integer { min = 1, max = 1000 },
  note = s.nullable(s.string { max = 5 }),
  tags = s.array(s.string { enum = { "gift", "fragile" } }, { max = 2 }),
}, { required = { "variant_id", "quantity" } })

local VARIANT = "var_01ARZ3NDEKTSV4RRFFQ69G5FAV"


local function refused(schema, value)
  local out, errors = schema:check(value)
  t.equal(out, nil)
  return errors[1]
end


t.describe("schema", function()
  t.it("takes what fits", function()
    t.ok(LINE:check { variant_id = VARIANT, quantity = 1, tags = { "gift" }, note = "äöüßé" })
  end)

  t.table({
    { why = "a member that is missing", value = { variant_id = VARIANT }, pointer = "/quantity",
      code = "required" },
    { why = "a fraction", value = { variant_id = VARIANT, quantity = 1.5 }, pointer = "/quantity",
      code = "type" },
    { why = "an enormous number", value = { variant_id = VARIANT, quantity = 1e300 },
      pointer = "/quantity", code = "too_large" },
    { why = "another prefix", value = { variant_id = "ord" .. VARIANT:sub(4), quantity = 1 },
      pointer = "/variant_id", code = "format" },
    { why = "an unknown member", value = { variant_id = VARIANT, quantity = 1, ["a/b~"] = 1 },
      pointer = "/a~1b~0", code = "unknown_field" },
    { why = "an entry of a list", pointer = "/tags/1", code = "enum",
      value = { variant_id = VARIANT, quantity = 1, tags = { "gift", "x" } } },
    { why = "too many entries", pointer = "/tags", code = "too_many",
      value = { variant_id = VARIANT, quantity = 1, tags = { "gift", "gift", "gift" } } },
    { why = "too many characters", pointer = "/note", code = "too_long",
      value = { variant_id = VARIANT, quantity = 1, note = "äöüßéx" } },
    { why = "a text that is no object", value = "x", pointer = "", code = "type" },
  }, function(case)
    local e = refused(LINE, case.value)
    t.equal(e.pointer, case.pointer)
    t.equal(e.code, case.code)
  end)

  t.it("refuses whole numbers beyond 2^53 - 1", function()
    t.ok(s.integer {}:check(2 ^ 53 - 1))
    t.equal(refused(s.integer {}, 2 ^ 53).code, "too_large")
    t.equal(refused(s.integer {}, -2 ^ 53).code, "too_small")
    t.ok(refused(s.integer {}, 0 / 0))
  end)

  t.it("refuses NUL and broken UTF-8 in texts", function()
    t.equal(refused(s.string {}, "a\0b").code, "nul")
    for _, text in ipairs { "\255", "\192\128", "\237\160\128", "\244\144\128\128", "\226\130" } do
      t.equal(refused(s.string {}, text).code, "utf8")
    end
    t.ok(s.string {}:check("\240\159\141\181"))
  end)

  t.table({
    { why = "email", good = { "ann@example.com", "a.b+c@x-y.co.uk" },
      bad = { "ann", "ann@", "@x.de", "a b@x.de", "a@x", "a@x..de", ".a@x.de", "a@-x.de" } },
    { why = "country", good = { "GY", "GB" }, bad = { "gy", "UK", "XX", "GBR" } },
    { why = "handle", good = { "tea-pot", "1" }, bad = { "Tea", "-a", "a b", "" } },
    { why = "sku", good = { "85123A", "a.b_c-d" }, bad = { "", " a", "a b", ("x"):rep(65) } },
    { why = "date-time", good = { "2026-11-20T10:00:00Z", "2024-02-29T10:00:00.5+02:00" },
      bad = { "2026-11-20", "2023-02-29T10:00:00Z", "2026-11-20T25:00:00Z",
        "2026-11-20 10:00:00", "1969-12-31T23:59:59Z", "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59-01:00" } },
  }, function(case)
    local of = s.string { format = case.why }
    for _, value in ipairs(case.good) do t.ok(of:check(value), value) end
    for _, value in ipairs(case.bad) do t.equal(refused(of, value).code, "format", value) end
  end)

  t.it("reads texts of a query string", function()
    t.equal(s.integer {}:parse { "12" }, 12)
    t.equal(s.boolean {}:parse { "false" }, false)
    t.same(s.array(s.integer {}):parse { "1,2", "3" }, { 1, 2, 3 })
    local _, errors = s.integer {}:parse { "1", "2" }
    t.equal(errors[1].code, "repeated")
    _, errors = s.integer {}:parse { "0x10" }
    t.equal(errors[1].code, "type")
  end)

  t.it("is printed as JSON Schema, names going to the components", function()
    local named = s.object({ a = s.nullable(s.string { max = 3 }), b = s.money() },
      { required = { "a" }, name = "SpecNamed" })
    local components = {}
    t.same(named:openapi(components), { ["$ref"] = "#/components/schemas/SpecNamed" })
    t.same(components.SpecNamed, { type = "object", additionalProperties = false,
      required = { "a" }, properties = {
        a = { type = { "string", "null" }, maxLength = 3 },
        b = { ["$ref"] = "#/components/schemas/Money" },
      } })
    t.ok(components.Money)
    t.throws(function() s.object({}, { name = "SpecNamed" }) end, "named twice")
  end)
end)

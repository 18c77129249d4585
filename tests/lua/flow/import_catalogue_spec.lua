local t = require "till.test"
local catalogue = require "till.flow.import.catalogue"


t.describe("a catalogue out of dirty rows", function()

  t.it("takes goods for goods, and nothing else", function()
    for _, code in ipairs({ "85123A", "22423", "84406B", "DCGS0003", "DCGSSBOY" }) do
      t.ok(catalogue.is_goods(code), code)
    end
    for _, code in ipairs({ "POST", "D", "M", "DOT", "C2", "BANK CHARGES", "AMAZONFEE", "CRUK",
      "GIFT_0001_20", "PADS", "S", "B" }) do
      t.ok(not catalogue.is_goods(code), code)
    end
  end)

  t.it("takes names for names, and notes by staff for notes", function()
    for _, name in ipairs({ "WHITE METAL LANTERN", "FRENCH BLUE METAL DOOR SIGN No",
      "3 TRADITIONAl BISCUIT CUTTERS  SET" }) do
      t.ok(catalogue.is_name(name), name)
    end
    for _, note in ipairs({ "", "?", "damaged", "wrongly coded 23343", "Dotcom sales", "check" }) do
      t.ok(not catalogue.is_name(note), note)
    end
  end)

  t.it("writes titles and handles", function()
    t.equal(catalogue.title("WHITE HANGING HEART T-LIGHT HOLDER"),
      "White Hanging Heart T-Light Holder")
    t.equal(catalogue.handle("SET OF 6 (T-LIGHTS) & MORE!", "85123A"),
      "set-of-6-t-lights-more-85123a")
  end)

  t.it("finds a category by the strongest word", function()
    t.equal(catalogue.category("WHITE HANGING HEART T-LIGHT HOLDER").handle, "lights")
    t.equal(catalogue.category("CHRISTMAS LIGHTS").handle, "christmas")
    t.equal(catalogue.category("SOMETHING ODD").handle, "curiosities")
  end)

  t.it("splits off the one colour", function()
    t.same({ catalogue.colour("PINK CUPID HANGER") }, { "CUPID HANGER", "Pink" })
    t.same({ catalogue.colour("RED AND BLUE CUP") }, {})
    t.same({ catalogue.colour("CUPID HANGER") }, {})
  end)

end)

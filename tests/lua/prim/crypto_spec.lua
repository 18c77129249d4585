local t = require "till.test"
local co = require "till.prim.co"
local crypto = require "till.prim.crypto"
local eventually = require("tests.support.until").eventually

local hex = crypto.hex


t.describe("till.prim.crypto", function()
  t.it("knows SHA-256 (FIPS 180-2)", function()
    t.equal(hex(crypto.sha256("")),
      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    t.equal(hex(crypto.sha256("abc")),
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
  end)

  t.it("knows HMAC (RFC 4231, cases 2 and 6)", function()
    t.equal(hex(crypto.hmac_sha256("Jefe", "what do ya want for nothing?")),
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
    t.equal(hex(crypto.hmac_sha256(("\170"):rep(131),
      "Test Using Larger Than Block-Size Key - Hash Key First")),
      "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
  end)

  -- Of hashlib.scrypt(n=16384, r=8, p=1, dklen=32).
  t.table({
    { why = "knows scrypt", password = "correct horse", salt = "0123456789abcdef",
      expected = "d0bba9c87933008803afd503b2b88001ff3bbcc6c26dc6947c3bc53801e4d03d" },
    { why = "knows scrypt of an empty password", password = "", salt = ("\0"):rep(16),
      expected = "aafcf55e459476ff6be6f07652e713a7f515279ae4439d6e18465f45d20b1bb3" },
  }, function(case)
    t.equal(hex(crypto.scrypt(case.password, case.salt)), case.expected)
  end)

  -- Anybody may send passwords: those of one kind neither pile up nor keep out the others.
  t.it("refuses passwords at once that are too many, and lets others in between", function()
    local salt, left, refused, over = ("s"):rep(16), 60, 0, co.waiter()
    for _ = 1, left do
      co.spawn(function()
        local hash, e = crypto.scrypt("x", salt, "registration")
        if not hash and e.code == "overloaded" then refused = refused + 1 end
        left = left - 1
        if left == 0 then over:signal() end
      end)
    end
    eventually("those that are too many are refused", function() return refused > 0 end)
    t.ok(crypto.scrypt("x", salt, "staff"))
    t.ok(left > 20, "they wait behind it")
    t.ok(over:wait(30000))
    t.ok(refused > 0 and refused < 60, refused)
    t.ok(crypto.scrypt("x", salt, "registration"))
    t.throws(function() crypto.scrypt("x", salt, "nobody") end, "invalid option")
  end)

  t.it("takes a salt of 16 bytes alone", function()
    t.throws(function() crypto.scrypt("x", "short") end, "is not 16 bytes")
  end)

  t.it("spells bytes (RFC 4648) and reads them back", function()
    for plain, text in pairs {
      [""] = "", f = "Zg", fo = "Zm8", foo = "Zm9v", ["\251\255\254"] = "-__-" } do
      t.equal(crypto.base64url(plain), text)
      t.equal(crypto.base64url_decode(text), plain)
    end
    t.equal(hex("\0\15\255"), "000fff")
    t.equal(crypto.hex_decode("000ffF"), "\0\15\255")
    t.equal(crypto.hex_decode(""), "")
    for _, text in ipairs { "0", "0g", "g0", "00 ", "0x00", "0\0" } do
      t.equal(crypto.hex_decode(text), nil)
    end
  end)

  t.it("reads no base64url that is none", function()
    for _, text in ipairs { "Zg==", "Z", "Zm+v", "Zm/v", "Z g", "Zh" } do
      t.equal(crypto.base64url_decode(text), nil, text)
    end
  end)

  t.it("compares all of it", function()
    t.equal(crypto.equal("abc", "abc"), true)
    t.equal(crypto.equal("abc", "abd"), false)
    t.equal(crypto.equal("abc", "abcd"), false)
    t.equal(crypto.equal("", ""), true)
  end)

  t.it("gives as many random bytes as asked for, never the same", function()
    t.equal(#crypto.random(4096), 4096)
    t.ok(crypto.random(16) ~= crypto.random(16))
    t.throws(function() crypto.random(4097) end, "between 0 and 4096")
  end)
end)

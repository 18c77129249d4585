local t = require "till.test"
local crypto = require "till.prim.crypto"
local signature = require "till.prim.signature"

local hex, hmac = crypto.hex, crypto.hmac_sha256
local NOW, BODY = 1700000000, '{"id":"evt_1"}'

-- Made for this file alone: openssl req -x509 -newkey rsa:2048 -days 36500 -subj /CN=test
local CERTIFICATE = [[
-----BEGIN CERTIFICATE-----
MIIDATCCAemgAwIBAgIUDZW3kjJrYl5uQ8BU98ycGvK27UcwDQYJKoZIhvcNAQEL
BQAwDzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMzAwMjI1MzJaGA8yMTI2MTEwNjAy
MjUzMlowDzENMAsGA1UEAwwEdGVzdDCCASIwDQYJKoZIhvcNAQEBBQADggEPADCC
AQoCggEBAJbGfYtPWWr81/7aw48KNwU79+3jh+n+JbBQoKe+wRg7c8A0rOSX7gx+
d3NVmLgk0HzzuTpql4UW6lU+cfHwsZKPVytqKjEKXIPxpZG+XizFY+POzYbiql0Z
UgbB49tXQN0NfB0FEd7KqPBD/Uao6NFls/iHYkrGs6TI0s4/zTlZUfvKxBYfGLz6
/8A2xbk58IAMWSEbfy65bmwsvdd3eYozWrkJ1QA34+csDzuueVXN6+h1YDPnXVjx
xV5Ra/dfF8BCP/KVbC6CJFIJX6xtxQPOq6X5sRpMZEVqM0EPn79MWIJmA0uCQmtu
PO5KLcUkscN6pImaJKrc9lOi1g7pqU0CAwEAAaNTMFEwHQYDVR0OBBYEFHPkt0y5
lyXy+bMazt4TcjBekr4XMB8GA1UdIwQYMBaAFHPkt0y5lyXy+bMazt4TcjBekr4X
MA8GA1UdEwEB/wQFMAMBAf8wDQYJKoZIhvcNAQELBQADggEBACDkbV5pATWwywkV
I/04tyCrBzyYrKn4mRjR8SS5ajYCoNqyZ3s5ZMWU03RzIwW0wN4kJ5jSxYYTScwQ
rOaOY1QRyt0/ZrgVY9ajh0ZJ2BpYYcaqr68XQ5UFmGVhLYlajLhNXoENxZEIF6ii
2dYuwhlFm7rHHX2vgydP/yTUx1YoEtdxyxmeeJAa2IIejGB1O3EJWTSMoAtM13BJ
BXYa4O8X2c3I0z4+TB6UA8I5Gu2nTl4/AiAXEohi+eMabt3qCUFPNCDHVwZ1bVNf
YAIcWy2mUM2hs08DS4y7GiXCtJ1fdXDJF0UJ9ZWcONnUmR54qZ2Y/JOsPFewi4nW
ozaX6Qw=
-----END CERTIFICATE-----
]]
local RSA = "lJdgZivn2/CNX2BrVmOGlx3tgy18KQlFwdS2+LF6KhiGYVvndZo2EYe1CjFSDOP0Om8gkJI5jGEGOy1P"
  .. "mF5HXFq1XWEXILTJzo332O3MlPCDX8bjV4+VScEGjrcdNzeHc/EAu2uV5URmjqiJqnZmhNqwyapqeQcq"
  .. "HYlifxEHHVIWw4SqnPNGH+OK9tW714nz0yhc3ZQdUiR4jtiCpfXXkyqSpUr1/tMwunDrW4KCl2Tba6he"
  .. "eNarT7jQofKqxqotJyMveLsu5qfrzpXKDB27ASgBzcHofom4hmXNXFw2QcICQQTaX26TLWYd8k1KfsRE"
  .. "nh7S1zc2fsMGOa6MXnrnZg=="
-- openssl ecparam -name prime256v1 -genkey; as SendGrid shows its key
local CURVE_KEY = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE/j7FaFTGX0AjCjS/XZyTW1/AtAgb6B4RniCMER6cwVLz"
  .. "jECqpotrcrjvileL1BAh2RI7HJ2smiizCOshX6db/g=="
local ECDSA = "MEUCIGWUTdrLFYPboDgWnn4fTmSunzaqufrlD4xkChZF9TqAAiEAorLWPDcT0NpqfiyrHoEBK6Ua/DyM"
  .. "rg93BMiJtjRVR3I="
local SIGNED, IN_TIME = "id|2026-11-30T02:00:00Z|WH-1|4066565729", { now_s = 1800000000 }


local function header(secret, at)
  return "t=" .. at .. ",v1=" .. hex(hmac(secret, at .. "." .. BODY))
end


local function stripe(given, secrets, options)
  options = options or {}
  options.now_s = NOW
  return { signature.stripe(given, BODY, secrets, options) }
end


t.describe("till.prim.signature", function()
  t.table({
    { why = "takes the one secret", header = header("a", NOW), secrets = "a", expected = { true } },
    { why = "takes each of those that are live", header = header("b", NOW), secrets = { "a", "b" },
      expected = { true } },
    { why = "takes no secret that has gone", header = header("c", NOW), secrets = { "a", "b" },
      expected = { false, "no_match" } },
    { why = "tolerates 300 seconds", header = header("a", NOW - 300), secrets = "a",
      expected = { true } },
    { why = "and no more", header = header("a", NOW - 301), secrets = "a",
      expected = { false, "stale" } },
    { why = "nor of a clock that is ahead", header = header("a", NOW + 301), secrets = "a",
      expected = { false, "stale" } },
    { why = "tolerates what it is told", header = header("a", NOW - 301), secrets = "a",
      options = { tolerance_s = 301 }, expected = { true } },
    { why = "takes no nonsense", header = "v1=abc", secrets = "a",
      expected = { false, "malformed" } },
    { why = "takes nothing for no signature", secrets = "a", expected = { false, "malformed" } },
  }, function(case)
    t.same(stripe(case.header, case.secrets, case.options), case.expected)
  end)

  t.it("counts from the present where it is not told another time", function()
    local now = math.floor(require("till.prim.time").now_ms() / 1000)
    t.same({ signature.stripe(header("a", now), BODY, "a") }, { true })
    t.same({ signature.stripe(header("a", NOW), BODY, "a") }, { false, "stale" })
  end)

  t.it("throws where a secret was forgotten", function()
    for _, secrets in ipairs { "", {}, { "a", "" }, { 5 } } do
      t.throws(function() signature.stripe(header("a", NOW), BODY, secrets) end, "secret")
      t.throws(function() signature.hmac("", BODY, secrets) end, "secret")
    end
    t.throws(function() signature.stripe(header("a", NOW), BODY, nil) end, "table expected")
  end)

  t.it("knows HMAC in hex and base64 (RFC 4231, case 2)", function()
    local text = "what do ya want for nothing?"
    local given = "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="
    t.same({ signature.hmac(hex(hmac("Jefe", text)), text, { "x", "Jefe" }) }, { true })
    t.same({ signature.hmac(given, text, "Jefe", "base64") }, { true })
    t.same({ signature.hmac(given, text .. "!", "Jefe", "base64") }, { false, "no_match" })
    t.same({ signature.hmac(given, text, "Jefe") }, { false, "malformed" })
    t.same({ signature.hmac(nil, text, "Jefe") }, { false, "malformed" })
    t.throws(function() signature.hmac(given, text, "Jefe", "base32") end, "base32")
  end)

  t.it("verifies RSA by a certificate, between its dates", function()
    t.same({ signature.rsa(CERTIFICATE, RSA, SIGNED, IN_TIME) }, { true })
    t.same({ signature.rsa(CERTIFICATE, RSA, SIGNED .. "0", IN_TIME) }, { false, "no_match" })
    t.same({ signature.rsa(CERTIFICATE, RSA, SIGNED, { now_s = 1700000000 }) }, { false, "stale" })
    t.same({ signature.rsa(CERTIFICATE, nil, SIGNED, IN_TIME) }, { false, "malformed" })
    t.same({ signature.rsa("no key", RSA, SIGNED) }, { false, "bad_key" })
    t.same({ signature.ecdsa(CERTIFICATE, RSA, SIGNED) }, { false, "bad_key" })
  end)

  t.it("verifies ECDSA by a key without a frame", function()
    t.same({ signature.ecdsa(CURVE_KEY, ECDSA, SIGNED) }, { true })
    t.same({ signature.ecdsa(CURVE_KEY, ECDSA, SIGNED .. "0") }, { false, "no_match" })
    t.same({ signature.rsa(CURVE_KEY, ECDSA, SIGNED) }, { false, "bad_key" })
  end)

  t.it("knows the checksum that PayPal signs", function()
    t.equal(signature.crc32(""), 0)
    t.equal(signature.crc32("123456789"), 0xcbf43926)
    t.equal(signature.crc32('{"id":"WH-1"}'), 838965618)
  end)
end)

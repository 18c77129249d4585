-- till/prim/signature - who sent a webhook (core/trade/signature.h). Check it before anything else.
--
--   stripe(header, body, secrets [, {tolerance_s=300, now_s=}])  `t=...,v1=...`, as Stripe signs
--   hmac(given, text, secrets [, "hex" | "base64"])              HMAC-SHA256, hex where not told
--   rsa(key, given, text [, {now_s=}])    SHA256withRSA, base64; key: PEM of a certificate or a
--   ecdsa(key, given, text [, {now_s=}])  public key, or base64 of its DER; ECDSA likewise
--   crc32(bytes) -> number                as PayPal has it in the text that it signs
--
-- Each gives true, or false and why: "malformed" (also where nothing was sent: nil), "no_match",
-- "stale" (it matches and is too old or too new, or the certificate is), "bad_key". `secrets` is a
-- text or a list of those that are live, up to 8. An empty secret throws. All secrets are compared
-- with all signatures in constant time.
local c = require "till.c.signature"
local time = require "till.prim.time"

local signature = { crc32 = c.crc32 }

local TOLERANCE_S = 300


local function now_s(options)
  return options and options.now_s or math.floor(time.now_ms() / 1000)
end


local function list(secrets)
  return type(secrets) == "string" and { secrets } or secrets
end


function signature.stripe(header, body, secrets, options)
  return c.stripe(header or "", body, list(secrets), now_s(options),
    options and options.tolerance_s or TOLERANCE_S)
end


function signature.hmac(given, text, secrets, spelling)
  return c.hmac(given or "", text, list(secrets), spelling or "hex")
end


function signature.rsa(key, given, text, options)
  return c.public("rsa", key, given or "", text, now_s(options))
end


function signature.ecdsa(key, given, text, options)
  return c.public("ecdsa", key, given or "", text, now_s(options))
end


return signature

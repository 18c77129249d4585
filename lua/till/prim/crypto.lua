-- till/prim/crypto - digests, random bytes, passwords.
--
--   sha256(s), hmac_sha256(key, s)  -> 32 bytes
--   random(n)                       -> n bytes from the kernel's generator, n up to 4096
--   hex(s), base64url(s)            -> text
--   hex_decode(s), base64url_decode(s) -> bytes | nil: it is none
--   equal(a, b)                     in constant time
--   scrypt(password, salt16 [, who])    waits, some 40 ms on another thread -> 32 bytes | nil, err:
--                                   `overloaded` at once where 32 of this `who` wait already:
--                                   "staff", "customer", "registration", "other": they take turns
-- Not as a tail call: the binding looks at who asks for it.
local c = require "till.c.crypto"

return c

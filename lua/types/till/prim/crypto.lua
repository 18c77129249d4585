---@meta till.prim.crypto
-- Written by scripts/lint-surface --write.

--- Digests and random bytes.
---@class till.prim.crypto
local crypto_ = {}

--- 32 bytes.
---@param s string
---@return string digest
function crypto_.sha256(s) end

--- 32 bytes.
---@param key string
---@param s string
---@return string digest
function crypto_.hmac_sha256(key, s) end

--- Up to 4096, from the kernel.
---@param n integer
---@return string bytes
function crypto_.random(n) end

--- Two digits a byte.
---@param s string
---@return string text
function crypto_.hex(s) end

--- nil where it is none.
---@param s string
---@return string? bytes
function crypto_.hex_decode(s) end

--- Without padding.
---@param s string
---@return string text
function crypto_.base64url(s) end

--- nil where it is none.
---@param s string
---@return string? bytes
function crypto_.base64url_decode(s) end

--- In constant time: for signatures.
---@param a string
---@param b string
---@return boolean are_they
function crypto_.equal(a, b) end

--- Waits, some 40 ms. A salt of 16 bytes gives 32. `overloaded` at once where many wait.
---@param password string
---@param salt string
---@return string? key
---@return till.Err? err
function crypto_.scrypt(password, salt) end

return crypto_

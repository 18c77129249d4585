---@meta till.prim.signature
-- Written by scripts/lint-surface --write.

--- Who sent a webhook. `secrets` is a text or a list of those that are live; why: "malformed", "no_match", "stale", "bad_key".
---@class till.prim.signature
local signature_ = {}

--- `t=...,v1=...`; 300 s in both directions.
---@param header string?
---@param body string
---@param secrets string|string[]
---@param options? {tolerance_s?: integer, now_s?: integer}
---@return boolean is_valid
---@return string? why
function signature_.stripe(header, body, secrets, options) end

--- HMAC-SHA256 in "hex" or "base64".
---@param given string?
---@param text string
---@param secrets string|string[]
---@param spelling? string
---@return boolean is_valid
---@return string? why
function signature_.hmac(given, text, secrets, spelling) end

--- SHA256withRSA, base64; the key: PEM of a certificate or public key, or its DER in base64.
---@param key string
---@param given string?
---@param text string
---@param options? {now_s?: integer}
---@return boolean is_valid
---@return string? why
function signature_.rsa(key, given, text, options) end

--- ECDSA with SHA-256 in base64, the same keys.
---@param key string
---@param given string?
---@param text string
---@param options? {now_s?: integer}
---@return boolean is_valid
---@return string? why
function signature_.ecdsa(key, given, text, options) end

--- As PayPal has it in the text that it signs.
---@param bytes string
---@return integer number
function signature_.crc32(bytes) end

return signature_

-- till/util/id - public ids: a prefix that says what it is, and a ULID.
--
--   new("cart")        -> "cart_01J9ZC8Q4V3M5N7P8R9S0T1V2W"
--   bin("cart", text)  -> the 16 bytes that the tables hold, or nil (another prefix, another form)
--   text("cart", bin)  -> the public form
--   valid("cart", text)
--   PREFIXES           what each prefix stands for
--   use(codec)         { new(), text(bin, head), bin(text, head), is(text, head) } of the core do
--                      it from now on; head is the prefix with its underscore. A list of products
--                      turns some hundred ids each time
--
-- Ids are compared as bytes, so only the canonical form is accepted: 26 characters of Crockford's
-- base32 in upper case, the first at most 7. An unknown prefix is a bug and throws.
local id = {}

local byte, char, find, sub = string.byte, string.char, string.find, string.sub
local band, rshift = bit.band, bit.rshift

id.PREFIXES = {
  prod = "a product", var = "a variant", cat = "a category", cart = "a cart",
  line = "a line of a cart or an order", ord = "an order", pay = "a payment",
  ful = "a fulfilment", promo = "a promotion", evt = "an event", cus = "a customer",
  staff = "a member of the staff", key = "an API key", sess = "a session",
  res = "a reservation", addr = "an address", loc = "a location", adj = "a stock adjustment",
  cnt = "a count of stock", trf = "a transfer of stock", can = "a cancellation", ret = "a return",
  rfnd = "a refund", rule = "a rule", cap = "a capture", pmt = "a saved payment method",
}

local ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
local TEXT_LEN, BIN_LEN = 26, 16
local FORM = "^[0-7][0-9A-HJKMNP-TV-Z]*$"

local value_of, char_of = {}, {}
for i = 1, #ALPHABET do
  value_of[byte(ALPHABET, i)] = i - 1
  char_of[i - 1] = sub(ALPHABET, i, i)
end

local heads = {}
for prefix in pairs(id.PREFIXES) do heads[prefix] = prefix .. "_" end


local function head_of(prefix)
  local head = heads[prefix]
  if not head then error("no such id prefix: " .. tostring(prefix), 3) end
  return head
end


local function is(text, head)
  local n = #head
  return #text == n + TEXT_LEN and sub(text, 1, n) == head and find(sub(text, n + 1), FORM) == 1
end


function id.valid(prefix, text)
  local head = head_of(prefix)
  return type(text) == "string" and is(text, head)
end


-- 26 digits of five bits are 130: the two highest are zero, the digit being at most 7.
local function decode(text, head)
  if not is(text, head) then return nil end
  local out, bits, held = {}, 0, 0
  local from = #head + 1
  for i = from, from + TEXT_LEN - 1 do
    bits = bits * 32 + value_of[byte(text, i)]
    held = held + (i == from and 3 or 5)
    while held >= 8 do
      held = held - 8
      local unit = 2 ^ held
      local top = math.floor(bits / unit)
      out[#out + 1] = char(top)
      bits = bits - top * unit
    end
  end
  return table.concat(out)
end


function id.bin(prefix, text)
  local head = head_of(prefix)
  return type(text) == "string" and decode(text, head) or nil
end


local function encode(bin, head)
  local out, bits, held = {}, 0, 2
  for i = 1, BIN_LEN do
    bits = bits * 256 + byte(bin, i)
    held = held + 8
    while held >= 5 do
      held = held - 5
      out[#out + 1] = char_of[band(rshift(bits, held), 31)]
      bits = bits % 2 ^ held
    end
  end
  return head .. table.concat(out)
end


function id.text(prefix, bin)
  local head = head_of(prefix)
  if type(bin) ~= "string" or #bin ~= BIN_LEN then error("an id has 16 bytes", 2) end
  return encode(bin, head)
end


-- Entropy and clock come from the core; asked for late, so that the rest stays pure.
local function make()
  return require("till.prim.ulid").new()
end


function id.use(codec)
  encode, decode, is, make = codec.text, codec.bin, codec.is, codec.new
end


function id.new(prefix)
  return id.text(prefix, make())
end


return id

--- The first keys and the first login of a shop, made once, for `moontill dev`.
--
-- They are kept in DIR/keys.json (mode 0600), beside the database they belong
-- to: where the file is there but the database does not know its keys (one of
-- the two was deleted), new ones are made.
--
local crypto = require "till.prim.crypto"
local file = require "till.prim.file"
local json = require "till.prim.json"
local keys = require "till.store.keys"
local people = require "till.store.people"
local say = require "till.cli.say"
local sql = require "till.prim.sql"
local term = require "till.prim.term"


local setup = {}


local EMAIL = "admin@moontill.example" -- RFC 2606: nobody's mailbox
local OWNER_ONLY = 384                 -- 0600


local function path()
  return term.env("MOONTILL_VAR") .. "/keys.json"
end


-- The keys of an earlier run, if the database still knows them; false if not.
local function kept()
  local text = file.read(path())
  local known = text and json.decode(text)
  if not known then
    return false
  end
  local found, failure = keys.find(crypto.sha256(known.admin_key or ""))
  if found == nil then
    return nil, failure
  end
  return found and not found.revoked and known
end


-- The staff member's password is set anew where the address is there already.
local function owner(tx, password)
  local salt = crypto.random(16)
  local made, failure = crypto.scrypt(password, salt)
  if not made then
    return nil, failure
  end
  local _, why = tx:exec("DELETE FROM staff WHERE email = ?", EMAIL)
  if why then
    return nil, why
  end
  return people.staff.create({ email = EMAIL, name = "Owner", roles = { "owner" },
    password = { salt = salt, hash = made } }, tx)
end


local function make()
  local password = crypto.base64url(crypto.random(12))
  return sql.transaction(function(tx)
    local store_key, store_text = keys.create({ kind = "publishable", name = "Storefront" }, tx)
    if not store_key then
      return nil, store_text
    end
    local admin_key, admin_text = keys.create(
      { kind = "secret", name = "Development", roles = { "owner" } }, tx)
    if not admin_key then
      return nil, admin_text
    end
    local staff, failure = owner(tx, password)
    return staff and { store_key = store_text, admin_key = admin_text, admin_email = EMAIL,
      admin_password = password }, failure
  end)
end


--- @return the exit code
function setup.main(option)
  if option == "--help" then
    term.write("moontill setup [--var DIR]: makes the first keys and login, once\n")
    return 0
  end
  local known, failure = kept()
  if known == false then
    known, failure = make()
    if known then
      local ok
      ok, failure = file.write(path(), json.encode(known) .. "\n", OWNER_ONLY)
      known = ok and known
    end
  end
  if not known then
    return say.refused("setup", failure)
  end
  return 0
end


return setup

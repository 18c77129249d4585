-- till/http/page - pages of HTML: everything is escaped unless it says that it is markup.
--
--   local h = page.h
--   h.p { class = "note", "5 < 6 ", h.b { "bold" } }     an element: attributes by name, children
--                                                        by position; nil and false are left out
--   page.raw(text)                                       markup as it is
--   page.response(ctx, { title =, body = node or list, script = text, status = })
--
-- Pages bring neither scripts nor fonts from elsewhere; a script of their own carries the nonce of
-- the answer, and the Content-Security-Policy forbids everything else.
local crypto = require "till.prim.crypto"
local respond = require "till.http.respond"
local style = require "till.http.style"

local page = {}

local RAW = {}
local VOID = { meta = true, link = true, input = true, br = true, img = true, hr = true }
local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;",
  ["'"] = "&#39;" }


function page.escape(value)
  return (tostring(value):gsub("[&<>\"']", ENTITIES))
end


function page.raw(text)
  return setmetatable({ text = text }, RAW)
end


local function children(node, out)
  for i = 1, #node do
    local child = node[i]
    if getmetatable(child) == RAW then
      out[#out + 1] = child.text
    elseif type(child) == "table" then
      children(child, out)
    elseif child then
      out[#out + 1] = page.escape(child)
    end
  end
end


local function attributes(node, out)
  local names = {}
  for name in pairs(node) do
    if type(name) == "string" then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local value = node[name]
    if value == true then
      out[#out + 1] = " " .. name
    elseif value then
      out[#out + 1] = (' %s="%s"'):format(name, page.escape(value))
    end
  end
end


local function element(tag, node)
  local out = { "<" .. tag }
  attributes(node, out)
  out[#out + 1] = ">"
  if not VOID[tag] then
    children(node, out)
    out[#out + 1] = "</" .. tag .. ">"
  end
  return page.raw(table.concat(out))
end


page.h = setmetatable({}, { __index = function(self, tag)
  local function make(node) return element(tag, node) end
  rawset(self, tag, make)
  return make
end })


local function policy(nonce, has_script)
  return ("default-src 'none'; img-src 'self' data:; style-src 'nonce-%s'; script-src %s; "
    .. "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"):format(
    nonce, has_script and ("'nonce-%s'"):format(nonce) or "'none'")
end


function page.response(opts)
  local h, nonce = page.h, crypto.base64url(crypto.random(16))
  local html = h.html { lang = opts.lang or "en",
    h.head {
      h.meta { charset = "utf-8" },
      h.meta { name = "viewport", content = "width=device-width, initial-scale=1" },
      h.title { opts.title },
      h.style { nonce = nonce, page.raw(style) },
    },
    h.body { opts.body, opts.script and h.script { nonce = nonce, page.raw(opts.script) } },
  }
  return respond.text(opts.status or 200, "text/html; charset=utf-8",
    "<!doctype html>\n" .. html.text, {
      ["content-security-policy"] = policy(nonce, opts.script),
      ["x-content-type-options"] = "nosniff",
      ["referrer-policy"] = "same-origin",
      ["cache-control"] = opts.cache or "no-cache",
    })
end


return page

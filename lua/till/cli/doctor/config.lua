-- till/cli/doctor/config - what the configuration says that will be regretted.
local file = require "till.prim.file"

local OTHERS_READ = 4 -- of a mode


local function signing_secret(report, facts)
  if not facts.signing_secret_is_made then
    report.ok("shop.signing_secret", "is set")
    return
  end
  report.warn("shop.signing_secret", "is empty: one is made at each start",
    "Set it, the same on all machines: until then page cursors end with the process, and one"
    .. " machine does not know another's. `openssl rand -hex 32` makes one.")
end


local function forwarded(report, facts)
  local listen = facts.conf.get("server.listen")
  local trusts = facts.conf.get("server.trust_forwarded")
  local is_local = listen:find("^127%.") or listen:find("^%[::1%]") or listen:find("^localhost:")
  if trusts and not is_local then
    report.warn("server.trust_forwarded", "is on, and " .. listen .. " can be reached from outside",
      "Whoever comes past the proxy chooses his address himself, and with it his limits. Listen"
      .. " on an address that only the proxy reaches, or turn it off.")
  elseif facts.conf.get("server.cert_file") == "" and not is_local then
    report.warn("server.cert_file", "is empty, and " .. listen .. " can be reached from outside",
      "Without TLS keys and addresses can be read on the way. Set a certificate, or listen where"
      .. " only a proxy with TLS reaches it.")
  else
    report.ok("server.trust_forwarded", trusts and "on, behind a proxy on this machine" or "off")
  end
end


local function is_open(path)
  local stat = file.stat(path)
  return stat and stat.mode % 8 >= OTHERS_READ
end


local function code_of(text)
  return (text:gsub("%-%-[^\n]*", ""))
end


local function holds_secret(code)
  for _, name in ipairs { "password", "signing_secret", "secret_key", "api_key", "secret" } do
    local value = code:match("%f[%w_]" .. name .. "%s*=%s*(%b\"\")")
    if value and value ~= '""' then return name end
  end
end


-- Secrets in the file itself, and those that it points to.
local function secrets(report, facts)
  local text = file.read(facts.conf_file)
  local code, seen = code_of(text or ""), false
  local name = holds_secret(code)
  if name and is_open(facts.conf_file) then
    seen = true
    report.fail("config.secrets", ("%s holds `%s`, and everybody on this machine can read it")
      :format(facts.conf_file, name), "chmod 640 it, or put the secret into a file of its own:"
      .. " file(\"/path\").")
  end
  for path in code:gmatch('file%(%s*"([^"]+)"%s*%)') do
    if is_open(path) then
      seen = true
      report.fail("config.secrets", "everybody on this machine can read " .. path,
        "chmod 600 it, for the user that the server is started by.")
    end
  end
  local key = facts.conf.get("server.key_file")
  if key ~= "" and is_open(key) then
    seen = true
    report.fail("config.secrets", "everybody on this machine can read " .. key,
      "chmod 600 it: whoever has the key can be the shop.")
  end
  if not seen then report.ok("config.secrets", "no file with a secret is open to everybody") end
end


return { signing_secret, forwarded, secrets }

-- till/cli/doctor/certificate - what clients would say of server.cert_file.
local time = require "till.prim.time"

local DAY = 86400


local function dates(report, cert)
  local now = time.now_ms() / 1000
  local days = math.floor((cert.ends - now) / DAY)
  local finding = "valid until " .. time.rfc3339(cert.ends * 1000):sub(1, 10)
  local advice = "Renew it into server.cert_file and server.key_file, then `moontill reload`: no"
    .. " connection is lost."
  if cert.ends <= now then
    report.fail("certificate.dates", "it ended on " .. time.rfc3339(cert.ends * 1000):sub(1, 10),
      advice)
  elseif cert.begins > now then
    report.fail("certificate.dates", "it is not valid before "
      .. time.rfc3339(cert.begins * 1000):sub(1, 16), "Look at the clock of this machine.")
  elseif days < 14 then
    report.warn("certificate.dates", ("%s, %d days"):format(finding, days), advice)
  else
    report.ok("certificate.dates", ("%s, %d days"):format(finding, days))
  end
end


local function key(report, cert)
  local finding = ("%s, %d bits"):format(cert.key_type, cert.key_bits)
  if not cert.key_matches then
    report.fail("certificate.key", "server.key_file is not the key of server.cert_file",
      "Put the pair there that belongs together; the server does not start with another.")
  elseif cert.key_type:find("^rsa") and cert.key_bits < 2048 then
    report.fail("certificate.key", finding .. ": too short, browsers refuse it",
      "Make one of 2048 bits, or better an ECDSA key (P-256).")
  else
    report.ok("certificate.key", finding)
  end
end


local function chain(report, cert)
  local advice = "server.cert_file holds the server's certificate first, then each that signed the"
    .. " one before it (\"fullchain\")."
  if not cert.in_order then
    report.fail("certificate.chain", "a certificate in the file did not sign the one before it",
      advice)
  elseif cert.not_trusted then
    report.warn("certificate.chain", ("%d in the file; this system does not trust it: %s"):format(
      cert.chain, cert.not_trusted), "Well for a certificate of your own making, whose authority"
      .. " clients know. Else: " .. advice)
  else
    report.ok("certificate.chain", ("%d in the file, trusted here"):format(cert.chain))
  end
end


local function names(report, cert)
  if cert.addresses == 0 then
    report.fail("certificate.names", "it names no host (subjectAltName): clients refuse it",
      "Have it made for the shop's host names.")
  else
    report.ok("certificate.names", #cert.names > 0 and table.concat(cert.names, ", ")
      or "addresses only")
  end
end


local function examine(report, facts)
  local cert = facts.certificate
  if not cert then
    report.ok("certificate", "none: plain HTTP, for a proxy in front")
  elseif cert.error then
    report.fail("certificate", cert.error, "The server does not start without it; is the path"
      .. " right, and may this user read it?")
  else
    dates(report, cert)
    key(report, cert)
    chain(report, cert)
    names(report, cert)
  end
end


return { examine }

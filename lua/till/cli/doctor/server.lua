-- till/cli/doctor/server - versions, the running server, ports, and whether the code loads.
local VERSIONS = { "moontill", "libh2o", "luajit", "mariadb client", "libcurl", "hiredis",
  "openssl", "kernel" }


local function versions(report, facts)
  local out = {}
  for _, name in ipairs(VERSIONS) do
    out[#out + 1] = name .. " " .. tostring(facts.versions[name])
  end
  report.ok("versions", table.concat(out, ", "))
end


local function running(report, facts)
  local server = facts.running
  if not server then
    if facts.running_error:lower():find("denied") then
      report.warn("server", facts.running_error, "Ask as the user that it runs as, or as root.")
    else
      report.ok("server", "does not run here")
    end
    return
  end
  if server.version ~= facts.versions.moontill then
    report.warn("server", ("runs version %s, this program is %s"):format(server.version or "?",
      facts.versions.moontill), "Start the server anew to run the newer one.")
  else
    report.ok("server", ("runs as process %d, version %s"):format(server.pid, server.version))
  end
end


local function workers(report, facts)
  if not facts.running then return end
  local away, behind, restarts, down = {}, {}, 0, false
  for _, worker in ipairs(facts.running.workers) do
    if worker.state ~= "ready" then
      away[#away + 1] = worker.name .. " is " .. worker.state
      down = down or worker.state == "down"
    elseif worker.generation ~= facts.running.generation then
      behind[#behind + 1] = worker.name
    end
    restarts = restarts + worker.restarts
  end
  if #away > 0 then
    report[down and "fail" or "warn"]("server.workers", table.concat(away, ", "), "Ask again in a"
      .. " moment; the log's events worker.ended and generation.refused say why.")
  elseif restarts > 0 then
    report.warn("server.workers", ("all are ready, but they were restarted %d times"):format(
      restarts), "The log's events worker.ended say why.")
  else
    report.ok("server.workers", ("%d, all ready"):format(#facts.running.workers))
  end
  if #behind > 0 then
    report.fail("server.generation", table.concat(behind, ", ") .. " run another generation than "
      .. facts.running.generation:sub(1, 12), "`moontill reload`; if that does not help, kill"
      .. " those workers: they are replaced.")
  end
end


local function ports(report, facts)
  if not facts.listen_error then return end
  for _, name in ipairs { "listen", "ops_listen" } do
    local why = facts[name .. "_error"]
    if why == "" then
      report.ok("server." .. name, "its port is free")
    else
      report.fail("server." .. name, why, ("Stop what has it, or set server.%s to another."):format(
        name))
    end
  end
end


local function generation(report, facts)
  if facts.generation_error then
    report.fail("generation", facts.generation_error,
      "Mend that file or option: neither a start nor a reload takes it. What runs goes on.")
  elseif facts.running and facts.running.generation ~= facts.generation then
    report.warn("generation", "the folders hold " .. facts.generation:sub(1, 12)
      .. ", the server runs " .. facts.running.generation:sub(1, 12),
      "`moontill reload` brings what is in the folders into service.")
  else
    report.ok("generation", facts.generation:sub(1, 12) .. " loads, plugins and all")
  end
end


return { versions, running, workers, ports, generation }

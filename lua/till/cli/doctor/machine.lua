-- till/cli/doctor/machine - limits of the kernel and of the process, disks, the clock.
local file = require "till.prim.file"
local term = require "till.prim.term"

local MB, GB = 1024 * 1024, 1024 * 1024 * 1024
local OWN_FDS = 64 -- of a worker, besides connections: log, timers, files, libraries


local function number_in(path)
  local text = file.read(path)
  return text and tonumber(text:match("^(%d+)"))
end


-- Of the server that runs, else of whoever asks: a service has limits of its own.
local function descriptors(report, facts)
  local conf, hard = facts.conf, facts.nofile
  if facts.running then
    local limits = file.read(("/proc/%d/limits"):format(facts.running.pid))
    hard = limits and tonumber(limits:match("Max open files%s+%d+%s+(%d+)")) or hard
  end
  local need = conf.get("server.max_connections") + conf.get("mysql.connections")
    + conf.get("http.max_connections") + OWN_FDS
  local finding = ("%d descriptors, a worker may need %d"):format(hard, need)
  if hard < need then
    report.fail("limits.files", finding, "Raise the limit (LimitNOFILE= of the service, ulimit"
      .. " -Hn), or lower server.max_connections: a worker without descriptors accepts nobody.")
  else
    report.ok("limits.files", finding)
  end
end


local function queues(report, facts)
  local backlog = facts.conf.get("server.backlog")
  for _, name in ipairs { "net/core/somaxconn", "net/ipv4/tcp_max_syn_backlog" } do
    local limit = number_in("/proc/sys/" .. name)
    local option = name:gsub("/", ".")
    local check = "limits." .. name:match("[^/]+$")
    if limit and limit < backlog then
      report.warn(check, ("%s is %d, server.backlog %d"):format(option, limit, backlog),
        ("sysctl -w %s=%d, and into /etc/sysctl.d: in a rush the kernel turns connections away.")
        :format(option, backlog))
    elseif limit then
      report.ok(check, ("%d, server.backlog %d"):format(limit, backlog))
    end
  end
end


local function workers(report, facts)
  local web, jobs = facts.web_workers, facts.jobs_workers
  local needed = (web + jobs) * 2 * facts.conf.get("vm.memory_cap_mb") * MB
  local finding = ("%d web and %d jobs workers on %d cores"):format(web, jobs, facts.cpus)
  if web > 2 * facts.cpus then
    report.warn("server.workers.count", finding, "More web workers than cores wait for each other;"
      .. " server.workers = 0 takes one a core.")
  elseif jobs == 0 then
    report.warn("server.jobs_workers", "there is none: nothing is captured, sent or resumed here",
      "Well where another machine has one; else set server.jobs_workers to 1 or more.")
  else
    report.ok("server.workers.count", finding)
  end
  if needed > facts.memory then
    report.warn("limits.memory", ("during a reload Lua may take %.1f GB, the machine has %.1f")
      :format(needed / GB, facts.memory / GB), "Lower vm.memory_cap_mb, or have fewer workers.")
  end
end


local function disk(report, check, path)
  local room = file.disk(path)
  if not room then return end
  local share = room.free / math.max(1, room.size)
  local finding = ("%.1f of %.1f GB are free for %s"):format(room.free / GB, room.size / GB, path)
  local advice = "Make room, or move it: what cannot be written stops the server."
  if room.free < 100 * MB or share < 0.01 then
    report.fail(check, finding, advice)
  elseif share < 0.1 and room.free < 10 * GB then
    report.warn(check, finding, advice)
  else
    report.ok(check, finding)
  end
  if room.files > 0 and room.files_free / room.files < 0.02 then
    report.fail(check .. ".inodes", ("%d of %d files are left for %s"):format(room.files_free,
      room.files, path), "Delete small files that nobody needs; the disk has room, but no names.")
  end
end


local function disks(report, facts)
  local var = term.env("MOONTILL_VAR")
  if file.stat(var) then
    disk(report, "disk.var", var)
  else
    report.ok("disk.var", var .. " is not there yet; the first start makes it")
  end
  local log = facts.conf.get("log.file"):match("^(.*)/[^/]*$")
  if log then disk(report, "disk.log", log == "" and "/" or log) end
end


local function clock(report, facts)
  if facts.clock_is_kept == nil then return end
  if facts.clock_is_kept then
    report.ok("clock", "is kept by NTP")
  else
    report.warn("clock", "the kernel does not know of anybody who keeps it",
      "Run chrony or systemd-timesyncd: signatures of webhooks, sessions and certificates need the"
      .. " time. (In a container the host's counts.)")
  end
end


return { descriptors, queues, workers, disks, clock, disk = disk }

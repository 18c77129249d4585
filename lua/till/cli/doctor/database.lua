-- till/cli/doctor/database - MariaDB: is it there, is it safe, has it room, is its schema ours?
local file = require "till.prim.file"
local machine = require "till.cli.doctor.machine"
local migrate = require "till.cli.migrate"
local migrations = require "till.store.migrations"
local sql = require "till.prim.sql"
local term = require "till.prim.term"
local time = require "till.prim.time"

local MB = 1024 * 1024
local SPARE = 10 -- connections for people and backups
local STATEMENTS = 256 -- that a connection keeps prepared, at most: TILL_SQL_STMT_LIMIT

-- Those whose value has one right answer: variable, right, level, why, what to do.
local SAFE = {
  { "innodb_flush_log_at_trx_commit", "1", "fail", "an order that was confirmed may be gone after"
    .. " a crash", "Set innodb_flush_log_at_trx_commit = 1." },
  { "innodb_doublewrite", "ON", "fail", "a crash while a page is written destroys it",
    "Set innodb_doublewrite = ON." },
  { "read_only", "OFF", "fail", "nothing can be written", "Point mysql.host to the primary." },
  { "autocommit", "ON", "fail", "statements outside of transactions would never be committed",
    "Set autocommit = 1." },
  { "foreign_key_checks", "ON", "warn", "rows may point to nothing",
    "Set foreign_key_checks = 1." },
}


local REASONS = {
  [1044] = "mysql.user has no rights on mysql.database",
  [1045] = "mysql.user or mysql.password is wrong",
  [1049] = "there is no database of the name mysql.database",
  [1698] = "mysql.user or mysql.password is wrong",
  [2002] = "nobody answers at mysql.socket, or mysql.host and mysql.port",
  [2003] = "nobody answers at mysql.host and mysql.port",
}
local ADVICE = {
  [1044] = "GRANT ALL ON that database TO that user.",
  [1045] = "Make them those of an account of the database.",
  [1049] = "CREATE DATABASE … CHARACTER SET utf8mb4, then `moontill migrate`.",
  [1698] = "Make them those of an account of the database.",
}


local function variables()
  local rows, e = sql.query("SHOW GLOBAL VARIABLES")
  if not rows then return nil, e end
  local out = {}
  for _, row in ipairs(rows) do out[row.Variable_name] = row.Value or "" end
  return out
end


local function version(report, vars)
  local major, minor = vars.version:match("^(%d+)%.(%d+)")
  local number = (tonumber(major) or 0) * 100 + (tonumber(minor) or 0)
  if not vars.version:find("MariaDB") or number < 1006 then
    report.fail("database.version", vars.version, "Moontill needs MariaDB 10.6 or later, for SKIP"
      .. " LOCKED and RETURNING.")
  else
    report.ok("database.version", vars.version)
  end
end


local function safety(report, vars)
  for _, rule in ipairs(SAFE) do
    local name, right, level, why, advice = unpack(rule)
    local value = vars[name]
    if value and value ~= right and level ~= "ok" then
      report[level]("database." .. name, ("%s is %s: %s"):format(name, value, why), advice)
    elseif value and level == "fail" then
      report.ok("database." .. name, value)
    end
  end
end


local function binlog(report, vars)
  if vars.log_bin ~= "ON" then
    report.ok("database.binlog", "off: no replica can follow, no point in time be restored")
    return
  end
  if vars.binlog_format == "STATEMENT" then
    report.fail("database.binlog", "binlog_format is STATEMENT: transactions that read committed"
      .. " rows cannot be logged, and are refused", "Set binlog_format = ROW (or MIXED).")
  end
  if vars.sync_binlog ~= "1" then
    report.warn("database.sync_binlog", ("sync_binlog is %s: after a crash replicas may have other"
      .. " orders than the primary"):format(vars.sync_binlog), "Set sync_binlog = 1.")
  elseif vars.binlog_format ~= "STATEMENT" then
    report.ok("database.binlog", vars.binlog_format .. ", written at each commit")
  end
end


-- Nodes of a cluster know of each other's rows, not of each other's locks: see docs/operations.md.
local function cluster(report, vars, facts)
  if vars.wsrep_on ~= "ON" then return end
  local row = sql.one("SELECT variable_value AS status FROM information_schema.global_status"
    .. " WHERE variable_name = 'WSREP_CLUSTER_STATUS'")
  if row and row.status ~= "Primary" then
    report.fail("database.cluster", "this node is cut off from its cluster: " .. row.status,
      "It comes back by itself once it reaches the others; else see its error log.")
  elseif tonumber(vars.wsrep_sync_wait) % 2 == 0 then
    report.warn("database.cluster", "who wrote on one node may not find it on the next one",
      "Set wsrep_sync_wait = 1 on every node.")
  elseif facts.conf.get("mysql.kill_abandoned") and facts.conf.get("mysql.socket") == "" then
    report.warn("database.cluster", "behind a balancer a statement would be ended on another node",
      "Set mysql.kill_abandoned = false, unless mysql.host is one node.")
  else
    report.ok("database.cluster", "a node of Galera, in its primary component")
  end
end


local function isolation(report)
  local row = sql.one("SELECT @@session.tx_isolation AS level, @@session.sql_mode AS mode,"
    .. " @@session.time_zone AS zone, @@session.character_set_client AS charset")
  if not row then return end
  if row.level ~= "READ-COMMITTED" or row.zone ~= "+00:00" or row.charset ~= "utf8mb4"
    or not row.mode:find("STRICT_ALL_TABLES", 1, true) then
    report.fail("database.session", ("a connection has %s, %s, %s, %s"):format(row.level, row.zone,
      row.charset, row.mode), "Something between us and MariaDB, a proxy for one, takes SET away.")
  else
    report.ok("database.session", row.level .. ", UTC, utf8mb4, strict")
  end
end


local function charset(report)
  local row = sql.one("SELECT default_character_set_name AS charset, default_collation_name AS"
    .. " collation_name FROM information_schema.schemata WHERE schema_name = DATABASE()")
  if not row then return end
  if row.charset ~= "utf8mb4" then
    report.fail("database.charset", "the database's character set is " .. row.charset,
      "ALTER DATABASE … CHARACTER SET utf8mb4, before the first migrate: names in many scripts do"
      .. " not fit into it.")
  else
    report.ok("database.charset", row.charset .. ", " .. row.collation_name)
  end
end


local function connections(report, vars, facts)
  local each = facts.conf.get("mysql.connections")
  local need = (facts.web_workers + facts.jobs_workers) * each + SPARE
  local limit = tonumber(vars.max_connections)
  local finding = ("max_connections is %d; %d workers may want %d of this machine"):format(limit,
    facts.web_workers + facts.jobs_workers, need - SPARE)
  if limit < need then
    report.fail("database.connections", finding, ("Set max_connections to %d or more, with room for"
      .. " each other machine, or lower mysql.connections."):format(need))
  else
    report.ok("database.connections", finding)
  end
end


-- Above it MariaDB prepares no further one for anybody, so that connections keep fewer.
local function statements(report, vars, facts)
  local need = (facts.web_workers + facts.jobs_workers) * facts.conf.get("mysql.connections")
    * STATEMENTS
  local limit = tonumber(vars.max_prepared_stmt_count)
  local finding = ("max_prepared_stmt_count is %d; the workers of this machine may keep %d"):format(
    limit, need)
  if limit < need then
    report.warn("database.statements", finding, ("Set max_prepared_stmt_count to %d or more, with"
      .. " room for each other machine: what does not fit is prepared again and again."):format(
      need))
  else
    report.ok("database.statements", finding)
  end
end


local function sizes(report, vars, facts)
  local packet = tonumber(vars.max_allowed_packet)
  local need = math.max(4 * MB, 2 * facts.conf.get("server.max_body_bytes"))
  if packet < need then
    report.warn("database.max_allowed_packet", ("%.1f MB; a large import or answer may need %.0f")
      :format(packet / MB, need / MB), ("Set max_allowed_packet = %dM."):format(need / MB))
  end
  if tonumber(vars.wait_timeout) < 60 then
    report.warn("database.wait_timeout", vars.wait_timeout .. " s: idle connections are cut again"
      .. " and again", "Set wait_timeout = 600 or more.")
  end
end


local function buffer_pool(report, vars)
  local row = sql.one("SELECT CAST(COALESCE(SUM(data_length + index_length), 0) AS DOUBLE) AS bytes"
    .. " FROM information_schema.tables WHERE table_schema = DATABASE()")
  local pool = tonumber(vars.innodb_buffer_pool_size)
  if not row or not pool then return end
  local finding = ("innodb_buffer_pool_size is %.0f MB, the data %.0f"):format(pool / MB,
    row.bytes / MB)
  if row.bytes > pool then
    report.warn("database.buffer_pool", finding, "Give it the size of the data, where memory"
      .. " allows: what is not in it is read from disk.")
  else
    report.ok("database.buffer_pool", finding)
  end
end


local function clock(report)
  local before = time.now_ms()
  local row = sql.one("SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS DOUBLE) AS ms")
  if not row then return end
  local off = math.abs(row.ms - (before + time.now_ms()) / 2)
  local finding = ("%.0f ms away from ours"):format(off)
  if off > 5000 then
    report.fail("database.clock", finding, "Keep both clocks by NTP: leases and reservations end"
      .. " too early or too late.")
  elseif off > 500 then
    report.warn("database.clock", finding, "Keep both clocks by NTP.")
  else
    report.ok("database.clock", finding)
  end
end


local function schema(report)
  local files, why = migrate.files(term.env("MOONTILL_ROOT") .. "/sql")
  local rows, e = migrations.applied()
  local todo
  if files and rows then todo, why = migrations.compare(files, rows) end
  if not todo then
    report.fail("database.schema", why or e.message, "`moontill migrate --status` shows all.")
  elseif #todo > 0 then
    report.fail("database.schema", ("%d of %d migrations are not applied, the first is %s"):format(
      #todo, #files, todo[1].name), "Run `moontill migrate`; the server does not start before.")
  else
    report.ok("database.schema", ("current, %d migrations"):format(#files))
  end
end


-- Where it is on this machine, and we may look.
local function disk(report, vars, facts)
  local host = facts.conf.get("mysql.host")
  local is_local = facts.conf.get("mysql.socket") ~= "" or host == "127.0.0.1"
    or host == "localhost"
  if is_local and file.stat(vars.datadir) then
    machine.disk(report, "disk.database", vars.datadir)
  end
end


local function examine(report, facts)
  local vars, e = variables()
  if not vars then
    local number = tonumber(tostring(e.message):match("answered (%d+)"))
    report.fail("database", "it cannot be used: " .. (REASONS[number] or tostring(e.message)),
      ADVICE[number] or "Start it, and see mysql.socket, mysql.host and mysql.port.")
    return
  end
  for _, check in ipairs { version, safety, binlog, cluster, isolation, charset, connections,
    statements, sizes, buffer_pool, clock, schema, disk } do
    check(report, vars, facts)
  end
end


return { examine }

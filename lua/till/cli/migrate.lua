-- till/cli/migrate - `moontill migrate [--status | --dry-run | --check] [DIR]`
--
-- Brings the schema up to date. DIR is the folder of the migrations; the program gives its own.
-- `--check` is asked when the server starts: silence and 0 when there is nothing to do.
local file = require "till.prim.file"
local json = require "till.prim.json"
local migrations = require "till.store.migrations"
local term = require "till.prim.term"
local say = require "till.cli.say"

local migrate = {}

local HELP = [[
usage: moontill migrate [--status | --dry-run | --check] [--json] [DIR]

  --status    say which migrations were applied, and when
  --dry-run   say what would be run
  --check     say nothing and exit 0 when the schema is current, else say why not
  --json      for machines
]]


local function parse_args(args)
  local opts = { dir = term.env("MOONTILL_ROOT") .. "/sql" }
  for _, arg in ipairs(args) do
    local name = arg:match("^%-%-([%w-]+)$")
    if name == "status" or name == "dry-run" or name == "check" then opts.mode = name
    elseif name == "json" then opts.json = true
    elseif name == "help" then opts.help = true
    elseif arg:find("^%-") then return nil, "there is no option " .. arg
    else opts.dir = arg end
  end
  return opts
end


--- The migrations of a folder | nil, sentence
function migrate.files(dir)
  local names, e = file.list(dir)
  if not names then return nil, ("%s cannot be read: %s"):format(dir, tostring(e)) end
  local files = {}
  for _, path in ipairs(names) do
    local name = path:match("[^/]+$")
    if name:find("%.sql$") then
      local text, e2 = file.read(dir .. "/" .. name)
      if not text then return nil, ("%s cannot be read: %s"):format(name, tostring(e2)) end
      files[#files + 1] = { name = name, text = text }
    end
  end
  if #files == 0 then return nil, "there are no migrations in " .. dir end
  return migrations.parse(files)
end


local function print_status(files, rows, opts)
  local list = {}
  for _, f in ipairs(files) do
    local row = rows[f.version]
    list[#list + 1] = { name = f.name, applied_at = row and row.applied_at or json.null }
    if not opts.json then
      term.write(("%-40s %s\n"):format(f.name, row and row.applied_at or "not applied"))
    end
  end
  if opts.json then term.write(json.encode({ data = json.array(list) }) .. "\n") end
end


local function apply_all(files, opts)
  return migrations.with_lock(function(tx)
    local rows, e = migrations.applied(tx)
    if not rows then return nil, e end
    local todo, why = migrations.compare(files, rows)
    if not todo then return nil, why end
    for i, f in ipairs(todo) do
      local ok, e2 = migrations.apply(tx, f)
      if not ok then return nil, e2 end
      if opts.json then
        term.write(json.encode({ applied = f.name }) .. "\n")
      else
        term.write(("%s  (%d of %d)\n"):format(f.name, i, #todo))
      end
    end
    return #todo
  end)
end


local function refuse(why)
  return say.refused("migrate", why)
end


local function examine(files, opts)
  local rows, e = migrations.applied()
  if not rows then return refuse(e) end
  local todo, why = migrations.compare(files, rows)
  if opts.mode == "status" then
    print_status(files, rows, opts)
    return todo and 0 or refuse(why)
  end
  if not todo then return refuse(why) end
  if opts.mode == "check" then
    if #todo == 0 then return 0 end
    return refuse(("%s is not applied; run `moontill migrate`"):format(todo[1].name))
  end
  for _, f in ipairs(todo) do term.write("would apply " .. f.name .. "\n") end
  return 0
end


function migrate.main(...)
  local opts, why = parse_args({ ... })
  if not opts then
    return say.misused("migrate", why, HELP)
  elseif opts.help then
    term.write(HELP)
    return 0
  end
  local files, why2 = migrate.files(opts.dir)
  if not files then return refuse(why2) end
  if opts.mode then return examine(files, opts) end
  local n, e = apply_all(files, opts)
  if not n then return refuse(e) end
  if n == 0 and not opts.json then term.write("the schema is current\n") end
  return 0
end


return migrate

-- till/cli/generations - `moontill generations [list | history | diff A B]`
local changes = require "till.store.generation_changes"
local flow = require "till.flow.generations"
local json = require "till.prim.json"
local say = require "till.cli.say"
local term = require "till.prim.term"
local views = require "till.flow.generation_views"

local generations = {}

local HELP = [[
usage: moontill generations [list] [--limit N]    the newest, with what each changed
       moontill generations history [--limit N]   who changed what is live, when and why
       moontill generations diff A B              unified; hashes may be shortened, or be `live`
                                                  or `previous`
       --json    for machines
]]


local function refuse(e)
  return say.refused("generations", e)
end


local function print_json(value)
  term.write(json.encode(value) .. "\n")
  return 0
end


local function list(opts)
  local rows, e = views.list({ limit = opts.limit }, opts.server)
  if not rows then return refuse(e) end
  rows[opts.limit + 1] = nil
  if opts.json then return print_json { data = json.array(rows) } end
  for _, row in ipairs(rows) do
    term.write(("%s  %-8s %s  %-16s %9d requests  %s%s\n"):format(row.hash:sub(1, 12), row.state,
      row.created_at:sub(1, 19):gsub("T", " "), row.author, row.requests, row.changed,
      row.reason ~= "" and "  (" .. row.reason .. ")" or ""))
  end
  return 0
end


local function history(opts)
  local rows, e = changes.list { limit = opts.limit }
  if not rows then return refuse(e) end
  rows[opts.limit + 1] = nil
  if opts.json then return print_json { data = json.array(rows) } end
  for _, row in ipairs(rows) do
    term.write(("%6s %s  %-8s %s -> %s  %s on %s, %d ms%s%s\n"):format(row.sequence or "-",
      row.created_at:sub(1, 19):gsub("T", " "), row.kind, (row.from or "-"):sub(1, 12),
      (row.to or "-"):sub(1, 12), row.author, row.machine, row.took_ms,
      row.reason ~= "" and "  (" .. row.reason .. ")" or "",
      row.refusal and "\n       refused: " .. row.refusal or ""))
  end
  return 0
end


local function diff(opts)
  local a, e = flow.resolve(opts[2] or "previous")
  if not a then return refuse(e) end
  local b, e2 = flow.resolve(opts[3] or "live")
  if not b then return refuse(e2) end
  local entries, e3 = flow.diff(a, b)
  if not entries then return refuse(e3) end
  if opts.json then return print_json { a = a, b = b, data = json.array(entries) } end
  for _, entry in ipairs(entries) do term.write(entry.text) end
  return 0
end


local function parse(args)
  local opts, i = { limit = 20 }, 1
  while args[i] do
    local word = args[i]
    if word == "--json" then opts.json = true
    elseif word == "--help" then opts.help = true
    elseif word == "--server" then -- what the program asked before it came here
      i = i + 1
      opts.server = json.decode(args[i] or "")
    elseif word == "--limit" then
      i = i + 1
      opts.limit = tonumber(args[i] or "")
      if not opts.limit or opts.limit < 1 or opts.limit > 1000 then
        return nil, "--limit needs a number from 1 to 1000"
      end
    elseif word:find("^%-") then return nil, "there is no option " .. word
    else opts[#opts + 1] = word end
    i = i + 1
  end
  return opts
end


local COMMANDS = { list = list, history = history, diff = diff }


--- @return the exit code
function generations.main(...)
  local opts, why = parse { ... }
  if not opts then return say.misused("generations", why, HELP) end
  if opts.help then
    term.write(HELP)
    return 0
  end
  local run = COMMANDS[opts[1] or "list"]
  local most = opts[1] == "diff" and 3 or 1
  if not run or #opts > most then
    return say.misused("generations", (opts[most + 1] or opts[1]) .. ": list, history or diff A B?",
      HELP)
  end
  return run(opts)
end


return generations

-- till/store/script_steps - the statements of several scripts as those of one (till.store.script).
--
--   in_order(scripts, gathers) -> steps    as they run: rank by rank; of each first the statements
--                                  of each script, then what is asked of rows of many at once,
--                                  then rows of the same insert where it gathers them, then the
--                                  sums
--   columns_of(scripts) -> text    what their rows add to the last SELECT
--   row_of(row, s, i)              what of it is the i-th script's
--   add_params(args, step)
--
-- A step: { text =, its parameters …, is_insert =, form =, key =, amount =, refusal =, wanted = };
-- in_order adds `named`, the text with the variables of its script, and `member`, whose it is.
local steps = { SUM = {} }

local FORM_MOST = 500 -- of a form in one statement, which takes 2000 parameters

local OWN, STOCK = 1, 4
local named = {} -- text -> the same with the variables of the i-th script


local function text_of(text, i)
  if i == 1 or not text:find("@till_", 1, true) then return text end
  local list = named[text]
  if not list then
    list = {}
    named[text] = list
  end
  if not list[i] then list[i] = text:gsub("@till_(%l+)", "@till_%1_" .. i) end
  return list[i]
end


local halves = {} -- text -> { "INSERT … VALUES ", the rows after it }


local function halves_of(text)
  local known = halves[text]
  if not known then
    local _, last = text:find(" VALUES ", 1, true)
    known = { text:sub(1, last), text:sub(last + 1) }
    halves[text] = known
  end
  return known[1], known[2]
end


local function add_args(to, from)
  local n = #to
  for i = 1, #from do to[n + i] = from[i] end
end


-- An insert that nobody shares is its own step: what it has is copied for a second one alone, and
-- never changed, for a script may run again.
local function add_insert(inserts, text, step)
  local head, rows = halves_of(text)
  local at = inserts[head]
  if not at then
    step.named = text
    at = #inserts + 1
    inserts[head], inserts[at] = at, step
    return
  end
  local all = inserts[at]
  if not all.is_shared then
    local first = all
    all = { text = first.named, is_shared = true }
    add_args(all, first)
    inserts[at] = all
  end
  all.text = all.text .. ", " .. rows
  add_args(all, step)
end


-- A form: { before, of each, between, after, counts = does each change a row? }
local function add_form(forms, step)
  local form = step.form
  local all = forms[form]
  if not all or all.n == FORM_MOST then
    all = { form = form, n = 0, refusal = step.refusal }
    forms[form], forms[#forms + 1] = all, all
  end
  all.n = all.n + 1
  all.wanted = form.counts and all.n or 1
  add_args(all, step)
end


local function close_form(all)
  local before, each, between, after = unpack(all.form)
  all.text = before .. each .. (between .. each):rep(all.n - 1) .. after
end


local function add_sum(sums, step)
  local id = step.key .. step.text
  local sum = sums[id]
  if not sum then
    sum = { text = step.text, key = step.key, amount = 0, wanted = step.wanted,
      refusal = step.refusal }
    add_args(sum, step)
    sums[id], sums[#sums + 1] = sum, sum
  end
  sum.amount = sum.amount + step.amount
end


local function comes_before(a, b)
  if a.key ~= b.key then return a.key < b.key end
  return a.text < b.text
end


local function append(out, list)
  for i = 1, #list do out[#out + 1] = list[i] end
end


local function append_rank(out, rank, scripts, gathers)
  local inserts, forms, sums
  for i = 1, #scripts do
    local own = scripts[i].ranks[rank]
    for j = 1, #own do
      local step = own[j]
      if step.form then
        forms = forms or {}
        add_form(forms, step)
      elseif step.key then
        sums = sums or {}
        add_sum(sums, step)
      elseif step.is_insert and gathers then
        inserts = inserts or {}
        add_insert(inserts, text_of(step.text, i), step)
      else
        step.member, step.named = i, text_of(step.text, i)
        out[#out + 1] = step
      end
    end
  end
  if forms then
    for i = 1, #forms do close_form(forms[i]) end
    append(out, forms)
  end
  if inserts then append(out, inserts) end
  if sums then
    table.sort(sums, comes_before)
    append(out, sums)
  end
end


function steps.in_order(scripts, gathers)
  local out = {}
  for rank = OWN, STOCK do append_rank(out, rank, scripts, gathers) end
  return out
end


function steps.columns_of(scripts)
  local out = ""
  for i, s in ipairs(scripts) do
    if s.name then
      out = ("%s, %s AS %s_%d"):format(out, text_of(s.expression, i), s.name, i)
    end
  end
  return out
end


function steps.row_of(row, s, i)
  return s.name and { [s.name] = row[s.name .. "_" .. i] } or {}
end


function steps.add_params(args, step)
  local n = #args
  if step.amount then
    for i = 1, #step do args[n + i] = step[i] == steps.SUM and step.amount or step[i] end
  else
    for i = 1, #step do args[n + i] = step[i] end
  end
end


return steps

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


-- "INSERT … VALUES " and the rows after it.
local function halves_of(text)
  local _, last = text:find(" VALUES ", 1, true)
  return text:sub(1, last), text:sub(last + 1)
end


local function add_args(to, from)
  for i, value in ipairs(from) do to[#to + 1] = value end
end


local function add_insert(inserts, text, step)
  local head, rows = halves_of(text)
  local all = inserts[head]
  if not all then
    all = { text = text }
    inserts[head], inserts[#inserts + 1] = all, all
  else
    all.text = all.text .. ", " .. rows
  end
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


local function append_rank(out, rank, scripts, gathers)
  local inserts, forms, sums = {}, {}, {}
  for i, s in ipairs(scripts) do
    for _, step in ipairs(s.ranks[rank]) do
      local text = text_of(step.text, i)
      if step.form then
        add_form(forms, step)
      elseif step.key then
        add_sum(sums, step)
      elseif step.is_insert and gathers then
        add_insert(inserts, text, step)
      else
        step.member, step.named = i, text
        out[#out + 1] = step
      end
    end
  end
  for _, all in ipairs(forms) do
    close_form(all)
    out[#out + 1] = all
  end
  for _, all in ipairs(inserts) do out[#out + 1] = all end
  table.sort(sums, comes_before)
  for _, sum in ipairs(sums) do out[#out + 1] = sum end
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
  for i, value in ipairs(step) do
    if value == steps.SUM then value = step.amount end
    args[n + i] = value
  end
end


return steps

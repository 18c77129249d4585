-- till/prim/metrics - numbers for /metrics.
--
--   add(name, labels, n)            a counter; names end in _total; n defaults to 1
--   set(name, labels, value)        a gauge
--   observe(name, labels, seconds)  a histogram
--
-- Names in lower case with their unit. labels: nil or a table of few values each: every pair of
-- them is a series kept for ever, so never an id. A table of labels is not changed once it was
-- used: its text is made once, so what counts often keeps the table.
local c = require "till.c.metrics"

local metrics = {}
local ESCAPES = { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n" }


local texts = setmetatable({}, { __mode = "k" })


local function to_text(labels)
  local names = {}
  for name in pairs(labels) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do
    names[i] = name .. '="' .. tostring(labels[name]):gsub('[\\"\n]', ESCAPES) .. '"'
  end
  return table.concat(names, ",")
end


local function text_of(labels)
  if not labels then return "" end
  local text = texts[labels]
  if not text then
    text = to_text(labels)
    texts[labels] = text
  end
  return text
end


function metrics.add(name, labels, n)
  c.add(name, text_of(labels), n or 1)
end


function metrics.set(name, labels, value)
  c.set(name, text_of(labels), value)
end


function metrics.observe(name, labels, seconds)
  c.observe(name, text_of(labels), seconds)
end


return metrics

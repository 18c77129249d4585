--- A shop's CSV of transactions, read row by row in bounded memory.
--
-- Columns are found by their name in the first row, in any order; others are
-- ignored. The file may be packed with xz.
--
local csv = require "till.prim.csv"
local err = require "till.util.err"
local time = require "till.prim.time"


local source = {}
source.__index = source


local BATCH = 1000

source.COLUMNS = {
  "InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID",
  "Country",
}


local function find_columns(header)
  local at, missing = {}, {}
  for i, name in ipairs(header) do
    at[name] = i
  end
  for _, name in ipairs(source.COLUMNS) do
    if not at[name] then
      missing[#missing + 1] = name
    end
  end
  return at, missing
end


-- `name` is what the file is called where something is wrong with it.
local function of_reader(reader, name, progress)
  local rows = reader:next(1)
  local header = rows and rows[1]
  if not header or header.error then
    return nil, err.new("invalid_request", name .. ": " ..
      (header and "it is no CSV file: " .. header.error or "it is empty"))
  end
  local at, missing = find_columns(header)
  if #missing > 0 then
    return nil, err.new("invalid_request", string.format(
      "%s: the column %s is missing; the first row has to name %s", name,
      table.concat(missing, ", "), table.concat(source.COLUMNS, ", ")))
  end
  return setmetatable({ reader = reader, at = at, width = #header, progress = progress }, source)
end


--- Opens `path` and reads its first row. `progress(share)` is called as it is read.
-- @return a source, or nil and an error that says what is wrong with the file
function source.open(path, progress)
  local reader, failure = csv.file(path)
  if not reader then
    return nil, failure
  end
  return of_reader(reader, path, progress)
end


--- The same of a file's text; `name` as its sender calls it.
function source.of_text(text, name)
  return of_reader(csv.text(text), name)
end


-- "2.55" → 255; a third decimal is rounded half up. nil for what is no price.
local function minor_units(text)
  local sign, whole, rest = text:match("^(%-?)(%d+)(.*)$")
  local fraction = whole and rest:match("^%.?(%d*)$")
  if not fraction or #whole > 12 then
    return nil
  end
  local padded = fraction .. "000"
  local minor = tonumber(whole) * 100 + tonumber(padded:sub(1, 2))
  if padded:byte(3) >= 53 then
    minor = minor + 1
  end
  return sign == "-" and -minor or minor
end


local function quantity_of(text)
  return #text <= 9 and text:find("^%-?%d+$") and tonumber(text) or nil
end


-- "2010-12-01T08:26:00Z" → "2010-12-01 08:26:00", as the database wants it.
local function date_of(text)
  local day, hour = text:match("^(%d%d%d%d%-[01]%d%-[0-3]%d)T([0-2]%d:[0-5]%d:[0-5]%d)Z$")
  return day and time.parse(text) and day .. " " .. hour
end


-- What the columns hold; the sum of an invoice stays exact in a double.
local MOST_NAME, MOST_CUSTOMER, MOST_AMOUNT = 255, 64, 1e12


local function characters(text)
  return select(2, text:gsub("[^\128-\191]", ""))
end


-- What no table would take, and would end the import with all that comes after it.
local function excess_of(record)
  if characters(record.description) > MOST_NAME then
    return "the description is longer than 255 characters", record.description:sub(1, 20)
  elseif #record.customer > MOST_CUSTOMER then
    return "the customer is longer than 64 characters", record.customer:sub(1, 20)
  elseif math.abs(record.quantity * record.price) > MOST_AMOUNT then
    return "quantity times price is too large", ("%d x %d"):format(record.quantity, record.price)
  end
end


-- What is wrong with a row: a reason and what stood there; nil if it can be read.
local function fault_of(self, row, record)
  if row.error then
    return "it is not CSV", row.error
  elseif #row ~= self.width then
    return "another number of fields than the first row", tostring(#row)
  elseif record.invoice == "" or #record.invoice > 64 then
    return "no invoice number", record.invoice:sub(1, 20)
  elseif record.code == "" or #record.code > 64 then
    return "no stock code", record.code:sub(1, 20)
  elseif not record.quantity then
    return "the quantity is no whole number", row[self.at.Quantity]:sub(1, 20)
  elseif not record.price then
    return "the price is no amount", row[self.at.UnitPrice]:sub(1, 20)
  elseif not record.date then
    return "the date is not like 2010-12-01T08:26:00Z", row[self.at.InvoiceDate]:sub(1, 25)
  end
  return excess_of(record)
end


local function record_of(self, row)
  if row.error or #row ~= self.width then
    return {}
  end
  local at = self.at
  return {
    line = row.line,
    invoice = row[at.InvoiceNo],
    code = row[at.StockCode]:upper(),
    description = row[at.Description],
    quantity = quantity_of(row[at.Quantity]),
    date = date_of(row[at.InvoiceDate]),
    price = minor_units(row[at.UnitPrice]),
    customer = row[at.CustomerID],
    country = row[at.Country],
  }
end


--- Calls `each(record)` for every row that can be read; bad ones go to the report.
-- A record: line, invoice, code (upper case), description, quantity, date (for
-- SQL), price (minor units), customer, country.
-- @return true, or nil and the error of `each` or of the file
function source:read(report, each)
  while true do
    local rows, torn = self.reader:next(BATCH)
    if not rows then
      return not torn or nil, torn
    end
    for _, row in ipairs(rows) do
      local record = record_of(self, row)
      local reason, detail = fault_of(self, row, record)
      report.rows = report.rows + 1
      if reason then
        report:bad(reason, row.line, detail)
      else
        local ok, failure = each(record)
        if ok == nil and failure then
          return nil, failure
        end
      end
    end
    if self.progress then
      self.progress(self.reader:progress())
    end
    time.sleep(0) -- the loop's turn: connections are made, what is written aside goes on
  end
end


--- An `each` for who only wants to know whether all rows can be read.
function source.take()
  return true
end


return source

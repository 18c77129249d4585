---@meta till.util.schema
-- Written by scripts/lint-surface --write.

--- Shapes of data: of routes' bodies.
---@class till.util.schema
local schema_ = {}

--- min, max, pattern, format, enum, doc.
---@param options? table
---@return till.Schema schema
function schema_.string(options) end

--- min, max, doc.
---@param options? table
---@return till.Schema schema
function schema_.integer(options) end

--- min, max, doc.
---@param options? table
---@return till.Schema schema
function schema_.number(options) end

--- doc.
---@param options? table
---@return till.Schema schema
function schema_.boolean(options) end

--- This value alone.
---@param value any
---@param options? table
---@return till.Schema schema
function schema_.const(value, options) end

--- Anything.
---@param options? table
---@return till.Schema schema
function schema_.any(options) end

--- A file of a form.
---@param options? table
---@return till.Schema schema
function schema_.file(options) end

--- A public id.
---@param prefix string
---@param options? table
---@return till.Schema schema
function schema_.id(prefix, options) end

--- min, max: entries.
---@param of till.Schema
---@param options? table
---@return till.Schema schema
function schema_.array(of, options) end

--- required = names, name, doc; others are refused.
---@param fields table<string, till.Schema>
---@param options? table
---@return till.Schema schema
function schema_.object(fields, options) end

--- Any names.
---@param of till.Schema
---@param options? table
---@return till.Schema schema
function schema_.map(of, options) end

--- The first that fits.
---@param list till.Schema[]
---@return till.Schema schema
function schema_.one_of(list) end

--- Or null.
---@param of till.Schema
---@return till.Schema schema
function schema_.nullable(of) end

--- One of the server's, by its name.
---@param name string
---@return till.Schema schema
function schema_.ref(name) end

--- `{amount, currency}`.
---@return till.Schema schema
function schema_.money() end

---@class till.Schema
local of_schema = {}

--- The value, or why not.
---@param value any
---@return any value
---@return table[]? errors
function of_schema:check(value) end

return schema_

---@meta till.prim.conf
-- Written by scripts/lint-surface --write.

--- What is configured.
---@class till.prim.conf
local conf_ = {}

--- An option of the shop, `shop.*`; another throws. A plugin's own options are its `config`.
---@param name string
---@return any value
function conf_.get(name) end

--- What an option of type `secret` stands for, or one that `capabilities` names. Ask late and do not keep it. `not_found`, `forbidden`.
---@param ref any
---@return string? text
---@return till.Err? err
function conf_.secret(ref) end

return conf_

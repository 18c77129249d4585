-- till/prim/job - work that a plugin puts off, for its hook job.run on a jobs worker.
--
--   enqueue(job, payload, { plugin =, delay_ms = 0, key = })  waits -> true | nil, err
--     payload: what JSON can hold. Jobs of one `key` are done one after another, in this order;
--     without one each is done when a worker is free.
-- It is done at least once, and again after a failure (jobs.max_attempts), then staff see it.
local outbox = require "till.prim.outbox"
local sql = require "till.prim.sql"
local ulid = require "till.prim.ulid"

local job = {}

local KEY_MOST = 60


function job.enqueue(name, payload, opts)
  if type(name) ~= "string" or name == "" or #name > 50 then
    error("a job needs a name of at most 50 characters", 2)
  end
  local key = opts.key or ulid.text(ulid.new())
  if type(key) ~= "string" or #key > KEY_MOST or not key:find("^[%w%._:-]+$") then
    error("the key of a job is a text of at most 60 letters, digits and . _ : -", 2)
  end
  return sql.transaction(function(tx)
    return outbox.append(tx, { { aggregate = ("job:%s:%s"):format(opts.plugin, key),
      type = "job.run", payload = { plugin = opts.plugin, job = name, payload = payload },
      delay_ms = opts.delay_ms } })
  end)
end


return job

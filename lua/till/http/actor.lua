-- till/http/actor - who did it, for timelines and logs of stock: the public id of a person or key.
local actor = {}


function actor.of(ctx)
  local who = ctx.auth
  return who.staff_id or who.customer_id or who.key_id or who.kind
end


return actor

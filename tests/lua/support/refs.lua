-- support/refs - the test provider with a name for each refund, and with refunds that fail.
--
--   named(raw) -> keys that it was asked for a refund under, each once; the n-th is called re_<n>
--   come_back(raw)      none of its refunds got there: it gives the money as often as it is asked
local refs = {}


-- The provider gives each refund that he is asked for under a new key a name: re_1, re_2, …
function refs.named(raw)
  local dispatch = raw.require "till.plugin.dispatch"
  local was, asked, known = dispatch.plugin, {}, {}
  dispatch.plugin = function(name, hook, about)
    local answer, e = was(name, hook, about)
    if hook ~= "payment.refund" or not answer or answer.outcome ~= "refunded" then
      return answer, e
    end
    if not known[about.idem_key] then
      asked[#asked + 1] = about.idem_key
      known[about.idem_key] = "re_" .. #asked
    end
    answer.refund_ref = known[about.idem_key]
    return answer, e
  end
  return asked
end


-- It has the money again, and gives it as often as he is asked.
function refs.come_back(raw)
  raw.sql.exec("DELETE FROM payment_test_refunds")
  raw.sql.exec("UPDATE payment_test_attempts SET state = 'captured'")
end


return refs

-- till/flow/payment_moves - the legal moves of an order's payment_status: what the shop may take,
-- has, and gave back. Of till.flow.order_states, which is where to ask; which of them is made tells
-- till.flow.payment_status.
local fsm = require "till.util.fsm"

local MORE, REST = "a part was captured, more may be", "the rest was captured, or let go"
local REST_PART = REST .. ", and a part went back"
local OUTSIDE = "what was to be paid outside was let go of, the rest is authorized"
local PART, ALL_BACK = "a part of what was captured went back", "all that was captured went back"
local FAILED = "what went back did not get there"
local AGAIN = "a new payment is made for what is owed"
local OVER = { "voided", "captured", "partially_refunded", "refunded" }

-- With a new payment it goes on, wherever it stood: event, to, from.
local ADDED = {
  { "await_again", "awaiting", { "authorized", "partially_captured", unpack(OVER) } },
  { "authorize_again", "authorized", { "voided" } },
  { "capture_again", "captured", { "voided" } },
  { "add", "partially_captured", OVER },
  { "add_refunded", "partially_refunded", { "voided", "refunded" } },
}


local function and_added(edges)
  for _, added in ipairs(ADDED) do
    for _, from in ipairs(added[3]) do
      edges[#edges + 1] = { from = from, event = added[1], to = added[2], when = AGAIN }
    end
  end
  return edges
end


return fsm.define("payment_status", and_added {
  initial = "unpaid",
  { from = "unpaid", event = "await", to = "awaiting",
    when = "placed, to be paid outside of the shop" },
  { from = "unpaid", event = "authorize", to = "authorized",
    when = "placed, the provider has authorized it" },
  { from = "unpaid", event = "capture", to = "captured",
    when = "placed, and paid already or nothing to pay" },
  { from = "awaiting", event = "capture", to = "captured" },
  { from = "awaiting", event = "capture_part", to = "partially_captured", when = MORE },
  { from = "awaiting", event = "authorize", to = "authorized", when = OUTSIDE },
  { from = "awaiting", event = "refund_part", to = "partially_refunded", when = REST_PART },
  { from = "awaiting", event = "refund_rest", to = "refunded", when = ALL_BACK },
  { from = "awaiting", event = "void", to = "voided" },
  { from = "authorized", event = "capture", to = "captured" },
  { from = "authorized", event = "capture_part", to = "partially_captured", when = MORE },
  { from = "authorized", event = "void", to = "voided" },
  { from = "partially_captured", event = "capture_part", to = "partially_captured", when = MORE },
  { from = "partially_captured", event = "capture", to = "captured", when = REST },
  { from = "partially_captured", event = "refund_part", to = "partially_refunded",
    when = REST_PART },
  { from = "partially_captured", event = "refund_rest", to = "refunded", when = ALL_BACK },
  { from = "captured", event = "refund_part", to = "partially_refunded", when = PART },
  { from = "captured", event = "refund_rest", to = "refunded", when = ALL_BACK },
  { from = "partially_refunded", event = "refund_part", to = "partially_refunded", when = PART },
  { from = "partially_refunded", event = "refund_rest", to = "refunded", when = ALL_BACK },
  { from = "partially_refunded", event = "refund_failed", to = "captured", when = FAILED },
  { from = "refunded", event = "refund_failed", to = "captured", when = FAILED },
  { from = "refunded", event = "refund_failed_part", to = "partially_refunded",
    when = FAILED .. ", others did" },
})

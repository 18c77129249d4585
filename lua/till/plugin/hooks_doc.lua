-- till/plugin/hooks_doc - till.plugin.hooks in words: of docs/hooks.md and the type files alone.
--
--   [hook] = { doc =, takes = { { name, type, doc }, ... }, gives = type, none = what nil means }
-- Each handler is called fn(config, takes...). The types are in till.plugin.surface_types.
local PAYMENT = { { "payment", "till.Payment", "The attempt." } }
local ORDER = { { "order", "till.Order", "As it is now, not as it was." } }
local AGAIN = "Comes at least once, and again after a failure: be ready to see one twice."

return {
  ["promo.evaluate"] = { doc = "What may be taken off this cart. Asked whenever a cart is priced.",
    takes = { { "cart", "till.Cart", "Before discounts." } }, gives = "till.PromotionTerm[]",
    none = "nothing to say about this cart" },
  ["cart.validate"] = { doc = "May it be ordered? Asked before anything of a checkout is done.",
    takes = { { "cart", "till.Cart", "As it is priced." } }, gives = "till.Refusal",
    none = "it may" },
  ["shipping.quote"] = { doc = "How it can be delivered, and for how much. The shopper sees an "
    .. "option's id as NAME:id, without the kind before it.",
    takes = { { "request", "till.ShippingRequest", "What is to be delivered, and where." } },
    gives = "till.ShippingOption[]", none = "not there" },
  ["tax.calculate"] = { doc = "Which taxes a delivery there carries. One plugin answers for the "
    .. "shop: the one with the highest priority.",
    takes = { { "request", "till.TaxRequest", "Where and when." } }, gives = "till.TaxAnswer",
    none = "no taxes, and prices without them" },

  ["payment.describe"] = { doc = "Is this way to pay offered, and what does the shopper read?",
    takes = { { "about", "till.PaymentAbout", "Who wants to pay." } }, gives = "till.PaymentOffer",
    none = "not offered" },
  ["payment.capabilities"] = { doc = "What the provider can do. It says which carts are offered "
    .. "it, what staff may do, and how money is let go of. Asked while a generation loads.",
    takes = {}, gives = "till.PaymentCapabilities", none = "the defaults" },
  ["payment.check"] = { doc = "Do its credentials work? Asked by `moontill doctor` and by staff. "
    .. "Changes nothing, and tells no secret.", takes = {}, gives = "till.PaymentCheck",
    none = "a failure" },
  ["payment.authorize"] = { doc = "Asks the provider for the money. `failed`: the provider cannot "
    .. "have got it (`err.sent` of till.prim.http is false, and an answer that turns it away is "
    .. "not `repeated`). No answer is `unknown`, and is looked up later.",
    takes = PAYMENT, gives = "till.PaymentAnswer", none = "unknown" },
  ["payment.capture"] = { doc = "Takes `amount` of what was authorized: less than all of it "
    .. "where a part of the order was cancelled. Unless `final` is false it is the last one: what "
    .. "is left is let go of. Every part has an `idem_key` of its own, and comes again under it "
    .. "until its outcome is known; without the capability `multiple_captures` there is one.",
    takes = PAYMENT,
    gives = "till.PaymentAnswer", none = "unknown" },
  ["payment.void"] = { doc = "Lets go of what was authorized and not captured, also of what parts "
    .. "have left.", takes = PAYMENT,
    gives = "till.PaymentAnswer", none = "unknown" },
  ["payment.refund"] = { doc = "Gives back `amount` of what was captured: all of it or a part. "
    .. "Every refund has an `idem_key` of its own, and comes again under it until its outcome is "
    .. "known; `refunded` says that this one was done.", takes = PAYMENT,
    gives = "till.PaymentAnswer", none = "unknown" },
  ["payment.lookup"] = { doc = "What became of an attempt whose answer was lost. `not_found`: the "
    .. "provider never got it, and nothing of it can arrive any more (see that it cannot: close it "
    .. "there, or wait longer than a request may take). `refunded`: all of it went back; of a "
    .. "part tell `refunded_amount`, the sum of its refunds, and `captured_amount`, that of its "
    .. "captures.", takes = PAYMENT,
    gives = "till.PaymentAnswer", none = "unknown" },
  ["payment.forget"] = { doc = "The shopper does not want this payment method kept any more. Comes "
    .. "again until it is `forgotten`.", takes = { { "about", "till.SavedMethod", "Which one." } },
    gives = "till.PaymentAnswer", none = "unknown" },

  ["order.placed"] = { doc = "An order is there. " .. AGAIN, takes = ORDER },
  ["order.paid"] = { doc = "Its money is there: once of each order. " .. AGAIN, takes = ORDER },
  ["order.paid_again"] = { doc = "It had been paid before, some of that was taken back, and its "
    .. "money is there once more, with another payment. " .. AGAIN, takes = ORDER },
  ["order.payment_added"] = { doc = "A new payment was made for it after it was placed. " .. AGAIN,
    takes = ORDER },
  ["payment.requested"] = { doc = "Staff ask the shopper to pay what is owed for it: tell him. "
    .. AGAIN, takes = ORDER },
  ["order.fulfilled"] = { doc = "All of it was sent. " .. AGAIN, takes = ORDER },
  ["order.cancelled"] = { doc = "It was cancelled. " .. AGAIN, takes = ORDER },

  ["event.publish"] = { doc = "Events to be told elsewhere, all that one worker has at hand: of "
    .. "one aggregate never two, and the next one only when this one is done. Which ones, an "
    .. "option `events` of the plugin, a list of texts, says: { \"order.*\", \"stock.changed\" }; "
    .. "without it all. "
    .. "Answer when the receiver has them for good. An error that is retryable (conn_lost, "
    .. "timeout, unavailable) says that the receiver is away: all wait, no attempt is counted, "
    .. "nothing else stops. Any other error, a throw, or an answer whose `failed` is no table or "
    .. "names what is no id of theirs: all have failed, each comes again by itself. " .. AGAIN,
    takes = { { "events", "till.Published[]", "Oldest first." } }, gives = "till.PublishAnswer",
    none = "all were published" },
  ["job.run"] = { doc = "A job of `schedules` in plugin.lua, or one of till.prim.job.enqueue. Of a "
    .. "schedule one run at a time is done, on whatever machines; what was missed is made up once. "
    .. AGAIN, takes = { { "event", "till.Event", "Which one." } } },
  ["webhook.receive"] = { doc = "Somebody sent POST /hooks/v1/NAME. Nobody has checked who: verify "
    .. "the signature before anything else.",
    takes = { { "request", "till.WebhookRequest", "What came." } }, gives = "till.WebhookAnswer",
    none = "a failure" },
  ["webhook.apply"] = { doc = "Something has happened to a subject: how does it stand now? Ask the "
    .. "provider; the event itself is only a hint, but of one with `trusts_callbacks`. "
    .. "What fails is asked again later.",
    takes = { { "event", "till.WebhookHint", "Which one." } }, gives = "till.WebhookState",
    none = "a failure" },
  ["webhook.poll"] = { doc = "Events since a time, a page at a time: for those that never came.",
    takes = { { "wish", "till.WebhookWish", "From when." } }, gives = "till.WebhookPage",
    none = "a failure" },
  ["payment.settlement"] = { doc = "What has moved on the provider's own account in a period, a "
    .. "page at a time, in any order; it is compared with our books. Without it nothing is.",
    takes = { { "wish", "till.SettlementWish", "Of which period." } },
    gives = "till.SettlementPage", none = "a failure" },
  ["payment.payout"] = { doc = "What became of a payout to the shop's bank, and which movements it "
    .. "holds, a page at a time. Asked of each that `payment.settlement` told of, until it has "
    .. "ended. Without it a payout is booked, and that is all that is known of it.",
    takes = { { "wish", "till.PayoutWish", "Which one." } }, gives = "till.PayoutPage",
    none = "a failure" },
  ["payment.balance"] = { doc = "What the provider has for the shop now, minor units by currency: "
    .. "with what is not available yet, without payouts that are on their way. It is shown beside "
    .. "our books.", takes = {}, gives = "table<string, integer>", none = "a failure" },
  ["plugin.check"] = { doc = "Do the options go together? Asked while a generation loads, after "
    .. "each option was checked by itself. A sentence refuses the generation.", takes = {},
    gives = "string", none = "they do" },
  ["http.route"] = { doc = "Its own routes, below /plugins/NAME/. Checked, shown in /openapi.json "
    .. "and served like the server's own.", takes = {}, gives = "till.Route[]",
    none = "a fault; no routes are an empty list" },
}

-- till/plugin/surface_types - the tables that go between server and plugins: of the documentation
-- and the type files alone, nothing loads this while the shop serves.
--
--   { name, doc, { { field, type [, doc] }, ... } }; a field with "?" may be absent
return {
  { "till.Err", "A failure.", {
    { "code", "string", "One of core/base/status.h: \"timeout\"." },
    { "message", "string", "For logs and developers." },
    { "retryable", "boolean" }, { "http", "integer" }, { "title", "string" },
    { "sent?", "boolean", "Of an HTTP request: it may have arrived." },
    { "retry_after_ms?", "integer" } } },
  { "till.Fraction", "An exact fraction.", { { "n", "integer" }, { "d", "integer" } } },
  { "till.HttpOptions", "A request.", {
    { "url", "string" }, { "method?", "string", "GET where absent." },
    { "headers?", "table<string, string>" }, { "body?", "string" },
    { "timeout_ms?", "integer", "Never past the budget of the hook." },
    { "max_body?", "integer", "Bytes." }, { "ca_file?", "string" } } },
  { "till.HttpResponse", "Its answer.", {
    { "status", "integer" }, { "headers", "table<string, string>", "Names in lower case." },
    { "body", "string" }, { "version", "integer", "10, 11 or 20." },
    { "repeated?", "boolean", "It was sent once before, over a connection that broke." } } },
  { "till.CartLine", "A line of a cart.", {
    { "id", "string" }, { "sku", "string" }, { "product_id", "string" }, { "title", "string" },
    { "tags", "string[]" }, { "quantity", "integer" }, { "unit_price", "integer", "Minor units." },
    { "weight_g", "integer", "Grams each." }, { "tax_class?", "string" } } },
  { "till.Cart", "A cart as hooks see it; what is changed in it changes nothing.", {
    { "id", "string" }, { "currency", "string", "ISO 4217." }, { "country", "string" },
    { "lines", "till.CartLine[]" }, { "subtotal", "integer", "Minor units." },
    { "weight_g", "integer" }, { "codes", "string[]", "That the shopper entered." },
    { "email?", "string" } } },
  { "till.PromotionTerm", "One promotion, in the words of lua/till/rule/price.lua.", {
    { "id", "string", "Unique within the plugin." },
    { "level", "\"line\"|\"order\"|\"shipping\"" }, { "type", "string", "\"percent\", ..." },
    { "value?", "string|integer", "A percentage is a text." },
    { "filter?", "{skus?: string[], tags?: string[]}" }, { "conditions?", "table" },
    { "label?", "string", "What the shopper reads." },
    { "currency?", "string", "Left out in carts of another one." } } },
  { "till.Refusal", "Why a cart cannot be ordered.", {
    { "code", "string" }, { "message", "string" },
    { "pointer?", "string", "\"/lines\"." } } },
  { "till.Address", "Where it goes.", {
    { "country", "string", "ISO 3166-1." }, { "region?", "string" }, { "city?", "string" },
    { "postal_code?", "string" } } },
  { "till.ShippingRequest", "What is to be delivered.", {
    { "cart", "till.Cart" }, { "address", "till.Address" }, { "currency", "string" },
    { "subtotal", "integer", "Minor units." }, { "weight_g", "integer" } } },
  { "till.ShippingOption", "One way to deliver it.", {
    { "id", "string", "Never changed." }, { "label", "string" },
    { "amount", "integer", "Minor units of the currency." }, { "tax_class?", "string" },
    { "min_days?", "integer" }, { "max_days?", "integer" } } },
  { "till.TaxRequest", "Where and when.", {
    { "country", "string" }, { "region?", "string" }, { "date", "string", "RFC 3339, UTC." },
    { "currency", "string" } } },
  { "till.TaxAnswer", "The taxes there.", {
    { "prices_include_tax", "boolean" },
    { "tax_rates", "table<string, table[]>", "Class to `{code, rate, compound?, from?, to?}`." },
    { "tax_level?", "\"line\"|\"unit\"|\"order\"" }, { "shipping_tax_class?", "string" } } },
  { "till.PaymentAbout", "Who wants to pay.", {
    { "currency", "string" }, { "country", "string" }, { "amount", "integer", "Minor units." } } },
  { "till.PaymentOffer", "How a payment is offered.", {
    { "label", "string" }, { "fields?", "string[]", "What the shopper gives." },
    { "capture?", "\"now\"|\"later\"|\"fulfilment\"" },
    { "offline?", "boolean", "Staff see the money come." } } },
  { "till.Payment", "One attempt at a payment.", {
    { "payment_id", "string" }, { "amount", "integer", "Minor units." }, { "currency", "string" },
    { "idem_key", "string", "Hand it to the provider unchanged." },
    { "provider_ref?", "string" }, { "data?", "table", "What the shopper gave." },
    { "order_ref", "string" },
    { "final?", "boolean", "Of a capture: false where more of it may be captured later." },
    { "is_resent?", "boolean", "It was sent before, and waited for the shopper." },
    { "customer?", "{id: string, ref: string?}", "Who pays, where his payment method is to be "
      .. "kept; ref: what the provider knows him by." },
    { "saved?", "till.SavedMethod", "The one to pay with." } } },
  { "till.SavedMethod", "A payment method that the provider keeps for a customer.", {
    { "method", "string", "The provider's token." },
    { "customer", "string", "What the provider knows him by." },
    { "brand?", "string" }, { "last4?", "string" }, { "exp_month?", "integer" },
    { "exp_year?", "integer" } } },
  { "till.PaymentAnswer", "What became of it.", {
    { "outcome", "string", "One of those of the hook." }, { "provider_ref?", "string" },
    { "reason?", "string" }, { "action?", "table", "`{type = \"redirect\", url =}`." },
    { "refunded_amount?", "integer", "Of a lookup: what went back so far." },
    { "refund_ref?", "string", "Of a refund: the provider's id of this very refund, as its webhooks"
      .. " tell it." },
    { "capture_ref?", "string", "Of a capture: the provider's id of this very one, as its webhooks"
      .. " tell it." },
    { "saved?", "till.SavedMethod", "To be kept, where `data.save` asks for it." },
    { "captured_amount?", "integer", "Of a lookup: what was captured; another amount than ours is"
      .. " not booked." },
    { "expires_at?", "string", "Of `authorized`: RFC 3339, until when it is held, where the "
      .. "provider says it; else `authorization_days` count from now." },
    { "answered?", "boolean", "`unknown` or `failed` is what the provider said: it is well, and "
      .. "its breaker does not count it as a failure." },
    { "retryable?", "boolean", "It is safe to send again, under this key." } } },
  { "till.PaymentCapabilities", "What a provider can do; what is left out is as it says here.", {
    { "currencies?", "string[]", "Only these; any." }, { "countries?", "string[]",
      "Only there; everywhere." },
    { "min_amount?", "table<string, integer>", "Minor units by currency." },
    { "max_amount?", "table<string, integer>", "Minor units by currency." },
    { "hours?", "table", "`{from = \"08:00\", to = \"18:00\", zone = \"-04:00\"}`; always." },
    { "partial_capture?", "boolean", "true" }, { "multiple_captures?", "boolean", "false" },
    { "partial_refund?", "boolean", "true" },
    { "void?", "boolean", "true; false: what was authorized is let go of by payment.refund." },
    { "saved_methods?", "boolean", "false; true needs the hook payment.forget." },
    { "authorization_days?", "integer", "How long an authorization lasts." },
    { "trusts_callbacks?", "boolean", "false; true: a verified callback is the provider's own "
      .. "word, so webhook.apply is given the events, and need not ask." } } },
  { "till.PaymentCheck", "Whether its credentials work.", {
    { "ok", "boolean" }, { "problem?", "string", "A sentence, without secrets." },
    { "next_step?", "string", "What to do about it." } } },
  { "till.Order", "An order as GET /admin/v1/orders/{id} tells of it, amounts as integers.", {
    { "id", "string" }, { "number", "string" }, { "currency", "string" },
    { "lines", "table[]" } } },
  { "till.Event", "A job: one of `schedules`, or one that was put off.", {
    { "id", "string", "The same when it comes again." }, { "job", "string", "Its name." },
    { "payload", "any", "What it was put off with; nil of a schedule." },
    { "attempts", "integer", "With this one, from 1." } } },
  { "till.Published", "An event as it is told to others.", {
    { "id", "string", "The same when it comes again: receivers know a second one by it." },
    { "aggregate", "string", "order:ord_…: within it the order holds." },
    { "type", "string", "order.placed" }, { "payload", "table" },
    { "created_at", "string", "RFC 3339." },
    { "traceparent", "string", "Of the request it came from; may be empty." } } },
  { "till.PublishAnswer", "What could not be published.", {
    { "failed?", "table<string, string>", "By id, why: these come again, each by itself." } } },
  { "till.WebhookRequest", "What came, unchecked.", {
    { "headers", "table<string, string>", "Names in lower case." },
    { "body", "string", "The bytes, for the signature." } } },
  { "till.WebhookAnswer", "What the sender is told.", {
    { "status", "integer", "2xx: it is to be kept." },
    { "reason?", "string", "Of a refusal, for the metric: no_match, stale." },
    { "event?", "till.WebhookEvent", "What is kept, before the sender is answered." } } },
  { "till.WebhookEvent", "An event as the inbox has it.", {
    { "id", "string", "As the provider names it; each is kept once." }, { "type", "string" },
    { "subject", "string", "What it is about: those of one subject are applied together." },
    { "at_ms", "integer" }, { "body", "string" },
    { "is_ignored?", "boolean", "It is kept, and nothing is to be done." } } },
  { "till.WebhookHint", "What there is to look at.", {
    { "types", "string[]", "Of its events that are due." }, { "subject", "string" },
    { "event_id", "string" },
    { "bodies?", "string[]", "Of a provider that has the capability `trusts_callbacks`: these "
      .. "events as they came, oldest first. Each may be missing, late or there twice." } } },
  { "till.WebhookState", "How a payment stands at the provider.", {
    { "payment_id?", "string", "Ours, as the provider has it." }, { "cart_id?", "string" },
    { "provider_ref?", "string" },
    { "page_prefix?", "string", "How references begin that it has while it is paid on a page." },
    { "amount?", "integer", "Minor units." },
    { "currency?", "string" }, { "state?", "string", "authorized, captured, voided" },
    { "failed?", "table[]", "Refunds that failed, apart from events: reference, amount, reason." },
    { "events?", "table[]", "What is to be booked: kind, amount or sum, reference, fee, at_ms; of"
      .. " a refund is_ours, where the shop asked for it; of one that failed (refund_failed, with"
      .. " its own reference) key as well: under which." },
    { "park?", "string", "Why staff have to look at it instead." } } },
  { "till.WebhookWish", "Which events.", {
    { "since_ms", "integer" }, { "after?", "string", "Where the last page ended." } } },
  { "till.WebhookPage", "Some of them.", {
    { "events", "till.WebhookEvent[]" },
    { "after?", "string", "Where the next page begins; nil: there is none." } } },
  { "till.SettlementWish", "Which movements.", {
    { "from_ms", "integer" }, { "to_ms", "integer", "Not itself." },
    { "after?", "string", "Where the last page ended." } } },
  { "till.SettlementItem", "A movement of money at the provider.", {
    { "reference", "string", "The provider's id of the movement." },
    { "kind", "string", "charge, refund, refund_failure (of a refund, its source), dispute,"
      .. " dispute_reversal, fee, payout, payout_reversal or adjustment." },
    { "amount", "integer", "Before the fee; negative: it left the account." },
    { "fee", "integer", "That the provider kept; negative: that came back." },
    { "currency", "string" }, { "at_ms", "integer" },
    { "source?", "string", "The provider's id of the charge, refund, dispute or payout." },
    { "payment_id?", "string", "Of its metadata." },
    { "provider_ref?", "string", "As payments have it: another payment's is not booked." },
    { "page_prefix?", "string", "How references begin that it has while it is paid on a page." },
    { "is_ours?", "boolean", "A refund that the shop asked for: who asked books it." },
    { "key?", "string", "Under which it did, where the provider tells." } } },
  { "till.SettlementPage", "Some of them.", {
    { "items", "till.SettlementItem[]" },
    { "after?", "string", "Where the next page begins; nil: there is none." } } },
  { "till.PayoutWish", "Which payout.", {
    { "payout", "string", "`source` of its movement." },
    { "after?", "string", "Where the last page ended." } } },
  { "till.Payout", "How it stands.", {
    { "state?", "string", "created, in_transit, paid, failed or canceled." },
    { "reason?", "string", "Why it failed." }, { "at_ms?", "integer" },
    { "arrives_at_ms?", "integer" },
    { "is_listed?", "boolean", "Is it told what it holds? false: never; nil: not yet." } } },
  { "till.PayoutPage", "Some of what it holds; its own movement may be among it.", {
    { "payout?", "till.Payout", "On the first page." },
    { "items?", "till.SettlementItem[]", "nil: not told." },
    { "after?", "string", "Where the next page begins; nil: there is none." } } },
  { "till.Route", "A route, as lua/till/http/route.lua tells.", {
    { "method", "string" }, { "path", "string", "Below /plugins/NAME/." },
    { "auth", "\"store\"|\"admin\"|\"customer\"|\"none\"|\"hook\"" }, { "summary", "string" },
    { "handler", "fun(ctx: table): table?, till.Err?" } } },
}

---@meta
-- Written by scripts/lint-surface --write.

--- A failure.
---@class till.Err
---@field code string One of core/base/status.h: "timeout".
---@field message string For logs and developers.
---@field retryable boolean
---@field http integer
---@field title string
---@field sent? boolean Of an HTTP request: it may have arrived.
---@field retry_after_ms? integer

--- An exact fraction.
---@class till.Fraction
---@field n integer
---@field d integer

--- A request.
---@class till.HttpOptions
---@field url string
---@field method? string GET where absent.
---@field headers? table<string, string>
---@field body? string
---@field timeout_ms? integer Never past the budget of the hook.
---@field max_body? integer Bytes.
---@field ca_file? string

--- Its answer.
---@class till.HttpResponse
---@field status integer
---@field headers table<string, string> Names in lower case.
---@field body string
---@field version integer 10, 11 or 20.
---@field repeated? boolean It was sent once before, over a connection that broke.

--- A line of a cart.
---@class till.CartLine
---@field id string
---@field sku string
---@field product_id string
---@field title string
---@field tags string[]
---@field quantity integer
---@field unit_price integer Minor units.
---@field weight_g integer Grams each.
---@field tax_class? string

--- A cart as hooks see it; what is changed in it changes nothing.
---@class till.Cart
---@field id string
---@field currency string ISO 4217.
---@field country string
---@field lines till.CartLine[]
---@field subtotal integer Minor units.
---@field weight_g integer
---@field codes string[] That the shopper entered.
---@field email? string

--- One promotion, in the words of lua/till/rule/price.lua.
---@class till.PromotionTerm
---@field id string Unique within the plugin.
---@field level "line"|"order"|"shipping"
---@field type string "percent", ...
---@field value? string|integer A percentage is a text.
---@field filter? {skus?: string[], tags?: string[]}
---@field conditions? table
---@field label? string What the shopper reads.
---@field currency? string Left out in carts of another one.

--- Why a cart cannot be ordered.
---@class till.Refusal
---@field code string
---@field message string
---@field pointer? string "/lines".

--- Where it goes.
---@class till.Address
---@field country string ISO 3166-1.
---@field region? string
---@field city? string
---@field postal_code? string

--- What is to be delivered.
---@class till.ShippingRequest
---@field cart till.Cart
---@field address till.Address
---@field currency string
---@field subtotal integer Minor units.
---@field weight_g integer

--- One way to deliver it.
---@class till.ShippingOption
---@field id string Never changed.
---@field label string
---@field amount integer Minor units of the currency.
---@field tax_class? string
---@field min_days? integer
---@field max_days? integer

--- Where and when.
---@class till.TaxRequest
---@field country string
---@field region? string
---@field date string RFC 3339, UTC.
---@field currency string

--- The taxes there.
---@class till.TaxAnswer
---@field prices_include_tax boolean
---@field tax_rates table<string, table[]> Class to `{code, rate, compound?, from?, to?}`.
---@field tax_level? "line"|"unit"|"order"
---@field shipping_tax_class? string

--- Who wants to pay.
---@class till.PaymentAbout
---@field currency string
---@field country string
---@field amount integer Minor units.

--- How a payment is offered.
---@class till.PaymentOffer
---@field label string
---@field fields? string[] What the shopper gives.
---@field capture? "now"|"later"|"fulfilment"
---@field offline? boolean Staff see the money come.

--- One attempt at a payment.
---@class till.Payment
---@field payment_id string
---@field amount integer Minor units.
---@field currency string
---@field idem_key string Hand it to the provider unchanged.
---@field provider_ref? string
---@field data? table What the shopper gave.
---@field order_ref string
---@field final? boolean Of a capture: false where more of it may be captured later.
---@field is_resent? boolean It was sent before, and waited for the shopper.
---@field customer? {id: string, ref: string?} Who pays, where his payment method is to be kept; ref: what the provider knows him by.
---@field saved? till.SavedMethod The one to pay with.

--- A payment method that the provider keeps for a customer.
---@class till.SavedMethod
---@field method string The provider's token.
---@field customer string What the provider knows him by.
---@field brand? string
---@field last4? string
---@field exp_month? integer
---@field exp_year? integer

--- What became of it.
---@class till.PaymentAnswer
---@field outcome string One of those of the hook.
---@field provider_ref? string
---@field reason? string
---@field action? table `{type = "redirect", url =}`.
---@field refunded_amount? integer Of a lookup: what went back so far.
---@field refund_ref? string Of a refund: the provider's id of this very refund, as its webhooks tell it.
---@field capture_ref? string Of a capture: the provider's id of this very one, as its webhooks tell it.
---@field saved? till.SavedMethod To be kept, where `data.save` asks for it.
---@field captured_amount? integer Of a lookup: what was captured; another amount than ours is not booked.
---@field expires_at? string Of `authorized`: RFC 3339, until when it is held, where the provider says it; else `authorization_days` count from now.
---@field answered? boolean `unknown` or `failed` is what the provider said: it is well, and its breaker does not count it as a failure.
---@field retryable? boolean It is safe to send again, under this key.

--- What a provider can do; what is left out is as it says here.
---@class till.PaymentCapabilities
---@field currencies? string[] Only these; any.
---@field countries? string[] Only there; everywhere.
---@field min_amount? table<string, integer> Minor units by currency.
---@field max_amount? table<string, integer> Minor units by currency.
---@field hours? table `{from = "08:00", to = "18:00", zone = "-04:00"}`; always.
---@field partial_capture? boolean true
---@field multiple_captures? boolean false
---@field partial_refund? boolean true
---@field void? boolean true; false: what was authorized is let go of by payment.refund.
---@field saved_methods? boolean false; true needs the hook payment.forget.
---@field authorization_days? integer How long an authorization lasts.
---@field trusts_callbacks? boolean false; true: a verified callback is the provider's own word, so webhook.apply is given the events, and need not ask.

--- Whether its credentials work.
---@class till.PaymentCheck
---@field ok boolean
---@field problem? string A sentence, without secrets.
---@field next_step? string What to do about it.

--- An order as GET /admin/v1/orders/{id} tells of it, amounts as integers.
---@class till.Order
---@field id string
---@field number string
---@field currency string
---@field lines table[]

--- A job: one of `schedules`, or one that was put off.
---@class till.Event
---@field id string The same when it comes again.
---@field job string Its name.
---@field payload any What it was put off with; nil of a schedule.
---@field attempts integer With this one, from 1.

--- An event as it is told to others.
---@class till.Published
---@field id string The same when it comes again: receivers know a second one by it.
---@field aggregate string order:ord_…: within it the order holds.
---@field type string order.placed
---@field payload table
---@field created_at string RFC 3339.
---@field traceparent string Of the request it came from; may be empty.

--- What could not be published.
---@class till.PublishAnswer
---@field failed? table<string, string> By id, why: these come again, each by itself.

--- What came, unchecked.
---@class till.WebhookRequest
---@field headers table<string, string> Names in lower case.
---@field body string The bytes, for the signature.

--- What the sender is told.
---@class till.WebhookAnswer
---@field status integer 2xx: it is to be kept.
---@field reason? string Of a refusal, for the metric: no_match, stale.
---@field event? till.WebhookEvent What is kept, before the sender is answered.

--- An event as the inbox has it.
---@class till.WebhookEvent
---@field id string As the provider names it; each is kept once.
---@field type string
---@field subject string What it is about: those of one subject are applied together.
---@field at_ms integer
---@field body string
---@field is_ignored? boolean It is kept, and nothing is to be done.

--- What there is to look at.
---@class till.WebhookHint
---@field types string[] Of its events that are due.
---@field subject string
---@field event_id string
---@field bodies? string[] Of a provider that has the capability `trusts_callbacks`: these events as they came, oldest first. Each may be missing, late or there twice.

--- How a payment stands at the provider.
---@class till.WebhookState
---@field payment_id? string Ours, as the provider has it.
---@field cart_id? string
---@field provider_ref? string
---@field page_prefix? string How references begin that it has while it is paid on a page.
---@field amount? integer Minor units.
---@field currency? string
---@field state? string authorized, captured, voided
---@field failed? table[] Refunds that failed, apart from events: reference, amount, reason.
---@field events? table[] What is to be booked: kind, amount or sum, reference, fee, at_ms; of a refund is_ours, where the shop asked for it; of one that failed (refund_failed, with its own reference) key as well: under which.
---@field park? string Why staff have to look at it instead.

--- Which events.
---@class till.WebhookWish
---@field since_ms integer
---@field after? string Where the last page ended.

--- Some of them.
---@class till.WebhookPage
---@field events till.WebhookEvent[]
---@field after? string Where the next page begins; nil: there is none.

--- Which movements.
---@class till.SettlementWish
---@field from_ms integer
---@field to_ms integer Not itself.
---@field after? string Where the last page ended.

--- A movement of money at the provider.
---@class till.SettlementItem
---@field reference string The provider's id of the movement.
---@field kind string charge, refund, refund_failure (of a refund, its source), dispute, dispute_reversal, fee, payout, payout_reversal or adjustment.
---@field amount integer Before the fee; negative: it left the account.
---@field fee integer That the provider kept; negative: that came back.
---@field currency string
---@field at_ms integer
---@field source? string The provider's id of the charge, refund, dispute or payout.
---@field payment_id? string Of its metadata.
---@field provider_ref? string As payments have it: another payment's is not booked.
---@field page_prefix? string How references begin that it has while it is paid on a page.
---@field is_ours? boolean A refund that the shop asked for: who asked books it.
---@field key? string Under which it did, where the provider tells.

--- Some of them.
---@class till.SettlementPage
---@field items till.SettlementItem[]
---@field after? string Where the next page begins; nil: there is none.

--- Which payout.
---@class till.PayoutWish
---@field payout string `source` of its movement.
---@field after? string Where the last page ended.

--- How it stands.
---@class till.Payout
---@field state? string created, in_transit, paid, failed or canceled.
---@field reason? string Why it failed.
---@field at_ms? integer
---@field arrives_at_ms? integer
---@field is_listed? boolean Is it told what it holds? false: never; nil: not yet.

--- Some of what it holds; its own movement may be among it.
---@class till.PayoutPage
---@field payout? till.Payout On the first page.
---@field items? till.SettlementItem[] nil: not told.
---@field after? string Where the next page begins; nil: there is none.

--- A route, as lua/till/http/route.lua tells.
---@class till.Route
---@field method string
---@field path string Below /plugins/NAME/.
---@field auth "store"|"admin"|"customer"|"none"|"hook"
---@field summary string
---@field handler fun(ctx: table): table?, till.Err?

--- What handler.lua returns: a function for each hook of plugin.lua.
---@class till.Handler
---@field ["cart.validate"]? fun(config: table, cart: till.Cart): till.Refusal?, till.Err?
---@field ["event.publish"]? fun(config: table, events: till.Published[]): till.PublishAnswer?, till.Err?
---@field ["http.route"]? fun(config: table): till.Route[]?, till.Err?
---@field ["job.run"]? fun(config: table, event: till.Event): any?, till.Err?
---@field ["order.cancelled"]? fun(config: table, order: till.Order): any?, till.Err?
---@field ["order.fulfilled"]? fun(config: table, order: till.Order): any?, till.Err?
---@field ["order.paid"]? fun(config: table, order: till.Order): any?, till.Err?
---@field ["order.paid_again"]? fun(config: table, order: till.Order): any?, till.Err?
---@field ["order.payment_added"]? fun(config: table, order: till.Order): any?, till.Err?
---@field ["order.placed"]? fun(config: table, order: till.Order): any?, till.Err?
---@field ["payment.authorize"]? fun(config: table, payment: till.Payment): till.PaymentAnswer?, till.Err?
---@field ["payment.balance"]? fun(config: table): table<string, integer>?, till.Err?
---@field ["payment.capabilities"]? fun(config: table): till.PaymentCapabilities?, till.Err?
---@field ["payment.capture"]? fun(config: table, payment: till.Payment): till.PaymentAnswer?, till.Err?
---@field ["payment.check"]? fun(config: table): till.PaymentCheck?, till.Err?
---@field ["payment.describe"]? fun(config: table, about: till.PaymentAbout): till.PaymentOffer?, till.Err?
---@field ["payment.forget"]? fun(config: table, about: till.SavedMethod): till.PaymentAnswer?, till.Err?
---@field ["payment.lookup"]? fun(config: table, payment: till.Payment): till.PaymentAnswer?, till.Err?
---@field ["payment.payout"]? fun(config: table, wish: till.PayoutWish): till.PayoutPage?, till.Err?
---@field ["payment.refund"]? fun(config: table, payment: till.Payment): till.PaymentAnswer?, till.Err?
---@field ["payment.requested"]? fun(config: table, order: till.Order): any?, till.Err?
---@field ["payment.settlement"]? fun(config: table, wish: till.SettlementWish): till.SettlementPage?, till.Err?
---@field ["payment.void"]? fun(config: table, payment: till.Payment): till.PaymentAnswer?, till.Err?
---@field ["plugin.check"]? fun(config: table): string?, till.Err?
---@field ["promo.evaluate"]? fun(config: table, cart: till.Cart): till.PromotionTerm[]?, till.Err?
---@field ["shipping.quote"]? fun(config: table, request: till.ShippingRequest): till.ShippingOption[]?, till.Err?
---@field ["tax.calculate"]? fun(config: table, request: till.TaxRequest): till.TaxAnswer?, till.Err?
---@field ["webhook.apply"]? fun(config: table, event: till.WebhookHint): till.WebhookState?, till.Err?
---@field ["webhook.poll"]? fun(config: table, wish: till.WebhookWish): till.WebhookPage?, till.Err?
---@field ["webhook.receive"]? fun(config: table, request: till.WebhookRequest): till.WebhookAnswer?, till.Err?

// Stripe's errors: an HTTP status and the object below `error`.

export class StripeError extends Error {
  constructor(status, fields) {
    super(fields.message);
    this.status = status;
    this.fields = fields;
  }

  body(requestId) {
    const { code } = this.fields;
    const more = code ? { doc_url: `https://stripe.com/docs/error-codes/${code.replaceAll("_", "-")}` } : {};
    return { error: { ...this.fields, ...more, request_log_url: `https://dashboard.stripe.com/test/logs/${requestId}` } };
  }
}

export const invalid = (message, more = {}, status = 400) => new StripeError(status, { type: "invalid_request_error", message, ...more });
export const missing = (what, id, param = "id") => invalid(`No such ${what}: '${id}'`, { code: "resource_missing", param }, 404);

// Codes of declines that are codes of errors as well; every other one is told as `card_declined`.
const OWN_CODE = new Set(["authentication_required", "expired_card", "incorrect_cvc", "incorrect_number", "incorrect_zip", "invalid_cvc",
  "invalid_expiry_month", "invalid_expiry_year", "invalid_number", "processing_error"]);
const SENTENCES = {
  authentication_required: "Your card was declined. This transaction requires authentication.",
  expired_card: "Your card has expired.",
  incorrect_cvc: "Your card's security code is incorrect.",
  insufficient_funds: "Your card has insufficient funds.",
  processing_error: "An error occurred while processing your card. Try again in a little bit.",
};

/** https://stripe.com/docs/declines/codes */
export const DECLINE_CODES = ["approve_with_id", "authentication_required", "call_issuer", "card_not_supported",
  "card_velocity_exceeded", "currency_not_supported", "do_not_honor", "do_not_try_again", "duplicate_transaction", "expired_card",
  "fraudulent", "generic_decline", "incorrect_cvc", "incorrect_number", "incorrect_pin", "incorrect_zip", "insufficient_funds",
  "invalid_account", "invalid_amount", "invalid_cvc", "invalid_expiry_month", "invalid_expiry_year", "invalid_number", "invalid_pin",
  "issuer_not_available", "lost_card", "merchant_blacklist", "new_account_information_available", "no_action_taken",
  "not_permitted", "offline_pin_required", "online_or_offline_pin_required", "pickup_card", "pin_try_exceeded", "processing_error",
  "reenter_transaction", "restricted_card", "revocation_of_all_authorizations", "revocation_of_authorization",
  "security_violation", "service_not_allowed", "stolen_card", "stop_payment_order", "testmode_decline", "transaction_not_allowed",
  "try_again_later", "withdrawal_count_limit_exceeded"];

/** What is told of a decline, also in `last_payment_error`. */
export function declineFields(declineCode) {
  const isOwn = OWN_CODE.has(declineCode);
  const fields = { type: "card_error", code: isOwn ? declineCode : "card_declined", message: SENTENCES[declineCode] ?? "Your card was declined." };
  if (!isOwn || declineCode === "authentication_required") fields.decline_code = declineCode;
  return fields;
}

/** What is told by a status that the script asks for, nothing being wrong with the request. */
export function scriptedError(status) {
  if (status === 409)
    return new StripeError(409, { type: "invalid_request_error", code: "lock_timeout",
      message: "This object cannot be accessed right now because another API request or Stripe process is currently accessing it." });
  if (status === 429)
    return new StripeError(429, { type: "invalid_request_error", code: "rate_limit", message: "Too many requests hit the API too quickly." });
  return new StripeError(status, { type: "api_error", message: "An unknown error occurred" });
}

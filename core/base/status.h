/* status.h - every way an operation can fail or be refused, in one table.
 *
 * A status is public and permanent: its code reaches the logs, the metrics,
 * `err.code` in Lua and `code` in the problem documents of the API (RFC 9457,
 * where `title` is the one constant title of the problem's type). Rows are
 * added, never renamed. `retry` says that doing the same again, under the same
 * idempotency key, is both safe and useful; callers read it here and do not
 * guess it from a name.
 */
#ifndef TILL_BASE_STATUS_H
#define TILL_BASE_STATUS_H

#include <stdbool.h>

/* clang-format off */
/*        symbol                  code                        retry  http  title */
#define TILL_STATUS_TABLE(row)                                                                                       \
    row(OK,                     "ok",                         false, 200, "Done")                                    \
    /* failures: of the machinery */                                                                                 \
    row(CANCELLED,              "cancelled",                  false, 499, "The client went away")                    \
    row(TIMEOUT,                "timeout",                    true,  504, "It took too long")                        \
    row(CONN_LOST,              "conn_lost",                  true,  503, "A service that is needed is away")        \
    row(UNAVAILABLE,            "unavailable",                true,  503, "Not possible just now")                   \
    row(OVERLOADED,             "overloaded",                 true,  503, "Too busy just now")                       \
    row(DEADLOCK,               "deadlock",                   true,  503, "Two changes got into each other's way")   \
    row(DUPLICATE,              "duplicate",                  false, 409, "It is there already")                     \
    row(REJECTED,               "rejected",                   false, 422, "Refused")                                 \
    row(RANGE,                  "out_of_range",               false, 422, "Out of range")                            \
    row(UNKNOWN,                "unknown_outcome",            false, 503, "The outcome is not known yet")            \
    row(INTERNAL,               "internal",                   false, 500, "A fault of ours")                         \
    /* HTTP: the request itself */                                                                                   \
    row(BAD_REQUEST,            "bad_request",                false, 400, "The request is not well formed")          \
    row(MALFORMED_JSON,         "malformed_json",             false, 400, "The body is not JSON")                    \
    row(CARD_NUMBER,            "card_number_refused",        false, 422, "A card number does not belong here")         \
    row(INVALID,                "invalid_request",            false, 422, "The request does not fit its schema")     \
    row(UNAUTHORIZED,           "unauthorized",               false, 401, "A credential is needed")                  \
    row(FORBIDDEN,              "forbidden",                  false, 403, "The credential does not allow this")      \
    row(NOT_FOUND,              "not_found",                  false, 404, "There is no such thing")                  \
    row(METHOD_NOT_ALLOWED,     "method_not_allowed",         false, 405, "Not with this method")                    \
    row(CONFLICT,               "conflict",                   false, 409, "It does not fit the present state")       \
    row(BUSY,                   "busy",                       true,  409, "Somebody else is at it")                  \
    row(STALE,                  "precondition_failed",        false, 412, "It has changed meanwhile")                \
    row(TOO_LARGE,              "body_too_large",             false, 413, "The body is too large")                   \
    row(MEDIA_TYPE,             "unsupported_media_type",     false, 415, "JSON is expected")                        \
    row(UPGRADE_REQUIRED,       "upgrade_required",           false, 426, "WebSocket is spoken here in version 13")  \
    row(PRECONDITION_REQUIRED,  "precondition_required",      false, 428, "If-Match is needed")                      \
    row(QUOTA,                  "quota_exceeded",             true,  429, "Too many requests")                       \
    row(REQUEST_TIMEOUT,        "request_timeout",            true,  408, "The request came too slowly")             \
    row(TARGET_TOO_LONG,        "target_too_long",            false, 414, "The request target is too long")          \
    row(EXPECTATION,            "expectation_failed",         false, 417, "What is expected cannot be met")          \
    row(HTTP_VERSION,           "http_version",               false, 505, "Not this version of HTTP")                \
    row(HEADERS_TOO_LARGE,      "headers_too_large",          false, 431, "The headers are too large")               \
    row(IDEM_KEY_MISSING,       "idempotency_key_missing",    false, 400, "Idempotency-Key is needed")               \
    row(IDEM_KEY_INVALID,       "idempotency_key_invalid",    false, 400, "Idempotency-Key is not well formed")      \
    row(IDEM_KEY_REUSED,        "idempotency_key_reused",     false, 422, "Idempotency-Key was used for another body") \
    row(IDEM_IN_FLIGHT,         "idempotency_in_flight",      true,  409, "The first request is still running")      \
    row(INVALID_CURSOR,         "invalid_cursor",             false, 400, "The cursor is not one of ours")           \
    /* refusals: of the trade */                                                                                     \
    row(SOLD_OUT,               "sold_out",                   false, 409, "Not enough in stock")                     \
    row(PRICE_CHANGED,          "price_changed",              false, 409, "The price has changed")                   \
    row(NO_PRICE,               "no_price",                   false, 422, "There is no price in this currency")      \
    row(UNKNOWN_CURRENCY,       "unknown_currency",           false, 422, "There is no such currency")               \
    row(UNKNOWN_COUNTRY,        "unknown_country",            false, 422, "There is no such country")                \
    row(INVALID_QUANTITY,       "invalid_quantity",           false, 422, "Not a quantity that can be sold")         \
    row(PROMOTION_UNKNOWN,      "promotion_unknown",          false, 422, "There is no such promotion code")         \
    row(PROMOTION_REFUSED,      "promotion_refused",          false, 422, "The promotion does not apply")            \
    row(CART_INCOMPLETE,        "cart_incomplete",            false, 422, "Something is missing in the cart")        \
    row(CART_COMPLETED,         "cart_completed",             false, 409, "The cart is an order already")            \
    row(CART_MERGED,            "cart_merged",                false, 409, "The cart went into another one")          \
    row(IN_COMPLETION,          "completion_in_progress",     true,  409, "The cart is being completed")             \
    row(SHIPPING_UNAVAILABLE,   "shipping_unavailable",       false, 422, "This shipping option is not offered")     \
    row(PROVIDER_UNKNOWN,       "payment_provider_unknown",   false, 422, "There is no such payment provider")       \
    row(PAYMENT_DECLINED,       "payment_declined",           false, 402, "The payment was declined")                \
    row(REQUIRES_ACTION,        "payment_requires_action",    false, 402, "The shopper has to act")                  \
    row(AMOUNT_OVERFLOW,        "amount_overflow",            false, 422, "The amount is too large")                 \
    row(RULE_FAILED,            "rule_failed",                true,  503, "A rule of the shop could not be asked")
/* clang-format on */

typedef enum till_status {
#define TILL_STATUS_ENUM(sym, code, retry, http, title) TILL_##sym,
    TILL_STATUS_TABLE(TILL_STATUS_ENUM)
#undef TILL_STATUS_ENUM
        TILL_STATUS_COUNT
} till_status_t;

/** The permanent code, e.g. "timeout"; a static string. */
const char *till_status_code(till_status_t status);
const char *till_status_title(till_status_t status);
int till_status_http(till_status_t status);
bool till_status_is_retryable(till_status_t status);

#endif

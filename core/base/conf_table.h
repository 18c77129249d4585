/* conf_table.h - every option of the server. conf/moontill.lua shows the same ones, and
 * tests/core/base/test_conf.c holds the two together.
 *
 *     INT(name, default, min, max, unit, why)    BOOL(name, default, why)
 *     STR(name, default, allowed, why)           SECRET(name, why)
 *
 * `allowed` is "a|b|c", or "" for any text. A secret is text, env("NAME") or
 * file("/path"), empty unless it is given, and never shown.
 */
#ifndef TILL_BASE_CONF_TABLE_H
#define TILL_BASE_CONF_TABLE_H

/* clang-format off */
#define TILL_CONF_TABLE(INT, BOOL, STR, SECRET)                                                                             \
    STR("server.listen", "127.0.0.1:8443", "", "host:port of the shop, TLS with h2 and http/1.1")                           \
    STR("server.ops_listen", "", "", "host:port of /livez, /readyz and /metrics; empty: the next port on the same host")    \
    INT("server.workers", 0, 0, 256, "processes", "web workers; 0 is one a core")                                           \
    INT("server.jobs_workers", 1, 0, 64, "processes", "jobs workers: outbox, sagas, clean-up")                              \
    STR("server.cert_file", "", "", "PEM chain of the certificate; empty: no TLS, for a balancer in front")          \
    STR("server.key_file", "", "", "PEM private key of server.cert_file")                                                   \
    STR("server.user", "", "", "whom the workers become when started by root; empty: whoever started it")                   \
    STR("server.control_socket", "", "", "where reload and the other commands reach it; empty: control.sock in the working directory") \
    INT("server.max_body_bytes", 1048576, 1024, 67108864, "bytes", "a larger request is refused: 413")                      \
    INT("server.max_header_bytes", 32768, 4096, 262144, "bytes", "larger request headers are refused: 431")                 \
    INT("server.max_connections", 10000, 16, 1000000, "connections of a worker", "the longest idle one gives way to a new one") \
    INT("server.max_connections_per_address", 0, 0, 1000000, "connections of a worker", "from one address; 0: any number, as behind a proxy") \
    INT("server.max_concurrency", 512, 1, 100000, "requests of a worker", "more at once are answered 503, before work is begun") \
    INT("server.request_timeout_ms", 10000, 100, 300000, "ms", "the deadline of a request, waits included")                 \
    INT("server.queue_target_ms", 100, 0, 60000, "ms", "a wait that may last; while the shortest is longer, requests are refused, the least important first; 0: none") \
    INT("server.queue_timeout_ms", 2000, 0, 60000, "ms", "a new request that waits so long for a connection to the database is refused, and a request to a provider too; 0: only by its deadline") \
    INT("server.header_timeout_ms", 10000, 100, 120000, "ms", "headers and body must have arrived within it")               \
    INT("server.send_timeout_ms", 15000, 100, 600000, "ms", "an answer must have been read within it, and a second for each 16 KB") \
    INT("server.idle_timeout_ms", 60000, 1000, 3600000, "ms", "a connection without a request is closed")                   \
    INT("server.shutdown_timeout_ms", 10000, 0, 600000, "ms", "how long running requests may take to end on TERM")          \
    INT("server.heartbeat_timeout_ms", 1500, 500, 600000, "ms", "a worker that computes on and on without a sign of life is killed and replaced") \
    INT("server.compress_min_bytes", 1024, 0, 1048576, "bytes", "smaller answers are not compressed; 0 never compresses")   \
    INT("server.backlog", 1024, 16, 65535, "connections", "that the kernel holds until we accept them")                     \
    BOOL("server.trust_forwarded", false, "believe X-Forwarded-For; only behind a proxy that sets it")                     \
    STR("mysql.socket", "", "", "path of the socket; empty: mysql.host and mysql.port")                                     \
    STR("mysql.host", "127.0.0.1", "", "where MariaDB is")                                                                  \
    INT("mysql.port", 3306, 1, 65535, "port", "where MariaDB is")                                                           \
    STR("mysql.user", "moontill", "", "needs all rights on mysql.database to migrate, and the common ones to serve")        \
    SECRET("mysql.password", "of mysql.user")                                                                               \
    STR("mysql.database", "moontill", "", "has to be there; migrate makes its tables")                                        \
    INT("mysql.connections", 8, 1, 256, "connections of a worker", "more make a hot row worse, not better")                 \
    INT("mysql.max_waiters", 1024, 0, 100000, "queries of a worker", "that may queue for a connection; more are refused as overload") \
    INT("mysql.query_timeout_ms", 5000, 50, 300000, "ms", "the most that a statement of a worker may take, here and in the database") \
    BOOL("mysql.kill_abandoned", true, "end statements in the database that nobody waits for; false behind a balancer over several servers") \
    INT("mysql.connect_timeout_ms", 2000, 50, 60000, "ms", "to be connected and logged in")                                 \
    STR("redis.socket", "", "", "path of the socket; empty: redis.host and redis.port")                                     \
    STR("redis.host", "127.0.0.1", "", "where Redis is")                                                                    \
    INT("redis.port", 6379, 1, 65535, "port", "where Redis is")                                                             \
    SECRET("redis.password", "for AUTH; empty: none")                                                                       \
    INT("redis.connect_timeout_ms", 3000, 50, 60000, "ms", "to be connected and greeted") \
    INT("redis.command_timeout_ms", 2000, 10, 60000, "ms", "the most that a command may take; when Redis is silent for so long, further ones are refused at once") \
    INT("redis.max_waiters", 10000, 1, 1000000, "commands of a worker", "that may be unanswered; more are refused as overload") \
    INT("http.max_connections", 64, 1, 4096, "connections of a worker", "to providers, all together")                       \
    INT("http.max_per_host", 16, 1, 1024, "connections of a worker", "to one provider")                                     \
    INT("http.max_waiters", 256, 1, 100000, "requests of a worker", "that may queue for a connection; more are refused as overload") \
    INT("http.timeout_ms", 15000, 100, 300000, "ms", "the most that a request may take, and what it gets when it names nothing") \
    STR("http.ca_file", "", "", "PEM of the authorities to believe; empty: the system's")                                   \
    STR("log.file", "", "", "appended to; empty: standard error")                                                           \
    STR("log.level", "info", "debug|info|warn|error", "the least that is written")                                          \
    INT("vm.memory_cap_mb", 256, 16, 4096, "MB of a generation", "a plugin that wants more gets an error")                  \
    INT("vm.retire_timeout_ms", 30000, 100, 600000, "ms", "how long an old generation may finish what it began")            \
    STR("generations.start", "new", "new|folders|live", "what a start takes: the folders where nobody has seen yet what they hold; the folders always; or what the database says is live") \
    INT("generations.keep", 200, 2, 100000, "generations", "the newest that are kept; besides what is live, was live before it, or priced an order") \
    STR("shop.name", "Moontill demo", "", "in mails, documents and the storefront")                                         \
    STR("shop.currency", "GBP", "", "ISO 4217; of carts that name none")                                                    \
    STR("shop.country", "GB", "", "ISO 3166-1; of carts that name none")                                                    \
    STR("shop.locale", "en-GB", "", "BCP 47; of texts where a customer has none")                                           \
    SECRET("shop.signing_secret", "signs cursors; empty: made at start, so cursors end with the process and differ by machine") \
    SECRET("vault.keys", "seals what tables keep sealed: id:base64 of 32 bytes, several apart by line ends or commas, the current one first") \
    INT("cart.reservation_minutes", 15, 1, 1440, "minutes", "that stock is held for a cart with a payment session")         \
    INT("cart.hold_minutes", 120, 1, 10080, "minutes", "that stock is held for a cart at most, however often it is changed") \
    INT("cart.completion_claim_ms", 30000, 1000, 600000, "ms", "that one completion keeps others away from the cart")       \
    INT("cart.max_lines", 200, 1, 1000, "lines", "of one cart")                                                             \
    INT("cart.max_quantity", 10000, 1, 1000000, "units", "of one line")                                                     \
    INT("payments.not_found_after_ms", 40000, 0, 600000, "ms", "after a payment was sent, before \"not found\" is believed: the request may be on its way") \
    INT("payments.sweep_after_ms", 300000, 1000, 86400000, "ms", "between two looks at a payment that was left without an order")                  \
    INT("payments.expiry_alert_ms", 86400000, 0, 2592000000, "ms", "before an authorization ends at its provider, when staff are told") \
    INT("payments.breaker_window_ms", 60000, 10, 3600000, "ms", "that an answer of a provider counts, by worker, provider and operation") \
    INT("payments.breaker_min_calls", 20, 1, 100000, "answers", "within the window before a provider that fails is asked no more; few at night prove nothing") \
    INT("payments.breaker_failure_percent", 50, 1, 100, "percent", "of these that are failures: no answer or a fault, never a decline") \
    INT("payments.breaker_cooldown_ms", 30000, 1, 3600000, "ms", "that it is left alone then, so that it can rise") \
    INT("payments.breaker_probes", 3, 1, 1000, "calls", "that try it again after that; all must go well") \
    BOOL("payments.breaker_dry_run", false, "only count and log what would be refused: to find the right numbers") \
    INT("payments.bulkhead", 256, 0, 100000, "calls of a worker", "to one provider at a time, so that a slow one leaves room for the others; 0: any number") \
    INT("payments.retry_attempts", 3, 1, 10, "attempts", "in all, of a lookup, and of what did not arrive under its key; 1: no retries") \
    INT("payments.retry_base_ms", 100, 0, 60000, "ms", "the first retry waits 0 to so long, by chance; the next ones twice as long each") \
    INT("payments.retry_cap_ms", 1000, 0, 60000, "ms", "the most that one retry waits") \
    INT("payments.retry_total_ms", 2000, 0, 60000, "ms", "from the first attempt, after which none begins: the shopper waits for it") \
    BOOL("orders.combine", true, "buyers who wait for the same SKU in one worker go together, in one transaction")          \
    INT("auth.session_hours", 12, 1, 720, "hours", "of a staff or customer session without use")                            \
    INT("auth.max_attempts", 10, 3, 1000, "attempts", "to log in within 15 minutes, by account and address; by either alone, and to register, 5 times as many") \
    INT("stock.check_interval_s", 3600, 0, 2592000, "s", "between the beginnings of two passes that compare all stock with its log; 0: none")\
    BOOL("stock.check_repairs", true, "a pass puts right what it finds, by events of its own; false: it only tells")        \
    INT("jobs.batch", 100, 1, 1000, "events", "claimed at a time")                                                          \
    INT("jobs.lease_ms", 60000, 1000, 3600000, "ms", "after which an event that was claimed is given to another worker")    \
    INT("jobs.poll_ms", 1000, 50, 60000, "ms", "between two looks when Redis wakes nobody")                                 \
    INT("jobs.max_attempts", 10, 1, 100, "attempts", "before an event goes to the dead letters")                            \
    STR("jobs.priorities", "", "", "of types of events, as \"product.updated=20 order.*=950\": those with more go first; 100 where nothing is said") \
    STR("jobs.limits", "", "", "workers, of all machines, that may be at one type at a time, as \"product.updated=2\"") \
    STR("jobs.attempts", "", "", "of types of events, as \"payment.capture=20\", instead of jobs.max_attempts")             \
    INT("jobs.park_attempts", 12, 1, 100, "attempts", "of a flow in vain, before it waits for staff")                  \
    INT("jobs.park_after_ms", 3600000, 100, 86400000, "ms", "that a flow waits for an outcome, before it waits for staff")\
    INT("cache.ttl_ms", 30000, 0, 3600000, "ms", "how old a cached row may get when Redis is silent")                       \
    INT("cache.page_ms", 250, 0, 1000, "ms", "a page of the catalogue is given again as it is for so long, unless something of it changes; 0 never does") \
    INT("cache.max_entries", 20000, 0, 10000000, "entries of each kind", "what a worker keeps; the least used go first")    \
    INT("live.max_streams", 8000, 0, 1000000, "streams of a worker", "of changes to clients; each over HTTP/1.1 takes one of server.max_connections") \
    INT("live.max_per_client", 50, 1, 100000, "streams of a worker", "of one customer, or of one key from one address") \
    INT("live.heartbeat_ms", 15000, 1000, 300000, "ms", "without an event: then a sign of life is sent") \
    INT("live.max_age_minutes", 30, 1, 1440, "minutes", "after half of it to all of it a stream ends, and is begun anew with its credential looked at") \
    INT("idem.lease_ms", 30000, 1000, 600000, "ms", "after which a retry may take over a request that never ended")         \
    INT("idem.keep_hours", 24, 24, 8760, "hours", "that an answer is replayed under its Idempotency-Key")                   \
    INT("retention.guest_cart_days", 30, 0, 36500, "days", "that a guest's cart is kept since its last change; what is needed stays, here and below; 0: for ever") \
    INT("retention.customer_cart_days", 180, 0, 36500, "days", "that an open cart of a customer is kept since its last change; 0: for ever") \
    INT("retention.completed_cart_days", 90, 0, 36500, "days", "that the cart of an order is kept; the order stays; 0: for ever") \
    INT("retention.reservation_days", 30, 0, 36500, "days", "that a reservation is kept that came to nothing; 0: for ever") \
    INT("retention.flow_days", 90, 0, 36500, "days", "that the flow of a completion is kept after its end; 0: for ever") \
    INT("rules.promo_fuel", 1000000, 10000, 100000000, "instructions", "that one rule may run for the promotions of one cart") \
    INT("rules.validate_fuel", 1000000, 10000, 100000000, "instructions", "that one rule may run to judge one cart")        \
    INT("rules.rule_ms", 20, 1, 1000, "ms of CPU", "that one rule may take, whatever its instructions are")                 \
    INT("rules.deadline_ms", 500, 20, 10000, "ms", "that all rules of one cart may take; then their box is replaced")       \
    INT("rules.kills", 5, 1, 1000, "kills", "of one rule within rules.kill_window_ms: then it is set aside")                \
    INT("rules.kill_window_ms", 600000, 1000, 86400000, "ms", "that a kill of a rule is held against it")
/* clang-format on */

#endif

-- moontill.lua - every option with its default, unit and reason.
--
-- Data in Lua's syntax, never run: text, numbers, true, false, tables, and for secrets
-- env("NAME") and file("/path"). What is left out keeps its default; an unknown name, a wrong
-- type or a value out of range is refused with file and line. `--set server.workers=2` on the
-- command line wins over this file. After a change: `moontill reload`.
return {
  -- What listens, and how much of it.
  server = {
    -- host:port of the shop, TLS with h2 and http/1.1
    listen = "127.0.0.1:8443",
    -- host:port of /livez, /readyz and /metrics; empty: the next port on the same host
    ops_listen = "",
    -- processes, 0 to 256: web workers; 0 is one a core
    workers = 0,
    -- processes, 0 to 64: jobs workers: outbox, sagas, clean-up
    jobs_workers = 1,
    -- PEM chain of the certificate; empty: no TLS, for a balancer in front
    cert_file = "",
    -- PEM private key of server.cert_file
    key_file = "",
    -- whom the workers become when started by root; empty: whoever started it
    user = "",
    -- where reload and the other commands reach it; empty: control.sock in the working directory
    control_socket = "",
    -- bytes, 1024 to 67108864: a larger request is refused: 413
    max_body_bytes = 1048576,
    -- bytes, 4096 to 262144: larger request headers are refused: 431
    max_header_bytes = 32768,
    -- connections of a worker, 16 to 1000000: the longest idle one gives way to a new one
    max_connections = 10000,
    -- connections of a worker, 0 to 1000000: from one address; 0: any number, as behind a proxy
    max_connections_per_address = 0,
    -- requests of a worker, 1 to 100000: more at once are answered 503, before work is begun
    max_concurrency = 512,
    -- ms, 100 to 300000: the deadline of a request, waits included
    request_timeout_ms = 10000,
    -- ms, 0 to 60000: a wait that may last; while the shortest is longer, requests are refused, the
    -- least important first; 0: none
    queue_target_ms = 100,
    -- ms, 0 to 60000: a new request that waits so long for a connection to the database is refused,
    -- and a request to a provider too; 0: only by its deadline
    queue_timeout_ms = 2000,
    -- ms, 100 to 120000: headers and body must have arrived within it
    header_timeout_ms = 10000,
    -- ms, 100 to 600000: an answer must have been read within it, and a second for each 16 KB
    send_timeout_ms = 15000,
    -- ms, 1000 to 3600000: a connection without a request is closed
    idle_timeout_ms = 60000,
    -- ms, 0 to 600000: how long running requests may take to end on TERM
    shutdown_timeout_ms = 10000,
    -- ms, 500 to 600000: a worker that computes on and on without a sign of life is killed and
    -- replaced
    heartbeat_timeout_ms = 1500,
    -- bytes, 0 to 1048576: smaller answers are not compressed; 0 never compresses
    compress_min_bytes = 1024,
    -- connections, 16 to 65535: that the kernel holds until we accept them
    backlog = 1024,
    -- true or false: believe X-Forwarded-For; only behind a proxy that sets it
    trust_forwarded = false,
  },

  -- MariaDB: the truth.
  mysql = {
    -- path of the socket; empty: mysql.host and mysql.port
    socket = "",
    -- where MariaDB is
    host = "127.0.0.1",
    -- port, 1 to 65535: where MariaDB is
    port = 3306,
    -- needs all rights on mysql.database to migrate, and the common ones to serve
    user = "moontill",
    -- secret, text or env("NAME") or file("/path"): of mysql.user
    password = "",
    -- has to be there; migrate makes its tables
    database = "moontill",
    -- connections of a worker, 1 to 256: more make a hot row worse, not better
    connections = 8,
    -- queries of a worker, 0 to 100000: that may queue for a connection; more are refused as
    -- overload
    max_waiters = 1024,
    -- ms, 50 to 300000: the most that a statement of a worker may take, here and in the database
    query_timeout_ms = 5000,
    -- true or false: end statements in the database that nobody waits for; false behind a balancer
    -- over several servers
    kill_abandoned = true,
    -- ms, 50 to 60000: to be connected and logged in
    connect_timeout_ms = 2000,
  },

  -- Redis: speed, never truth.
  redis = {
    -- path of the socket; empty: redis.host and redis.port
    socket = "",
    -- where Redis is
    host = "127.0.0.1",
    -- port, 1 to 65535: where Redis is
    port = 6379,
    -- secret, text or env("NAME") or file("/path"): for AUTH; empty: none
    password = "",
    -- ms, 50 to 60000: to be connected and greeted
    connect_timeout_ms = 3000,
    -- ms, 10 to 60000: the most that a command may take; when Redis is silent for so long, further
    -- ones are refused at once
    command_timeout_ms = 2000,
    -- commands of a worker, 1 to 1000000: that may be unanswered; more are refused as overload
    max_waiters = 10000,
  },

  -- Requests that go out, to providers and webhooks.
  http = {
    -- connections of a worker, 1 to 4096: to providers, all together
    max_connections = 64,
    -- connections of a worker, 1 to 1024: to one provider
    max_per_host = 16,
    -- requests of a worker, 1 to 100000: that may queue for a connection; more are refused as
    -- overload
    max_waiters = 256,
    -- ms, 100 to 300000: the most that a request may take, and what it gets when it names nothing
    timeout_ms = 15000,
    -- PEM of the authorities to believe; empty: the system's
    ca_file = "",
  },

  -- Log lines, JSON.
  log = {
    -- appended to; empty: standard error
    file = "",
    -- debug, info, warn, error: the least that is written
    level = "info",
  },

  -- LuaJIT.
  vm = {
    -- MB of a generation, 16 to 4096: a plugin that wants more gets an error
    memory_cap_mb = 256,
    -- ms, 100 to 600000: how long an old generation may finish what it began
    retire_timeout_ms = 30000,
  },

  -- The code of the shop, and what was before it.
  generations = {
    -- new, folders, live: what a start takes: the folders where nobody has seen yet what they
    -- hold; the folders always; or what the database says is live
    start = "new",
    -- generations, 2 to 100000: the newest that are kept; besides what is live, was live before
    -- it, or priced an order
    keep = 200,
  },

  -- The shop itself.
  shop = {
    -- in mails, documents and the storefront
    name = "Moontill demo",
    -- ISO 4217; of carts that name none
    currency = "GBP",
    -- ISO 3166-1; of carts that name none
    country = "GB",
    -- BCP 47; of texts where a customer has none
    locale = "en-GB",
    -- secret, text or env("NAME") or file("/path"): signs cursors; empty: made at start, so
    -- cursors end with the process and differ by machine
    signing_secret = "",
  },

  -- Keys of what is sealed in the database.
  vault = {
    -- secret, text or env("NAME") or file("/path"): seals what tables keep sealed: id:base64 of
    -- 32 bytes, several apart by line ends or commas, the current one first
    keys = "",
  },

  -- Carts and their completion.
  cart = {
    -- minutes, 1 to 1440: that stock is held for a cart with a payment session
    reservation_minutes = 15,
    -- minutes, 1 to 10080: that stock is held for a cart at most, however often it is changed
    hold_minutes = 120,
    -- ms, 1000 to 600000: that one completion keeps others away from the cart
    completion_claim_ms = 30000,
    -- lines, 1 to 1000: of one cart
    max_lines = 200,
    -- units, 1 to 1000000: of one line
    max_quantity = 10000,
  },

  -- Payments, and the calls of their providers: breakers, bulkhead, retries.
  payments = {
    -- ms, 0 to 600000: after a payment was sent, before "not found" is believed: the request may be
    -- on its way
    not_found_after_ms = 40000,
    -- ms, 1000 to 86400000: between two looks at a payment that was left without an order
    sweep_after_ms = 300000,
    -- ms, 0 to 2592000000: before an authorization ends at its provider, when staff are told
    expiry_alert_ms = 86400000,
    -- ms, 10 to 3600000: that an answer of a provider counts, by worker, provider and operation
    breaker_window_ms = 60000,
    -- answers, 1 to 100000: within the window before a provider that fails is asked no more; few at
    -- night prove nothing
    breaker_min_calls = 20,
    -- percent, 1 to 100: of these that are failures: no answer or a fault, never a decline
    breaker_failure_percent = 50,
    -- ms, 1 to 3600000: that it is left alone then, so that it can rise
    breaker_cooldown_ms = 30000,
    -- calls, 1 to 1000: that try it again after that; all must go well
    breaker_probes = 3,
    -- true or false: only count and log what would be refused: to find the right numbers
    breaker_dry_run = false,
    -- calls of a worker, 0 to 100000: to one provider at a time, so that a slow one leaves room for
    -- the others; 0: any number
    bulkhead = 256,
    -- attempts, 1 to 10: in all, of a lookup, and of what did not arrive under its key; 1: no
    -- retries
    retry_attempts = 3,
    -- ms, 0 to 60000: the first retry waits 0 to so long, by chance; the next ones twice as long
    -- each
    retry_base_ms = 100,
    -- ms, 0 to 60000: the most that one retry waits
    retry_cap_ms = 1000,
    -- ms, 0 to 60000: from the first attempt, after which none begins: the shopper waits for it
    retry_total_ms = 2000,
  },

  -- Orders, and what is held for them.
  orders = {
    -- true or false: buyers who wait for the same SKU in one worker go together, in one
    -- transaction
    combine = true,
  },

  -- Sessions of staff and customers.
  auth = {
    -- hours, 1 to 720: of a staff or customer session without use
    session_hours = 12,
    -- attempts, 3 to 1000: to log in within 15 minutes, by account and address; by either
    -- alone, and to register, 5 times as many
    max_attempts = 10,
  },

  -- Stock against its log, reservations and orders.
  stock = {
    -- s, 0 to 2592000: between the beginnings of two passes that compare all stock with its log; 0: none
    check_interval_s = 3600,
    -- a pass puts right what it finds, by events of its own; false: it only tells
    check_repairs = true,
  },

  -- Outbox and sagas.
  jobs = {
    -- events, 1 to 1000: claimed at a time
    batch = 100,
    -- ms, 1000 to 3600000: after which an event that was claimed is given to another worker
    lease_ms = 60000,
    -- ms, 50 to 60000: between two looks when Redis wakes nobody
    poll_ms = 1000,
    -- attempts, 1 to 100: before an event goes to the dead letters
    max_attempts = 10,
    -- of types of events, as "product.updated=20 order.*=950": those with more go first; 100 where
    -- nothing is said
    priorities = "",
    -- workers, of all machines, that may be at one type at a time, as "product.updated=2"
    limits = "",
    -- of types of events, as "payment.capture=20", instead of jobs.max_attempts
    attempts = "",
    -- attempts, 1 to 100: of a flow in vain, before it waits for staff
    park_attempts = 12,
    -- ms, 100 to 86400000: that a flow waits for an outcome, before it waits for staff
    park_after_ms = 3600000,
  },

  -- The cache of each worker, for reads.
  cache = {
    -- ms, 0 to 3600000: how old a cached row may get when Redis is silent
    ttl_ms = 30000,
    -- ms, 0 to 1000: a page of the catalogue is given again as it is for so long, unless
    -- something of it changes; 0 never does
    page_ms = 250,
    -- entries of each kind, 0 to 10000000: what a worker keeps; the least used go first
    max_entries = 20000,
  },

  -- Streams of changes to clients: server-sent events and WebSocket.
  live = {
    -- streams of a worker, 0 to 1000000: of changes to clients; each over HTTP/1.1 takes one of
    -- server.max_connections
    max_streams = 8000,
    -- streams of a worker, 1 to 100000: of one customer, or of one key from one address
    max_per_client = 50,
    -- ms, 1000 to 300000: without an event: then a sign of life is sent
    heartbeat_ms = 15000,
    -- minutes, 1 to 1440: after half of it to all of it a stream ends, and is begun anew with its
    -- credential looked at
    max_age_minutes = 30,
  },

  -- Idempotency-Key.
  idem = {
    -- ms, 1000 to 600000: after which a retry may take over a request that never ended
    lease_ms = 30000,
    -- hours, 24 to 8760: that an answer is replayed under its Idempotency-Key
    keep_hours = 24,
  },

  -- Carts and what belongs to them, once nobody needs them any more. Payments, orders and the log
  -- of stock stay for ever.
  retention = {
    -- days, 0 to 36500: that a guest's cart is kept since its last change; what is needed stays,
    -- here and below; 0: for ever
    guest_cart_days = 30,
    -- days, 0 to 36500: that an open cart of a customer is kept since its last change; 0: for ever
    customer_cart_days = 180,
    -- days, 0 to 36500: that the cart of an order is kept; the order stays; 0: for ever
    completed_cart_days = 90,
    -- days, 0 to 36500: that a reservation is kept that came to nothing; 0: for ever
    reservation_days = 30,
    -- days, 0 to 36500: that the flow of a completion is kept after its end; 0: for ever
    flow_days = 90,
  },

  -- Merchants' rules.
  rules = {
    -- instructions, 10000 to 100000000: that one rule may run for the promotions of one cart
    promo_fuel = 1000000,
    -- instructions, 10000 to 100000000: that one rule may run to judge one cart
    validate_fuel = 1000000,
    -- ms of CPU, 1 to 1000: that one rule may take, whatever its instructions are
    rule_ms = 20,
    -- ms, 20 to 10000: that all rules of one cart may take; then their box is replaced
    deadline_ms = 500,
    -- kills, 1 to 1000: of one rule within rules.kill_window_ms: then it is set aside
    kills = 5,
    -- ms, 1000 to 86400000: that a kill of a rule is held against it
    kill_window_ms = 600000,
  },

  -- One table for each plugin that needs any; what may stand there is in its plugin.lua, and
  -- its manifest checks it. Keys are given as env("NAME") or file("/path"), for example:
  --
  --   ["payment-stripe"] = { secret_key = env("STRIPE_SECRET_KEY") },
  --   ["tax-simple"] = { prices_include_tax = false },
  plugins = {
  },
}

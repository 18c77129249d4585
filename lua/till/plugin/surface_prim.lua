-- till/plugin/surface_prim - the part of till.plugin.surface that is over C: clocks, wires, waits.
--
-- "Waits" marks what lets others run meanwhile: it is a fault in a hook that may not wait, and ends
-- with `timeout` or `cancelled` when the time of the hook is over.
return {
  { module = "till.prim.amqp", needs = "amqp",
    doc = "Messages to the RabbitMQ brokers that `capabilities` name.", functions = {
    { "publish", "target: table; messages: table[]", "verdicts: string[]?; reasons: table|till.Err",
      "Waits until the broker has said what became of each: \"confirmed\", \"unroutable\", "
      .. "\"refused\" or \"closed\", of which `reasons` holds its words; or nil, err: "
      .. "`unavailable`, `timeout`, `forbidden`. What the tables hold: lua/till/prim/amqp.lua." },
  } },

  { module = "till.prim.co", doc = "Calls, and waiting for one another.", functions = {
    { "spawn", "fn: function; ...: any", "",
      "A call of its own, begun at the end of this turn; it may take 30,000 ms." },
    { "closing", "", "is_it: boolean", "Has this generation been replaced?" },
    { "waiter", "", "waiter: till.Waiter", "A meeting point." },
    { "time_left", "", "ms: number?", "Of the call's deadline; nil where it has none." },
    { "cancelled", "", "is_it: boolean", "Is the call over? Waits fail at once then." },
    { "generation", "", "name: string", "64 hex digits." },
    { "process", "", "name: string", "\"web-0\", \"jobs-1\"." },
  }, methods = { ["till.Waiter"] = {
    { "wait", "ms: integer", "value: any; err: till.Err?", "Waits. `timeout`, `cancelled`." },
    { "signal", "value?: any", "", "Wakes all who wait; met by nobody it is kept for the next." },
  } } },

  { module = "till.prim.conf", doc = "What is configured.", functions = {
    { "get", "name: string", "value: any",
      "An option of the shop, `shop.*`; another throws. A plugin's own options are its `config`." },
    { "secret", "ref: any", "text: string?; err: till.Err?",
      "What an option of type `secret` stands for, or one that `capabilities` names. Ask late and "
      .. "do not keep it. `not_found`, `forbidden`." },
  } },

  { module = "till.prim.crypto", doc = "Digests and random bytes.", functions = {
    { "sha256", "s: string", "digest: string", "32 bytes." },
    { "hmac_sha256", "key: string; s: string", "digest: string", "32 bytes." },
    { "random", "n: integer", "bytes: string", "Up to 4096, from the kernel." },
    { "hex", "s: string", "text: string", "Two digits a byte." },
    { "hex_decode", "s: string", "bytes: string?", "nil where it is none." },
    { "base64url", "s: string", "text: string", "Without padding." },
    { "base64url_decode", "s: string", "bytes: string?", "nil where it is none." },
    { "equal", "a: string; b: string", "are_they: boolean", "In constant time: for signatures." },
    { "scrypt", "password: string; salt: string", "key: string?; err: till.Err?",
      "Waits, some 40 ms. A salt of 16 bytes gives 32. `overloaded` at once where many wait." },
  } },

  { module = "till.prim.http", needs = "http",
    doc = "HTTP to the hosts that `capabilities` name; redirects are not followed.", functions = {
    { "request", "options: till.HttpOptions", "response: till.HttpResponse?; err: till.Err?",
      "Waits. Every status is an answer. `forbidden`: the host is not declared; `timeout`, "
      .. "`conn_lost`, `overloaded`. `err.sent`: it may have arrived." },
    { "name_host", "host: string", "", "Counts its requests under its name.",
      deprecated = "0.5, `capabilities` do it: take the call out" },
  } },

  { module = "till.prim.job", doc = "Work that is put off, for the plugin's own hook job.run.",
    functions = {
      { "enqueue", "job: string; payload: any; options?: {delay_ms?: integer, key?: string}",
        "done: true?; err: till.Err?",
        "Waits. A jobs worker does it, at least once, not before `delay_ms` have passed. Jobs of "
        .. "one `key` are done one after another, in this order." },
    } },

  { module = "till.prim.json", doc = "JSON, strict in, the same bytes for the same value out.",
    functions = {
      { "encode", "value: any", "text: string", "Keys sorted; throws on what cannot be JSON." },
      { "decode", "text: string", "value: any; err: till.Err?",
        "`malformed_json`, with `offset` in bytes." },
      { "array", "t: table", "t: table", "Marks it as an array, for when it is empty." },
      { "raw", "text: string", "value: any", "A value that `encode` puts in as it is." },
    }, values = { { "null", "any", "What null is decoded to." } } },

  { module = "till.prim.lock", doc = "Leased locks with fences, each plugin's names its own.",
    functions = {
      { "acquire", "name: string; options?: {lease_ms?: integer, wait_ms?: integer}",
        "lock: till.Lock?; err: till.Err?", "Waits. 5000 and 1000 ms. `busy`, `conn_lost`." },
      { "with", "name: string; options: table?; fn: fun(lock: till.Lock): any", "result: any",
        "Waits. What fn returned, up to 4 values, or nil, err; released also when it throws." },
    }, methods = { ["till.Lock"] = {
      { "fence", "", "number: integer", "Only grows: write it beside what the lock protects." },
      { "release", "", "", "Twice is allowed; the end of the call does it too." },
    } } },

  { module = "till.prim.log", doc = "One JSON line an event, with the call's trace.", functions = {
    { "debug", "event: string; fields?: table", "", "\"cart.completed\"; no secrets." },
    { "info", "event: string; fields?: table", "", "Texts, numbers, booleans, errors." },
    { "warn", "event: string; fields?: table", "", "The same." },
    { "error", "event: string; fields?: table", "", "The same." },
    { "email", "s: string", "masked: table", "Personal data: masks itself on the line." },
    { "name", "s: string", "masked: table", "The same." },
    { "phone", "s: string", "masked: table", "The same." },
  } },

  { module = "till.prim.metrics",
    doc = "Numbers for /metrics; a series is kept for ever, so labels have few values.",
    functions = {
    { "add", "name: string; labels?: table<string, string>; n?: number", "",
      "A counter: `..._total`." },
    { "set", "name: string; labels: table<string, string>?; value: number", "", "A gauge." },
    { "observe", "name: string; labels: table<string, string>?; seconds: number", "",
      "A histogram." },
  } },

  { module = "till.prim.redis", needs = "redis",
    doc = "Redis: speed, never truth. Keys and channels are the plugin's own.", functions = {
    { "call", "command: string; key?: string; ...: string|number",
      "reply: any; err: till.Err?",
      "Waits. Commands on one key. nil is false, an array a list. `conn_lost` at once while Redis "
      .. "is away, `overloaded`, `rejected`, `forbidden`." },
    { "publish", "channel: string; text: string", "receivers: integer?; err: till.Err?", "Waits." },
    { "subscribe", "channel: string; fn: fun(text: string?)", "subscription: till.Subscription",
      "fn(nil): messages may have been missed." },
  }, methods = { ["till.Subscription"] = { { "close", "", "", "Ends it." } } } },

  { module = "till.prim.signature",
    doc = "Who sent a webhook. `secrets` is a text or a list of those that are live; why: "
      .. "\"malformed\", \"no_match\", \"stale\", \"bad_key\".", functions = {
    { "stripe", "header: string?; body: string; secrets: string|string[]; "
      .. "options?: {tolerance_s?: integer, now_s?: integer}", "is_valid: boolean; why: string?",
      "`t=...,v1=...`; 300 s in both directions." },
    { "hmac", "given: string?; text: string; secrets: string|string[]; spelling?: string",
      "is_valid: boolean; why: string?", "HMAC-SHA256 in \"hex\" or \"base64\"." },
    { "rsa", "key: string; given: string?; text: string; options?: {now_s?: integer}",
      "is_valid: boolean; why: string?",
      "SHA256withRSA, base64; the key: PEM of a certificate or public key, or its DER in base64." },
    { "ecdsa", "key: string; given: string?; text: string; options?: {now_s?: integer}",
      "is_valid: boolean; why: string?", "ECDSA with SHA-256 in base64, the same keys." },
    { "crc32", "bytes: string", "number: integer", "As PayPal has it in the text that it signs." },
  } },

  { module = "till.prim.sql", needs = "sql",
    doc = "Statements in MariaDB; each `?` takes a text, number, boolean, bytes or null.",
    functions = {
    { "query", "text: string; ...: any", "rows: table[]?; err: till.Err?",
      "Waits. By column name; NULL columns are absent, DECIMAL is a text. `timeout`, `conn_lost`, "
      .. "`deadlock`, `duplicate`, `rejected`, `overloaded`, `out_of_range`, `forbidden`." },
    { "one", "text: string; ...: any", "row: table|false|nil; err: till.Err?",
      "Waits. The first row, false where there is none." },
    { "exec", "text: string; ...: any",
      "done: {affected: integer, insert_id: integer}?; err: till.Err?", "Waits." },
    { "transaction",
      "fn: fun(tx: till.Tx): any; options?: {attempts?: integer, timeout_ms?: integer}",
      "result: any; err: till.Err?",
      "Waits. What fn returned, up to 4 values; nil, err or throwing rolls back; a deadlock runs "
      .. "it again (3 attempts)." },
    { "marks", "n: integer", "text: string", "\"?, ?, ?\" for a list." },
    { "bytes", "s: string", "parameter: any", "Marks a parameter as binary." },
  }, values = { { "null", "any", "NULL among the parameters; nil does too." } },
    methods = { ["till.Tx"] = {
      { "query", "text: string; ...: any", "rows: table[]?; err: till.Err?", "Waits." },
      { "one", "text: string; ...: any", "row: table|false|nil; err: till.Err?", "Waits." },
      { "exec", "text: string; ...: any",
        "done: {affected: integer, insert_id: integer}?; err: till.Err?", "Waits." },
    } } },

  { module = "till.prim.time", doc = "Clocks and moments.", functions = {
    { "now_ms", "", "ms: integer", "Wall clock since 1970: for what is stored and shown." },
    { "mono_ms", "", "ms: number", "A clock that never steps: for what is measured." },
    { "mono_us", "", "us: number", "The same in microseconds." },
    { "sleep", "ms: integer", "done: boolean?; err: till.Err?", "Waits. `timeout`, `cancelled`." },
    { "rfc3339", "ms: integer", "text: string", "\"2026-11-20T10:00:00.123Z\"." },
    { "sql", "ms: integer", "text: string", "For DATETIME parameters." },
    { "parse", "text: string", "ms: integer?", "RFC 3339, or SQL's form taken as UTC." },
  } },

  { module = "till.prim.ulid", doc = "Ids that sort by time.", functions = {
    { "new", "", "bytes: string", "16 of them." },
    { "text", "bin: string", "text: string", "26 characters." },
    { "bin", "text: string", "bytes: string?", "nil where it is none." },
  } },

  { module = "till.prim.utf8", doc = "What text may be; as till.util.text, faster.", functions = {
    { "valid", "s: string", "is_it: boolean", "Is it UTF-8?" },
    { "clean", "s: string", "is_it: boolean", "Is it UTF-8 without NUL?" },
  } },
}

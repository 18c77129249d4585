-- till/plugin/surface_util - the pure part of till.plugin.surface: nothing here waits.
return {
  { module = "till.money", doc = "Amounts: whole counts of a currency's minor unit.", functions = {
    { "exponent", "code: string", "decimals: integer?",
      "Decimals of an ISO 4217 currency; nil where it is unknown." },
    { "split", "amount: integer; weights: number[]", "shares: integer[]",
      "Shares that add up to the amount, by largest remainder." },
    { "even", "amount: integer; count: integer", "each: integer; extra: integer",
      "`extra` of the `count` parts carry one unit more than `each`." },
    { "even_part", "amount: integer; count: integer; from: integer; to: integer", "part: integer",
      "What the parts `from` .. `to`-1 (from 0) of an even split come to." },
    { "round", "amount: integer; rate: till.Fraction; mode?: \"half_up\"|\"half_even\"",
      "amount: integer", "The amount times an exact fraction, rounded once." },
    { "round_to", "amount: integer; step: integer", "amount: integer",
      "The nearest multiple of the step; a tie goes up." },
    { "format", "amount: integer; currency: string|integer", "text: string",
      "\"1234.50\", by a currency or a number of decimals; an unknown currency throws." },
    { "parse", "text: string; currency: string|integer", "amount: integer?",
      "nil where it is no amount, or has more decimals than the currency." },
  } },

  { module = "till.rule.price", doc = "What a cart costs; lua/till/rule/price.lua tells it all.",
    functions = {
      { "calculate", "given: table", "result: table",
        "`{status = \"ok\", ...}` or `{status = \"error\", error = code}`." },
    } },

  { module = "till.util.err", doc = "The one kind of error value.", functions = {
    { "new", "code: string; message: string; fields?: table", "err: till.Err",
      "A code that is not in core/base/status.h throws." },
    { "is", "value: any; code?: string", "is_it: boolean", "Is it an error (of that code)?" },
  }, methods = { ["till.Err"] = {
    { "at", "where: string", "err: till.Err", "Puts `where` before its trace, and returns it." },
  } } },

  { module = "till.util.text", doc = "Texts, and small helpers for sentences.", functions = {
    { "valid", "s: string", "is_it: boolean", "Is it UTF-8?" },
    { "clean", "s: string", "is_it: boolean", "Is it UTF-8 without NUL?" },
    { "length", "s: string", "characters: integer", "Of UTF-8." },
    { "trim", "s: string; from?: integer; to?: integer", "text: string",
      "Without blanks and tabs at both ends." },
    { "strip", "s: string", "text: string", "Without white space of any kind at both ends." },
    { "nearest", "word: string; list: string[]", "near: string?",
      "The closest of the list, where it may be a slip of the pen." },
    { "list", "words: string[]; last?: string", "text: string", "\"a, b or c\"." },
  } },

  { module = "till.util.clock", doc = "Times as text and as milliseconds since 1970; no clock.",
    functions = {
      { "parse", "text: string", "ms: integer?", "RFC 3339 with any offset; real dates only." },
      { "format", "ms: integer", "text: string", "\"2026-11-20T10:00:00.123Z\"." },
      { "day", "ms: integer", "text: string", "\"2026-11-20\"." },
      { "date", "text: string", "is_it: boolean", "Is it a real \"YYYY-MM-DD\"?" },
    }, values = {
      { "SECOND", "integer", "In milliseconds." }, { "MINUTE", "integer", "In milliseconds." },
      { "HOUR", "integer", "In milliseconds." }, { "DAY", "integer", "In milliseconds." },
    } },

  { module = "till.util.url", doc = "Percent-encoding and query strings.", functions = {
    { "decode", "s: string", "text: string?; why: string?", "Strict; \"+\" stays a plus." },
    { "encode", "s: string", "text: string", "All but unreserved characters escaped." },
    { "query", "s: string", "values: table<string, string[]>?; why: string?",
      "By name, in order; \"+\" is a space." },
    { "segments", "path: string", "segments: string[]?; why: string?", "Decoded." },
    { "build", "params: table<string, string>", "text: string", "\"a=1&b=2\", names sorted." },
  } },

  { module = "till.util.iso", doc = "The countries of ISO 3166-1.", functions = {
    { "country", "code: string", "is_it: boolean", "Is it an assigned code, in upper case?" },
    { "countries", "", "codes: string[]", "Sorted." },
  } },

  { module = "till.util.exact", doc = "Exact arithmetic on whole numbers >= 0 and fractions.",
    functions = {
      { "add", "a: integer; b: integer", "sum: integer", "Of any size." },
      { "subtract", "a: integer; b: integer", "difference: integer", "`a` is not below `b`." },
      { "multiply", "a: integer; b: integer", "product: integer", "Of any size." },
      { "divide", "a: integer; b: integer", "quotient: integer; remainder: integer", "Whole." },
      { "compare", "a: integer; b: integer", "order: integer", "-1, 0 or 1." },
      { "fraction", "n: integer; d: integer", "fraction: till.Fraction", "Reduced." },
      { "parse", "text: string", "fraction: till.Fraction?", "\"9.975\"." },
      { "plus", "x: till.Fraction; y: till.Fraction", "sum: till.Fraction", "Exact." },
      { "times", "x: till.Fraction; y: till.Fraction", "product: till.Fraction", "Exact." },
      { "over", "x: till.Fraction; y: till.Fraction", "quotient: till.Fraction", "Exact." },
      { "compare_fractions", "x: till.Fraction; y: till.Fraction", "order: integer", "-1, 0, 1." },
      { "scale", "a: integer; n: integer; d: integer; mode?: \"half_up\"|\"half_even\"",
        "rounded: integer", "a * n / d, rounded once." },
    }, values = { { "MAX", "integer", "2^53 - 1." } } },

  { module = "till.util.lru", doc = "A map that forgets what was used longest ago.", functions = {
    { "new", "max: integer", "map: till.Lru", "At most `max` entries." },
  }, methods = { ["till.Lru"] = {
    { "get", "key: any; now: number", "value: any", "nil where it is absent or too old." },
    { "set", "key: any; value: any; until_?: number", "", "In the unit of `now`." },
    { "drop", "key: any", "", "Forgets one." },
    { "clear", "", "", "Forgets all." },
    { "count", "", "entries: integer", "How many there are." },
  } } },

  { module = "till.util.id", doc = "Public ids: a prefix that says what it is, and a ULID.",
    functions = {
      { "new", "prefix: string", "id: string", "\"cart_01J9...\"; an unknown prefix throws." },
      { "bin", "prefix: string; text: string", "bytes: string?",
        "The 16 bytes that the tables hold; nil where it is no such id." },
      { "text", "prefix: string; bin: string", "id: string", "The other way." },
      { "valid", "prefix: string; text: string", "is_it: boolean", "Is it such an id?" },
    } },

  { module = "till.util.schema", doc = "Shapes of data: of routes' bodies.", functions = {
    { "string", "options?: table", "schema: till.Schema", "min, max, pattern, format, enum, doc." },
    { "integer", "options?: table", "schema: till.Schema", "min, max, doc." },
    { "number", "options?: table", "schema: till.Schema", "min, max, doc." },
    { "boolean", "options?: table", "schema: till.Schema", "doc." },
    { "const", "value: any; options?: table", "schema: till.Schema", "This value alone." },
    { "any", "options?: table", "schema: till.Schema", "Anything." },
    { "file", "options?: table", "schema: till.Schema", "A file of a form." },
    { "id", "prefix: string; options?: table", "schema: till.Schema", "A public id." },
    { "array", "of: till.Schema; options?: table", "schema: till.Schema", "min, max: entries." },
    { "object", "fields: table<string, till.Schema>; options?: table", "schema: till.Schema",
      "required = names, name, doc; others are refused." },
    { "map", "of: till.Schema; options?: table", "schema: till.Schema", "Any names." },
    { "one_of", "list: till.Schema[]", "schema: till.Schema", "The first that fits." },
    { "nullable", "of: till.Schema", "schema: till.Schema", "Or null." },
    { "ref", "name: string", "schema: till.Schema", "One of the server's, by its name." },
    { "money", "", "schema: till.Schema", "`{amount, currency}`." },
  }, methods = { ["till.Schema"] = {
    { "check", "value: any", "value: any; errors: table[]?", "The value, or why not." },
  } } },
}

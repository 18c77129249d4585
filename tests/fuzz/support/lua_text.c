#include "support/lua_text.h"

#define DEPTH 7
#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

struct maker {
    const uint8_t *at, *end;
    till_buf_t *out;
    unsigned depth;
};

static const char *const numbers[] = {"0",         "1",   "-1",   "2",   "0.5",         "1e308", "-0",   "2^53",
                                      "math.huge", "0/0", "1e15", "255", "-2147483648", "3",     "1000", "65536"};
static const char *const texts[] = {"''",         "'a'",    "'%'",      "'%a+'", "'(.-)%1'", "'[^%s]*'",
                                    "'\\0\\255'", "'%b()'", "'%f[%w]'", "'$'",   "'^a-b'",   "'%99.99f'",
                                    "'%5.2s'",    "'%d'",   "'0x1p4'",  "'1e5'", "'x,y,z'",  "('ab'):rep(99)",
                                    "'()a()'",    "'%z'"};
static const char *const names[] = {"a", "b", "c", "args", "input", "t", "f", "s"};
static const char *const functions[] = {"assert",
                                        "error",
                                        "getmetatable",
                                        "ipairs",
                                        "next",
                                        "pairs",
                                        "pcall",
                                        "rawequal",
                                        "rawget",
                                        "rawset",
                                        "select",
                                        "setmetatable",
                                        "tonumber",
                                        "tostring",
                                        "type",
                                        "unpack",
                                        "string.byte",
                                        "string.char",
                                        "string.find",
                                        "string.format",
                                        "string.gmatch",
                                        "string.gsub",
                                        "string.len",
                                        "string.lower",
                                        "string.match",
                                        "string.rep",
                                        "string.reverse",
                                        "string.sub",
                                        "string.upper",
                                        "table.concat",
                                        "table.insert",
                                        "table.remove",
                                        "table.sort",
                                        "math.floor",
                                        "math.fmod",
                                        "math.max",
                                        "math.modf",
                                        "math.sqrt",
                                        "f",
                                        "t.x",
                                        "a",
                                        "math.abs"};
static const char *const operators[] = {
    "+", "-", "*", "/", "%", "^", "..", "==", "~=", "<", "<=", ">", ">=", "and", "or"};
static const char *const methods[] = {":find", ":gsub", ":format", ":rep", ":match", ":gmatch", ":sub", ":byte", ":x"};
static const char *const events[] = {"__index",  "__newindex", "__call", "__add", "__eq",   "__lt",        "__le",
                                     "__concat", "__tostring", "__unm",  "__len", "__mode", "__metatable", "__gc"};

static unsigned choose(struct maker *m, unsigned n) { return m->at == m->end ? 0 : *m->at++ % n; }

static void put(struct maker *m, const char *text) { till_buf_puts(m->out, text); }

#define PUT_ONE(m, list) put(m, (list)[choose(m, COUNT(list))])

static void expression(struct maker *m);
static void block(struct maker *m);

static void expressions(struct maker *m)
{
    unsigned n = choose(m, 4);

    for (unsigned i = 0; i <= n; ++i) {
        if (i != 0)
            put(m, ", ");
        expression(m);
    }
}

static void function(struct maker *m)
{
    put(m, choose(m, 2) == 0 ? "function(a, b, ...) " : "function(t, s) ");
    block(m);
    put(m, " return ");
    expression(m);
    put(m, " end");
}

static void table(struct maker *m)
{
    unsigned n = choose(m, 5);

    put(m, "{");
    for (unsigned i = 0; i != n; ++i) {
        switch (choose(m, 4)) {
        case 0:
            put(m, "x = ");
            break;
        case 1:
            put(m, "[");
            expression(m);
            put(m, "] = ");
            break;
        default:
            break;
        }
        expression(m);
        put(m, ", ");
    }
    put(m, "}");
}

static void with_metatable(struct maker *m)
{
    put(m, "setmetatable({}, {");
    for (unsigned n = choose(m, 3) + 1; n != 0; --n) {
        PUT_ONE(m, events);
        put(m, " = ");
        expression(m);
        put(m, ", ");
    }
    put(m, "})");
}

static void call(struct maker *m)
{
    if (choose(m, 3) == 0) {
        put(m, "(");
        expression(m);
        put(m, ")");
        PUT_ONE(m, methods);
    } else {
        PUT_ONE(m, functions);
    }
    put(m, "(");
    expressions(m);
    put(m, ")");
}

static void leaf(struct maker *m)
{
    switch (choose(m, 4)) {
    case 0:
        PUT_ONE(m, numbers);
        break;
    case 1:
        PUT_ONE(m, texts);
        break;
    case 2:
        put(m, choose(m, 2) == 0 ? "nil" : "true");
        break;
    default:
        PUT_ONE(m, names);
    }
}

static void compound(struct maker *m)
{
    switch (choose(m, 8)) {
    case 0:
        function(m);
        break;
    case 1:
        table(m);
        break;
    case 2:
        with_metatable(m);
        break;
    case 3:
        put(m, "#(");
        expression(m);
        put(m, ")");
        break;
    case 4:
        put(m, "(");
        expression(m);
        put(m, " ");
        PUT_ONE(m, operators);
        put(m, " ");
        expression(m);
        put(m, ")");
        break;
    case 5:
        PUT_ONE(m, names);
        put(m, "[");
        expression(m);
        put(m, "]");
        break;
    default:
        call(m);
    }
}

static void expression(struct maker *m)
{
    if (m->depth == DEPTH || m->at == m->end) {
        leaf(m);
        return;
    }
    ++m->depth;
    if (choose(m, 3) == 0)
        leaf(m);
    else
        compound(m);
    --m->depth;
}

static void loop(struct maker *m)
{
    switch (choose(m, 4)) {
    case 0:
        put(m, "for a = 1, 20 do ");
        break;
    case 1:
        put(m, "for a, b in ");
        expressions(m);
        put(m, " do ");
        break;
    case 2:
        put(m, "while ");
        expression(m);
        put(m, " do ");
        break;
    default:
        put(m, "for a, b in pairs(t) do ");
    }
    block(m);
    put(m, "end ");
}

static void assignment(struct maker *m)
{
    PUT_ONE(m, names);
    if (choose(m, 3) == 0) {
        put(m, "[");
        expression(m);
        put(m, "]");
    }
    put(m, " = ");
    expressions(m);
    put(m, " ");
}

static void statement(struct maker *m)
{
    switch (choose(m, 6)) {
    case 0:
        loop(m);
        break;
    case 1:
        put(m, "if ");
        expression(m);
        put(m, " then ");
        block(m);
        put(m, "end ");
        break;
    case 2:
        put(m, "local _ = ");
        call(m);
        put(m, " ");
        break;
    case 3:
        put(m, "pcall(");
        function(m);
        put(m, ") ");
        break;
    default:
        assignment(m);
    }
}

static void block(struct maker *m)
{
    if (m->depth >= DEPTH)
        return;
    ++m->depth;
    for (unsigned n = choose(m, 4); n != 0; --n)
        statement(m);
    --m->depth;
}

void fuzz_lua_text(const uint8_t *bytes, size_t len, till_buf_t *out)
{
    struct maker m = {.at = bytes, .end = bytes + len, .out = out};

    put(&m, "local a, b, c, s, t, f = 1, 2, 3, 'a b', { x = 1, 2, 3 }\nf = function(...) return ... end\n"
            "return function(args, input)\n");
    do { /* mostly such that the rest is seen also where this throws */
        bool is_caught = choose(&m, 8) != 0;
        put(&m, is_caught ? "pcall(function() " : "");
        statement(&m);
        put(&m, is_caught ? "end)\n" : "\n");
    } while (m.at != m.end && out->len < 16000);
    put(&m, "return ");
    expression(&m);
    put(&m, "\nend\n");
}

/* test_vm.c - see core/vm/vm.h and co.h; the thin modules are the checkout's, main.lua is the test's. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include "support/child.h"
#include "support/servers.h"
#include "vm/vm.h"

static char dir[64];
static till_loop_t *loop;
static till_vm_env_t env;
static char fault[2048];

struct answer {
    int calls, status;
    till_status_t outcome;
    char text[2048], route[64];
    size_t headers, header_bytes;
};

static void put(const char *name, const char *text)
{
    char path[160];
    FILE *file;

    snprintf(path, sizeof(path), "%s/till/%s", dir, name);
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

static void copy(const char *from)
{
    char to[80];
    int status;

    snprintf(to, sizeof(to), "%s/till", dir);
    const char *const argv[] = {"cp", "-r", from, to, NULL};
    waitpid(test_spawn(argv, -1), &status, 0);
    ck_assert_int_eq(status, 0);
}

static void setup(void)
{
    char path[80];

    test_make_dir(dir);
    snprintf(path, sizeof(path), "%s/till", dir);
    const char *const argv[] = {"mkdir", path, NULL};
    int status;
    waitpid(test_spawn(argv, -1), &status, 0);
    copy("lua/till/prim");
    copy("lua/till/util");
    loop = till_loop_create();
    env = (till_vm_env_t){.loop = loop, .process = "test"};
    fault[0] = '\0';
}

static void teardown(void)
{
    till_loop_destroy(loop);
    test_remove_dir(dir);
}

/** A VM whose main.lua is `text`, or NULL with `fault`. */
static till_vm_t *load(const char *text)
{
    const till_bundle_source_t source = {.lua_dir = dir};

    put("main.lua", text);
    till_bundle_t *bundle = till_bundle_read(&source, fault, sizeof(fault));
    if (bundle == NULL)
        return NULL;
    till_vm_t *vm = till_vm_create(bundle, &env, fault, sizeof(fault));
    if (vm != NULL)
        till_vm_attach(vm);
    return vm;
}

static void on_closed(void *data) { ++*(int *)data; }

static void end(till_vm_t *vm)
{
    int closed = 0;

    till_vm_retire(vm, 1000, on_closed, &closed);
    TEST_UNTIL(loop, closed == 1);
}

static void on_http(void *data, till_status_t outcome, const till_response_t *response)
{
    struct answer *answer = data;

    ++answer->calls;
    answer->outcome = outcome;
    if (response == NULL)
        return;
    answer->status = response->status;
    answer->headers = response->header_count;
    for (size_t i = 0; i != response->header_count; ++i)
        answer->header_bytes += response->headers[i].name.len + response->headers[i].value.len;
    snprintf(answer->route, sizeof(answer->route), "%s", response->route);
    if (response->error != NULL)
        snprintf(answer->text, sizeof(answer->text), "%s", response->error);
    else
        snprintf(answer->text, sizeof(answer->text), "%.*s", (int)response->body.len,
                 (const char *)response->body.base);
}

static till_call_t *ask(till_vm_t *vm, const char *path, uint64_t timeout_ms, struct answer *answer)
{
    const till_request_t request = {
        .method = {"GET", 3},
        .path = {path, strlen(path)},
        .trace = {.trace_id = "0af7651916cd43dd8448eb211c80319c", .span_id = "b7ad6b7169203331"}};

    return till_vm_http(vm, &request, timeout_ms, on_http, answer);
}

static struct answer get(till_vm_t *vm, const char *path)
{
    struct answer answer = {0};

    ask(vm, path, 10000, &answer);
    TEST_UNTIL(loop, answer.calls != 0);
    return answer;
}

START_TEST(a_load_error_names_file_and_line)
{
    ck_assert_ptr_null(load("local x = 1\nlocal = 2\n"));
    ck_assert_ptr_nonnull(strstr(fault, "lua/till/main.lua:2:"));
    ck_assert_ptr_null(load("return require 'till.nothing'"));
    ck_assert_ptr_nonnull(strstr(fault, "there is no module till.nothing"));
    ck_assert_ptr_null(load("\033LJ"));
    ck_assert_ptr_nonnull(strstr(fault, "bytecode"));
}
END_TEST

START_TEST(a_load_without_end_is_refused)
{
    ck_assert_ptr_null(load("local n = 0\nwhile true do n = n + 1 end\n"));
    ck_assert_ptr_nonnull(strstr(fault, "lua/till/main.lua:2: it computes without end"));
    ck_assert_ptr_null(load("while true do pcall(function() while true do end end) end\n"));
    ck_assert_ptr_nonnull(strstr(fault, "it computes without end"));
}
END_TEST

START_TEST(a_require_cycle_is_told_with_its_way)
{
    put("a.lua", "return require 'till.b'");
    put("b.lua", "return require 'till.a'");
    ck_assert_ptr_null(load("require 'till.a' return {}"));
    ck_assert_ptr_nonnull(strstr(fault, "require cycle: till.a <- till.b <- till.a"));
}
END_TEST

START_TEST(a_global_cannot_be_written)
{
    ck_assert_ptr_null(load("counter = 1 return {}"));
    ck_assert_ptr_nonnull(strstr(fault, "main.lua:1: global \"counter\" is written"));
}
END_TEST

START_TEST(c_modules_are_for_the_thin_files_alone)
{
    ck_assert_ptr_null(load("require 'till.c.sql' return {}"));
    ck_assert_ptr_nonnull(strstr(fault, "till.c.sql is for lua/till/prim/ alone"));
    ck_assert_ptr_null(load("require 'till.prim.file' return {}"));
    ck_assert_ptr_nonnull(strstr(fault, "commands only"));
}
END_TEST

START_TEST(loading_cannot_wait)
{
    ck_assert_ptr_null(load("require('till.prim.time').sleep(1) return {}"));
    ck_assert_ptr_nonnull(strstr(fault, "time.sleep cannot wait here"));
}
END_TEST

START_TEST(an_error_in_main_is_a_500_with_its_trace)
{
    till_vm_t *vm = load("return { http = function() error('oh') end }");
    struct answer answer = get(vm, "/");

    ck_assert_int_eq(answer.status, 500);
    ck_assert_str_eq(answer.route, "(error)");
    ck_assert_ptr_nonnull(strstr(answer.text, "main.lua:1: oh"));
    ck_assert_ptr_nonnull(strstr(answer.text, "stack traceback"));
    end(vm);
}
END_TEST

START_TEST(headers_may_be_strings_numbers_and_lists)
{
    till_vm_t *vm = load("local answers = {\n"
                         "  ['/'] = { a = 'x', b = 7, c = { 'y', 'z' }, d = 8 },\n"
                         "  ['/bool'] = { a = true }, ['/list'] = { a = { 1 } }, ['/key'] = { 'x' } }\n"
                         "return { http = function(req) return 200, answers[req.path], '' end }");

    ck_assert_ptr_nonnull(vm);
    struct answer answer = get(vm, "/");
    ck_assert_int_eq(answer.status, 200);
    ck_assert_uint_eq(answer.headers, 5);
    ck_assert_uint_eq(answer.header_bytes, 10 /* ax b7 cy cz d8 */);
    ck_assert_ptr_nonnull(strstr(get(vm, "/bool").text, "a header that is no string"));
    ck_assert_ptr_nonnull(strstr(get(vm, "/list").text, "a list of headers that are no strings"));
    ck_assert_ptr_nonnull(strstr(get(vm, "/key").text, "a header without a name"));
    end(vm);
}
END_TEST

START_TEST(each_vm_draws_numbers_of_its_own)
{
    static const char text[] = "return { http = function() return 200, nil, tostring(math.random(2 ^ 52)), '/n' end }";
    till_vm_t *one = load(text), *other = load(text);

    ck_assert_str_ne(get(one, "/").text, get(other, "/").text);
    end(one);
    end(other);
}
END_TEST

START_TEST(interleaved_calls_get_their_own_answers)
{
    enum { CALLS = 1000 };
    struct answer *answers = calloc(CALLS, sizeof(*answers));
    till_vm_t *vm =
        load("local time = require 'till.prim.time'\n"
             "return { http = function(req)\n"
             "  time.sleep(#req.path * 7 % 13)\n"
             "  local inner = coroutine.wrap(function() time.sleep(tonumber(req.path) % 5) return req.path end)\n"
             "  return 200, nil, inner(), '/n' end }");
    int done = 0;

    for (int i = 0; i != CALLS; ++i) {
        char path[16];
        snprintf(path, sizeof(path), "%d", i);
        ask(vm, path, 20000, &answers[i]);
    }
    for (int i = 0; i != CALLS; ++i) {
        char path[16];
        snprintf(path, sizeof(path), "%d", i);
        TEST_UNTIL(loop, answers[i].calls != 0);
        ck_assert_str_eq(answers[i].text, path);
        done += answers[i].calls;
    }
    ck_assert_int_eq(done, CALLS);
    ck_assert_uint_eq(till_vm_calls(vm), 0);
    free(answers);
    end(vm);
}
END_TEST

START_TEST(a_call_out_of_time_unwinds_with_timeout)
{
    struct answer answer = {0};
    till_vm_t *vm = load("local time = require 'till.prim.time'\nlocal seen = 'none'\n"
                         "return { http = function(req)\n"
                         "  if req.path == '/seen' then return 200, nil, seen end\n"
                         "  local ok, err = time.sleep(60000)\n"
                         "  local again, err2 = time.sleep(60000)\n"
                         "  seen = err.code .. ' ' .. err2.code return 200 end }");

    ask(vm, "/", 20, &answer);
    TEST_UNTIL(loop, answer.calls != 0);
    ck_assert_int_eq(answer.outcome, TILL_TIMEOUT);
    ck_assert_str_eq(get(vm, "/seen").text, "timeout timeout");
    end(vm);
}
END_TEST

START_TEST(retiring_lets_calls_end_and_wakes_background)
{
    struct answer answer = {0};
    int closed = 0;
    till_vm_t *vm = load("local co = require 'till.prim.co'\nlocal time = require 'till.prim.time'\n"
                         "return { http = function()\n"
                         "  co.spawn(function() local w = co.waiter()\n"
                         "    while not co.closing() do w:wait(600000) end end)\n"
                         "  time.sleep(30) return 200, nil, tostring(co.closing()) end }");

    ask(vm, "/", 10000, &answer);
    TEST_UNTIL(loop, till_vm_calls(vm) == 2);
    till_vm_retire(vm, 10000, on_closed, &closed);
    TEST_UNTIL(loop, closed == 1);
    ck_assert_str_eq(answer.text, "true");
}
END_TEST

START_TEST(the_deadline_of_retiring_cuts_what_is_left)
{
    struct answer answer = {0};
    int closed = 0;
    till_vm_t *vm = load("local time = require 'till.prim.time'\n"
                         "return { http = function() time.sleep(600000) return 200 end }");

    ask(vm, "/", 0, &answer);
    till_vm_retire(vm, 20, on_closed, &closed);
    TEST_UNTIL(loop, closed == 1);
    ck_assert_int_eq(answer.calls, 1);
    ck_assert_int_eq(answer.outcome, TILL_CANCELLED);
}
END_TEST

/* What neither asks whether it is to end nor minds being told: it ends all the same, and its VM with it. */
START_TEST(no_background_call_outlives_its_generation)
{
    static const char *const stubborn[] = {
        "while true do time.sleep(5) end",
        "while true do pcall(time.sleep, 5) end",
        "while true do pcall(function() while true do pcall(time.sleep, 5) end end) end",
        "local w = co.waiter() while true do xpcall(function() w:wait(5) error('x') end, function() return 1 end) end",
        "while true do pcall(coroutine.wrap(function() while true do pcall(time.sleep, 5) end end)) end",
        "local function again() time.sleep(5) co.spawn(again) end again()",
    };
    char text[1024];

    for (size_t i = 0; i != sizeof(stubborn) / sizeof(stubborn[0]); ++i) {
        int closed = 0;
        snprintf(text, sizeof(text),
                 "local co = require 'till.prim.co' local time = require 'till.prim.time'\n"
                 "return { http = function() co.spawn(function() %s end) return 200, nil, 'ok' end }",
                 stubborn[i]);
        till_vm_t *vm = load(text);
        ck_assert_msg(vm != NULL, "%s", fault);
        ck_assert_str_eq(get(vm, "/").text, "ok");
        TEST_UNTIL(loop, till_vm_calls(vm) > 0);
        till_vm_retire(vm, 20, on_closed, &closed);
        TEST_UNTIL(loop, closed == 1);
    }
}
END_TEST

/* ---- warming ---------------------------------------------------------------------- */

/* Says how many it has made; "/slow" takes its time. */
static const char PAGES_MAIN[] = "local time = require 'till.prim.time'\n"
                                 "local listens, made = 'deaf', 0\n"
                                 "return { warm = function() listens = 'listens' end, http = function(req)\n"
                                 "  if req.path == '/slow' and listens == 'listens' then time.sleep(600000) end\n"
                                 "  made = made + 1\n"
                                 "  return 200, nil, listens .. ' ' .. made, '/', 10000 end }";

static void on_warm(void *data) { ++*(int *)data; }

START_TEST(a_new_generation_is_warmed_with_what_the_old_one_gave)
{
    int warm = 0;
    till_vm_t *old = load(PAGES_MAIN), *fresh = load(PAGES_MAIN);

    ck_assert_str_eq(get(old, "/a").text, "deaf 1");
    ck_assert_str_eq(get(old, "/b").text, "deaf 2");
    till_vm_warm(fresh, old, 10000, on_warm, &warm);
    TEST_UNTIL(loop, warm == 1);
    ck_assert_mem_eq(get(fresh, "/a").text, "listens ", 8);
    ck_assert_str_eq(get(fresh, "/new").text, "listens 3"); /* both were made before */
    end(old);
    end(fresh);
}
END_TEST

START_TEST(warming_ends_in_time_whatever_a_page_does)
{
    int warm = 0;
    till_vm_t *old = load(PAGES_MAIN), *fresh = load(PAGES_MAIN);

    get(old, "/slow");
    till_vm_warm(fresh, old, 20, on_warm, &warm);
    TEST_UNTIL(loop, warm == 1);
    ck_assert_mem_eq(get(fresh, "/a").text, "listens ", 8); /* it serves all the same */
    end(old);
    end(fresh);
}
END_TEST

START_TEST(a_generation_that_is_retired_while_it_is_warmed_is_told_of_and_closed)
{
    int warm = 0, closed = 0;
    till_vm_t *old = load(PAGES_MAIN), *fresh = load(PAGES_MAIN);

    get(old, "/slow");
    get(old, "/a");
    till_vm_warm(fresh, old, 600000, on_warm, &warm);
    TEST_UNTIL(loop, till_vm_calls(fresh) == 1);
    till_vm_retire(fresh, 0, on_closed, &closed);
    end(old); /* its pages are copied */
    TEST_UNTIL(loop, closed == 1);
    ck_assert_int_eq(warm, 1);
}
END_TEST

START_TEST(nothing_to_warm_with_is_no_reason_to_wait)
{
    int warm = 0;
    till_vm_t *old = load(PAGES_MAIN), *fresh = load(PAGES_MAIN);

    till_vm_warm(fresh, old, 600000, on_warm, &warm);
    ck_assert_int_eq(warm, 1);
    end(old);
    end(fresh);
}
END_TEST

static const char BOMB[] = "local t = {} for i = 1, 1e9 do t[i] = 'x' .. i end";

START_TEST(collections_are_counted)
{
    till_vm_gc_t gc = {.cycles = 0};

    env.memory_cap = 16 * 1024 * 1024;
    env.gc = &gc;
    till_vm_t *vm = load("return { http = function(req) local n = 0 for i = 1, 2e5 do n = n + #{ i } end\n"
                         "  return 200, nil, 'ok' end }");
    for (int i = 0; i != 8; ++i)
        ck_assert_str_eq(get(vm, "/").text, "ok");
    ck_assert_uint_gt(gc.cycles, 3);
    uint64_t full = 0;
    for (unsigned i = 0; i != TILL_HIST_BUCKETS + 1; ++i)
        full += gc.full.counts[i];
    ck_assert_uint_eq(full, 0);
    end(vm);
    env.gc = NULL;
}
END_TEST

START_TEST(the_memory_cap_ends_the_call_and_not_the_vm)
{
    char text[256];
    till_vm_gc_t gc = {.cycles = 0};

    env.memory_cap = 16 * 1024 * 1024;
    env.gc = &gc;
    ck_assert_ptr_null(load(BOMB));
    ck_assert_ptr_nonnull(strstr(fault, "MB of memory while it loads"));
    snprintf(text, sizeof(text),
             "return { http = function(req) if req.path == '/b' then %s end return 200, nil, 'ok' end }", BOMB);
    till_vm_t *vm = load(text);
    for (int i = 0; i != 3; ++i) {
        ck_assert_int_eq(get(vm, "/b").status, 500);
        ck_assert_str_eq(get(vm, "/").text, "ok");
    }
    ck_assert(gc.full.sum > 0);
    end(vm);
    env.gc = NULL;
}
END_TEST

START_TEST(generations_come_and_go_without_a_trace)
{
    for (int i = 0; i != 100; ++i) {
        till_vm_t *vm = load("require 'till.prim.json' return { http = function() return 200, nil, 'ok' end }");
        ck_assert_str_eq(get(vm, "/").text, "ok");
        end(vm);
    }
}
END_TEST

/* ---- with a database -------------------------------------------------------------- */

static till_sql_pool_t *open_pool(void)
{
    const till_sql_opts_t opts = {.socket = till_test_mysql(),
                                  .user = "root",
                                  .password = "",
                                  .database = "till_test",
                                  .connections = 1,
                                  .max_waiters = 100,
                                  .connect_timeout_ms = 5000};

    till_loop_turn(loop, 0); /* the server may have taken its time to start: its clock is that of the last turn */
    return till_sql_pool_create(loop, &opts);
}

static const char SQL_MAIN[] =
    "local sql = require 'till.prim.sql'\n"
    "local routes = {}\n"
    "routes['/setup'] = function() sql.exec('DROP TABLE IF EXISTS vm_t')\n"
    "  return tostring(sql.exec('CREATE TABLE vm_t (id INT PRIMARY KEY, b BINARY(2)) ENGINE=InnoDB') ~= nil) end\n"
    "routes['/slow'] = function() return sql.transaction(function(tx)\n"
    "  tx:exec('INSERT INTO vm_t (id) VALUES (1)')\n"
    "  return tx:query('SELECT SLEEP(30)') end) end\n"
    "routes['/throw'] = function() return tostring(pcall(sql.transaction, function(tx)\n"
    "  tx:exec('INSERT INTO vm_t (id) VALUES (2)') error('no') end)) end\n"
    "routes['/keep'] = function() return sql.transaction(function(tx)\n"
    "  tx:exec('INSERT INTO vm_t VALUES (?, ?)', 3, sql.bytes('\\1\\0')) return 'kept' end) end\n"
    "routes['/abandon'] = function() return coroutine.wrap(function() return sql.transaction(function(tx)\n"
    "  tx:exec('INSERT INTO vm_t (id) VALUES (9)') coroutine.yield('left') end) end)() end\n"
    "routes['/count'] = function() local row = sql.one('SELECT COUNT(*) AS n, MAX(b) AS b FROM vm_t')\n"
    "  return row.n .. ' ' .. (row.b and #row.b or '-') end\n"
    "return { http = function(req) return 200, nil, (routes[req.path]()) end }";

START_TEST(a_cancelled_transaction_rolls_back_and_frees_its_connection)
{
    struct answer answer = {0};
    till_sql_stats_t stats;

    env.sql = open_pool();
    till_vm_t *vm = load(SQL_MAIN);
    ck_assert_str_eq(get(vm, "/setup").text, "true");
    till_call_t *call = ask(vm, "/slow", 60000, &answer);
    TEST_UNTIL(loop, (till_sql_pool_stats(env.sql, &stats), stats.statements >= 5));
    ck_assert_int_eq(answer.calls, 0);
    till_call_cancel(call);
    TEST_UNTIL(loop, answer.calls != 0);
    ck_assert_int_eq(answer.outcome, TILL_CANCELLED);
    ck_assert_str_eq(get(vm, "/count").text, "0 -"); /* on the one connection there is */
    ck_assert_str_eq(get(vm, "/throw").text, "false");
    ck_assert_str_eq(get(vm, "/count").text, "0 -");
    ck_assert_str_eq(get(vm, "/abandon").text, "left"); /* the end of the call alone ends it */
    ck_assert_str_eq(get(vm, "/count").text, "0 -");
    ck_assert_str_eq(get(vm, "/keep").text, "kept");
    ck_assert_str_eq(get(vm, "/count").text, "1 2");
    end(vm);
    till_sql_pool_destroy(env.sql);
    till_loop_turn(loop, 0);
}
END_TEST

/* ---- time that was over before there was a connection ---- */

static const char BUSY_MAIN[] =
    "local sql, co, time = require 'till.prim.sql', require 'till.prim.co', require 'till.prim.time'\n"
    "local routes = {}\n"
    "local function add(tx) return tx:exec('INSERT INTO vm_w VALUES ()') end\n"
    "local function insert() return sql.exec('INSERT INTO vm_w VALUES ()') end\n"
    "local function read() return sql.one('SELECT 1 AS one') end\n"
    /* whoever asks afterwards waits for the one connection there is */
    "local function hold() local task = co.task(60000, function() sql.query('SELECT SLEEP(20)') end)\n"
    "  time.sleep(1) return task end\n"
    "local function in_task(ms, fn) local waiter = co.waiter()\n"
    "  local task = co.task(ms, function() local done, e = fn() waiter:signal { done, e } end)\n"
    "  local got = waiter:wait(60000) return got[1], got[2], task end\n"
    "routes['/setup'] = function() sql.exec('DROP TABLE IF EXISTS vm_w')\n"
    "  return sql.exec('CREATE TABLE vm_w (id INT AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB') end\n"
    "routes['/exec'] = insert\n"
    "routes['/whole'] = function() return sql.whole('INSERT INTO vm_w VALUES ()') end\n"
    "routes['/transaction'] = function() return sql.transaction(add) end\n"
    "routes['/task'] = function() return in_task(200, function() return sql.transaction(add) end) end\n"
    "routes['/late-task'] = function() insert() return in_task(200, function()\n"
    "  local held = hold() local done, e = read() return done, e, held end) end\n"
    "routes['/held-read'] = function() local held = hold() return read(), held end\n"
    "routes['/held-transaction'] = function() local held = hold() sql.transaction(add) return held end\n"
    "routes['/goes-on'] = function() local held = hold() sql.transaction(add) insert() return read(), held end\n"
    "routes['/read-first'] = function() read() local held = hold() sql.transaction(add) return held end\n"
    "routes['/rolled-back'] = function() sql.transaction(function(tx) add(tx) return nil, 'no' end)\n"
    "  local held = hold() sql.transaction(add) return held end\n"
    "routes['/wrote'] = function() insert() local held = hold() sql.transaction(add) return held end\n"
    "routes['/committed'] = function() sql.transaction(add) local held = hold() read() return held end\n"
    "routes['/task-wrote'] = function() in_task(60000, insert) local held = hold() read() return held end\n"
    "routes['/slow'] = function() return sql.query('SELECT SLEEP(20)') end\n"
    "routes['/count'] = function() return tostring(read() and sql.one('SELECT COUNT(*) AS n FROM vm_w').n) end\n"
    "return { http = function(req)\n"
    "  local done, e = routes[req.path]()\n"
    "  if type(done) == 'string' then return 200, nil, done end\n"
    "  if done then return 200, nil, 'done' end\n"
    "  return 200, nil, ('%s %d %s %s'):format(e.code, e.http, tostring(e.unsent), tostring(e.unknown_outcome)) end }";

static const struct busy_case {
    const char *route;
    uint64_t timeout_ms;
    till_status_t outcome;
    const char *rows; /* that are there then */
} busy_cases[] = {
    {"/held-read", 300, TILL_OVERLOADED, "0"},    {"/held-transaction", 300, TILL_OVERLOADED, "0"},
    {"/goes-on", 300, TILL_OVERLOADED, "0"},      {"/read-first", 2000, TILL_OVERLOADED, "0"},
    {"/rolled-back", 2000, TILL_OVERLOADED, "0"}, {"/slow", 300, TILL_TIMEOUT, "0"},
    {"/wrote", 2000, TILL_TIMEOUT, "1"},          {"/committed", 2000, TILL_TIMEOUT, "1"},
    {"/task-wrote", 2000, TILL_TIMEOUT, "1"},
};

START_TEST(time_that_ends_while_it_only_waits_for_a_connection_is_a_refusal)
{
    const struct busy_case *one = &busy_cases[_i];
    struct answer answer = {0};

    env.sql = open_pool();
    till_vm_t *vm = load(BUSY_MAIN);
    ck_assert_msg(vm != NULL, "%s", fault);
    ck_assert_str_eq(get(vm, "/setup").text, "done");
    ask(vm, one->route, one->timeout_ms, &answer);
    TEST_UNTIL(loop, answer.calls != 0);
    ck_assert_msg(answer.outcome == one->outcome, "%s: %s", one->route, till_status_code(answer.outcome));
    ck_assert_str_eq(get(vm, "/count").text, one->rows);
    end(vm);
    till_sql_pool_destroy(env.sql);
    till_loop_turn(loop, 0);
}
END_TEST

static void on_leased(void *data, till_status_t status, till_sql_conn_t *conn)
{
    ck_assert_int_eq(status, TILL_OK);
    *(till_sql_conn_t **)data = conn;
}

/* The time of the statement is over, and not yet that of its request: Lua is told. */
START_TEST(a_statement_that_never_had_a_connection_says_so)
{
    till_sql_conn_t *conn = NULL;

    env.sql = open_pool();
    till_vm_t *vm = load(BUSY_MAIN);
    ck_assert_msg(vm != NULL, "%s", fault);
    ck_assert_str_eq(get(vm, "/setup").text, "done");
    end(vm);
    env.sql_ms = 200; /* not of the tables, which take as long as they take */
    vm = load(BUSY_MAIN);
    ck_assert_msg(vm != NULL, "%s", fault);
    till_sql_acquire(env.sql, 60000, on_leased, &conn);
    TEST_UNTIL(loop, conn != NULL);
    ck_assert_str_eq(get(vm, "/exec").text, "overloaded 503 true nil");
    ck_assert_str_eq(get(vm, "/transaction").text, "overloaded 503 true nil");
    ck_assert_str_eq(get(vm, "/whole").text, "overloaded 503 true nil");
    ck_assert_str_eq(get(vm, "/task").text, "overloaded 503 true nil");
    till_sql_release(conn);
    ck_assert_str_eq(get(vm, "/slow").text, "timeout 504 nil nil");
    ck_assert_str_eq(get(vm, "/late-task").text, "timeout 504 true nil");
    ck_assert_str_eq(get(vm, "/count").text, "1");
    end(vm);
    till_sql_pool_destroy(env.sql);
    till_loop_turn(loop, 0);
}
END_TEST

Suite *vm_suite(void);
Suite *vm_suite(void)
{
    Suite *suite = suite_create("vm");
    TCase *tcase = tcase_create("vm");

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_load_error_names_file_and_line);
    tcase_add_test(tcase, headers_may_be_strings_numbers_and_lists);
    tcase_add_test(tcase, a_load_without_end_is_refused);
    tcase_add_test(tcase, a_require_cycle_is_told_with_its_way);
    tcase_add_test(tcase, a_global_cannot_be_written);
    tcase_add_test(tcase, c_modules_are_for_the_thin_files_alone);
    tcase_add_test(tcase, loading_cannot_wait);
    tcase_add_test(tcase, an_error_in_main_is_a_500_with_its_trace);
    tcase_add_test(tcase, each_vm_draws_numbers_of_its_own);
    tcase_add_test(tcase, interleaved_calls_get_their_own_answers);
    tcase_add_test(tcase, a_call_out_of_time_unwinds_with_timeout);
    tcase_add_test(tcase, retiring_lets_calls_end_and_wakes_background);
    tcase_add_test(tcase, the_deadline_of_retiring_cuts_what_is_left);
    tcase_add_test(tcase, no_background_call_outlives_its_generation);
    tcase_add_test(tcase, a_new_generation_is_warmed_with_what_the_old_one_gave);
    tcase_add_test(tcase, warming_ends_in_time_whatever_a_page_does);
    tcase_add_test(tcase, a_generation_that_is_retired_while_it_is_warmed_is_told_of_and_closed);
    tcase_add_test(tcase, nothing_to_warm_with_is_no_reason_to_wait);
    tcase_add_test(tcase, collections_are_counted);
    tcase_add_test(tcase, the_memory_cap_ends_the_call_and_not_the_vm);
    tcase_add_test(tcase, generations_come_and_go_without_a_trace);
    tcase_add_test(tcase, a_cancelled_transaction_rolls_back_and_frees_its_connection);
    tcase_add_loop_test(tcase, time_that_ends_while_it_only_waits_for_a_connection_is_a_refusal, 0,
                        sizeof(busy_cases) / sizeof(busy_cases[0]));
    tcase_add_test(tcase, a_statement_that_never_had_a_connection_says_so);
    suite_add_tcase(suite, tcase);
    return suite;
}

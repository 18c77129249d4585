/* test_master.c - see core/serve/master.h, worker.h and control.h: the whole tree of processes, without a database */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "serve/control.h"
#include "serve/master.h"
#include "serve/serve.h"
#include "support/child.h"
#include "support/servers.h"
#include "support/shop.h"

#define GENERATION(text)                                                                                               \
    "return {http = function(req) return 200, {}, \"" text "\", \"/x\" end,\n"                                         \
    "  background = function() end, jobs = function() end, generation = " RECORDS "}\n"

/* What main.generation answers where there is no database: each change has worked, each generation is here. */
#define RECORDS                                                                                                        \
    "function(order) local hash = order:match('\"hash\":\"(%x*)\"')\n"                                                 \
    "  if hash == '' then return '{\"ok\":false,\"error\":\"none was before\"}' end\n"                                 \
    "  return '{\"ok\":true,\"same\":true,\"sequence\":1,\"generation\":\"' .. (hash or '') .. '\"}' end"

static test_shop_t shop; /* only its ports are used: for asking */
static char dir[64], lua_dir[96];
static pid_t master;
static int ready_fd;
static const char *mysql_socket = "/nonexistent/mysql.sock";

static void write_main(const char *text)
{
    char path[128], fresh[136];

    snprintf(path, sizeof(path), "%s/till/main.lua", lua_dir);
    snprintf(fresh, sizeof(fresh), "%s.new", path);
    FILE *file = fopen(fresh, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
    ck_assert_int_eq(rename(fresh, path), 0);
}

static void on_ready(void *data, unsigned port)
{
    (void)data;
    ck_assert_int_eq(write(ready_fd, &port, sizeof(port)), sizeof(port));
}

static int run_master(const char *listen, const char *ops)
{
    char error[512], set_listen[64], set_ops[64], set_mysql[160];
    const char *const plugins[] = {dir};
    const char *const sets[] = {set_listen,
                                set_ops,
                                "server.workers=2",
                                "server.jobs_workers=1",
                                "server.shutdown_timeout_ms=3000",
                                set_mysql,
                                "mysql.user=root",
                                "mysql.database=till_test",
                                "redis.socket=/nonexistent/redis.sock"};

    snprintf(set_listen, sizeof(set_listen), "server.listen=%s", listen);
    snprintf(set_ops, sizeof(set_ops), "server.ops_listen=%s", ops);
    snprintf(set_mysql, sizeof(set_mysql), "mysql.socket=%s", mysql_socket);
    till_conf_t *conf = till_conf_load(NULL, sets, sizeof(sets) / sizeof(sets[0]), error, sizeof(error));
    if (conf == NULL) {
        fprintf(stderr, "%s\n", error);
        return 9;
    }
    till_master_opts_t opts = {
        .conf = conf, .var_dir = dir, .lua_dir = lua_dir, .plugin_dirs = plugins, .on_ready = on_ready};
    opts.plugin_dir_count = 0;
    int code = till_master_run(&opts);
    till_conf_destroy(conf);
    return code;
}

static pid_t start_master(int *ready, const char *listen, const char *ops)
{
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char log[96];
        close(fds[0]);
        ready_fd = fds[1];
        snprintf(log, sizeof(log), "%s/log", dir);
        till_log_open(log);
        exit(run_master(listen, ops));
    }
    close(fds[1]);
    *ready = fds[0];
    return pid;
}

static unsigned free_port(void)
{
    char error[256];
    int fd = till_listen("127.0.0.1:0", 0, 1, error, sizeof(error));
    unsigned port = till_listen_port(fd);

    close(fd);
    return port;
}

static void setup(void)
{
    char ops[32], path[128];
    int ready;

    test_make_dir(dir);
    snprintf(lua_dir, sizeof(lua_dir), "%s/lua", dir);
    mkdir(lua_dir, 0755);
    snprintf(path, sizeof(path), "%s/till", lua_dir);
    mkdir(path, 0755);
    write_main(GENERATION("one"));
    shop = (test_shop_t){.ops_port = free_port()};
    snprintf(ops, sizeof(ops), "127.0.0.1:%u", shop.ops_port);
    master = start_master(&ready, "127.0.0.1:0", ops);
    ck_assert_msg(read(ready, &shop.port, sizeof(shop.port)) == sizeof(shop.port), "the server did not get ready");
    close(ready);
}

static void end_master(int expected)
{
    int status;

    ck_assert_int_eq(waitpid(master, &status, 0), master);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == expected, "the master ended with status %x", status);
    master = 0;
}

/* Sanitizers write their findings to the standard error of a worker and end it
 * otherwise than with 0, which the log tells. */
static void check_log(void)
{
    char command[160];

    snprintf(command, sizeof(command), "grep -q '\"exit\":[1-9]' %s/log", dir);
    ck_assert_msg(WEXITSTATUS(system(command)) == 1, "a worker ended badly");
}

static void teardown(void)
{
    if (master != 0) {
        kill(master, SIGTERM);
        end_master(0);
    }
    check_log();
    test_remove_dir(dir);
}

struct answer {
    char last[2048];
    unsigned lines;
};

static void on_line(void *data, const char *line, size_t len)
{
    struct answer *answer = data;

    ++answer->lines;
    snprintf(answer->last, sizeof(answer->last), "%.*s", (int)len, line);
}

static struct answer answer;

static int order(const char *command)
{
    char error[512], json[128];

    answer = (struct answer){0};
    snprintf(json, sizeof(json), "{\"command\":\"%s\"}", command);
    int code = till_control_call(dir, json, on_line, &answer, error, sizeof(error));
    ck_assert_str_eq(error, "");
    return code;
}

static void live_name(char out[65])
{
    const char *at;

    ck_assert_int_eq(order("generations"), 0);
    ck_assert_ptr_nonnull(at = strstr(answer.last, "\"name\":\""));
    snprintf(out, 65, "%s", at + strlen("\"name\":\""));
}

static int roll_back_to(const char *name)
{
    char error[512], json[160];

    answer = (struct answer){0};
    snprintf(json, sizeof(json), "{\"command\":\"rollback\",\"hash\":\"%s\"}", name);
    return till_control_call(dir, json, on_line, &answer, error, sizeof(error));
}

static void expect_body(const char *body)
{
    test_answer_t got;

    for (int i = 0; i != 8; ++i) { /* both workers take part */
        ck_assert_int_eq(test_shop_ask(&shop, NULL, &(test_ask_t){.path = "/x"}, &got), 0);
        ck_assert_int_eq(got.status, 200);
        ck_assert_str_eq(got.body, body);
    }
}

START_TEST(it_serves_and_stops)
{
    test_answer_t got;

    expect_body("one");
    ck_assert_int_eq(test_shop_ask(&shop, NULL, &(test_ask_t){.path = "/readyz", .ops = true}, &got), 0);
    ck_assert_int_eq(got.status, 503); /* there is no database */
    ck_assert_ptr_nonnull(strstr(got.body, "\"database\":\"does not answer\""));
    ck_assert_int_eq(order("stop"), 0);
    end_master(0);
}
END_TEST

START_TEST(a_reload_changes_every_worker)
{
    char first[65];

    live_name(first);
    write_main(GENERATION("two"));
    ck_assert_int_eq(order("reload"), 0);
    ck_assert_ptr_nonnull(strstr(answer.last, "\"unchanged\":false"));
    ck_assert_uint_eq(answer.lines, 9); /* load, 3 have, recorded, 3 serve, the answer */
    expect_body("two");
    ck_assert_int_eq(order("reload"), 0);
    ck_assert_ptr_nonnull(strstr(answer.last, "\"unchanged\":true"));
    ck_assert_int_eq(roll_back_to(first), 0);
    expect_body("one");
}
END_TEST

START_TEST(a_bad_one_changes_nothing_and_says_where)
{
    write_main("local x = 1\nreturn {http = }\n");
    ck_assert_int_eq(order("reload"), 1);
    ck_assert_msg(strstr(answer.last, "till/main.lua:2:") != NULL, "%s", answer.last);
    expect_body("one");
    write_main("error(\"not today\")\n");
    ck_assert_int_eq(order("reload"), 1);
    ck_assert_msg(strstr(answer.last, "not today") != NULL, "%s", answer.last);
    expect_body("one");
    write_main(GENERATION("three"));
    ck_assert_int_eq(order("reload"), 0);
    expect_body("three");
}
END_TEST

static pid_t pid_of(const char *worker)
{
    char key[64];
    const char *at;

    ck_assert_int_eq(order("status"), 0);
    snprintf(key, sizeof(key), "\"%s\",\"pid\":", worker);
    ck_assert_ptr_nonnull(at = strstr(answer.last, key));
    return (pid_t)strtol(at + strlen(key), NULL, 10);
}

static unsigned kept_generations(void)
{
    char path[128];
    unsigned n = 0;

    snprintf(path, sizeof(path), "%s/generations", dir);
    DIR *folder = opendir(path);
    ck_assert_ptr_nonnull(folder);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
        n += entry->d_name[0] != '.';
    closedir(folder);
    return n;
}

START_TEST(only_the_live_generation_and_the_one_before_are_kept)
{
    char second[65];

    write_main(GENERATION("two"));
    ck_assert_int_eq(order("reload"), 0);
    live_name(second);
    ck_assert_uint_eq(kept_generations(), 2);
    write_main(GENERATION("three"));
    ck_assert_int_eq(order("reload"), 0);
    ck_assert_uint_eq(kept_generations(), 2);
    ck_assert_int_eq(roll_back_to(second), 0);
    expect_body("two");
}
END_TEST

START_TEST(what_was_refused_is_not_kept)
{
    uint64_t until = till_wall_ms() + 20000;

    for (int i = 0; i != 3; ++i) {
        char text[32];
        snprintf(text, sizeof(text), "error(\"not today %d\")", i);
        write_main(text);
        ck_assert_int_eq(order("reload"), 1);
    }
    while (kept_generations() != 1) {
        ck_assert_msg(till_wall_ms() < until, "there are %u", kept_generations());
        usleep(10000);
    }
    expect_body("one");
}
END_TEST

static void write_prim(const char *name)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/till/prim", lua_dir);
    mkdir(path, 0755);
    snprintf(path, sizeof(path), "%s/till/prim/%s.lua", lua_dir, name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "local c = require \"till.c.%s\" return c", name);
    fclose(file);
}

/* Its VM is on its way out, and it answers for none. */
START_TEST(an_errand_of_a_worker_that_drains_is_done_by_another)
{
    char first[65];

    live_name(first);
    write_prim("time");
    write_main("local time = require \"till.prim.time\"\n"
               "return {http = function(req) return 200, {}, \"slow\", \"/x\" end, background = function() end,\n"
               "  jobs = function() time.sleep(2000) end, generation = " RECORDS "}\n");
    ck_assert_int_eq(order("reload"), 0);
    kill(pid_of("jobs-0"), SIGTERM);
    ck_assert_msg(roll_back_to(first) == 0, "%s", answer.last);
    expect_body("one");
}
END_TEST

static void wait_control(void)
{
    uint64_t until = till_wall_ms() + 20000;
    char error[512];

    /* its socket is there a moment before it listens */
    while (till_control_call(dir, "{\"command\":\"status\"}", on_line, &answer, error, sizeof(error)) != 0) {
        ck_assert_msg(till_wall_ms() < until, "it listens to no orders: %s", error);
        usleep(1000);
    }
}

START_TEST(a_reload_while_it_starts_does_not_keep_it_from_being_ready)
{
    char ops[32];
    int ready;
    struct pollfd said;

    ck_assert_int_eq(order("stop"), 0);
    end_master(0);
    write_main("for _ = 1, 1e8 do end\n" GENERATION("slow"));
    snprintf(ops, sizeof(ops), "127.0.0.1:%u", shop.ops_port);
    master = start_master(&ready, "127.0.0.1:0", ops);
    wait_control();
    ck_assert_int_eq(order("status"), 0); /* it has read the folders */
    write_main(GENERATION("two"));
    ck_assert_msg(order("reload") == 0, "%s", answer.last);
    said = (struct pollfd){.fd = ready, .events = POLLIN};
    ck_assert_int_eq(poll(&said, 1, 20000), 1);
    ck_assert_int_eq(read(ready, &shop.port, sizeof(shop.port)), sizeof(shop.port));
    close(ready);
    expect_body("two");
}
END_TEST

/* web-0 refuses it at once, web-1 still computes when the next one is asked for. */
START_TEST(a_reload_may_follow_a_refused_one_at_once)
{
    write_prim("co");
    write_main("local name = require(\"till.prim.co\").process()\n"
               "if name == \"web-0\" then error(\"refused\") end\n"
               "if name == \"web-1\" then for _ = 1, 2e8 do end end\n" GENERATION("slow"));
    ck_assert_int_eq(order("reload"), 1);
    ck_assert_ptr_nonnull(strstr(answer.last, "refused"));
    write_main(GENERATION("next"));
    ck_assert_msg(order("reload") == 0, "%s", answer.last);
    expect_body("next");
}
END_TEST

static bool is_replaced(const char *worker, pid_t old)
{
    char key[96];
    pid_t now = pid_of(worker);

    snprintf(key, sizeof(key), "\"%s\",\"pid\":%d,\"state\":\"ready\"", worker, (int)now);
    return now != 0 && now != old && strstr(answer.last, key) != NULL;
}

static void wait_replaced(const char *worker, pid_t old)
{
    uint64_t until = till_wall_ms() + 20000;

    while (!is_replaced(worker, old)) {
        ck_assert_msg(till_wall_ms() < until, "%s is not replaced: %s", worker, answer.last);
        usleep(10000);
    }
}

START_TEST(a_worker_that_dies_is_replaced_with_what_is_live)
{
    write_main(GENERATION("two"));
    ck_assert_int_eq(order("reload"), 0);
    pid_t web = pid_of("web-0"), jobs = pid_of("jobs-0");
    kill(web, SIGKILL);
    kill(jobs, SIGKILL);
    wait_replaced("web-0", web);
    wait_replaced("jobs-0", jobs);
    expect_body("two");
    test_answer_t got;
    ck_assert_int_eq(test_shop_ask(&shop, NULL, &(test_ask_t){.path = "/metrics", .ops = true}, &got), 0);
    ck_assert_ptr_nonnull(strstr(got.body, "till_process_restarts_total{process=\"web-0\"} 1\n"));
}
END_TEST

/* One worker stands still, so the vote stays open until it is killed: then the
 * new generation is in nobody. */
START_TEST(a_worker_that_dies_while_it_prepares_ends_the_change)
{
    pid_t web = pid_of("web-1"), killer;

    write_main(GENERATION("two"));
    kill(web, SIGSTOP);
    if ((killer = fork()) == 0) {
        usleep(300000);
        kill(web, SIGKILL);
        _exit(0);
    }
    ck_assert_int_eq(order("reload"), 1);
    ck_assert_msg(strstr(answer.last, "web-1 died while it loaded the new generation") != NULL, "%s", answer.last);
    waitpid(killer, NULL, 0);
    wait_replaced("web-1", web);
    expect_body("one");
    ck_assert_int_eq(order("reload"), 0);
    expect_body("two");
}
END_TEST

/* Nobody would be left to stop them. */
START_TEST(workers_do_not_outlive_their_master)
{
    uint64_t until = till_wall_ms() + 20000;
    test_answer_t got;

    kill(master, SIGKILL);
    waitpid(master, NULL, 0);
    master = 0;
    while (test_shop_ask(&shop, NULL, &(test_ask_t){.path = "/x"}, &got) != 7 /* CURLE_COULDNT_CONNECT */) {
        ck_assert_msg(till_wall_ms() < until, "somebody listens still");
        usleep(10000);
    }
}
END_TEST

START_TEST(hup_reloads)
{
    uint64_t until = till_wall_ms() + 20000;

    write_main(GENERATION("two"));
    kill(master, SIGHUP);
    do {
        ck_assert_msg(till_wall_ms() < until, "nothing has changed");
        ck_assert_int_eq(order("generations"), 0);
    } while (strstr(answer.last, "\"previous\":{") == NULL);
}
END_TEST

START_TEST(a_second_server_is_refused)
{
    int ready, status;
    pid_t second = start_master(&ready, "127.0.0.1:0", "127.0.0.1:0");

    ck_assert_int_eq(waitpid(second, &status, 0), second);
    ck_assert_int_eq(WEXITSTATUS(status), 1);
    close(ready);
    expect_body("one");
    ck_assert_int_eq(order("status"), 0); /* the socket is the first one's still */
}
END_TEST

START_TEST(orders_that_are_none_are_refused)
{
    ck_assert_int_eq(order("dance"), 1);
    ck_assert_ptr_nonnull(strstr(answer.last, "not a command"));
    ck_assert_int_eq(order("rollback"), 1);
}
END_TEST

static void expect_refused(const char *json, const char *sentence)
{
    char error[512];

    answer = (struct answer){0};
    ck_assert_int_eq(till_control_call(dir, json, on_line, &answer, error, sizeof(error)), 1);
    ck_assert_msg(strstr(answer.last, sentence) != NULL, "%.80s: %s", json, answer.last);
}

/* Without its hash it would be a rollback to the one before, without `expect` it would overwrite somebody's change. */
START_TEST(what_cannot_be_read_is_not_taken_for_what_is_missing)
{
    char first[65], json[4200], many[4001];

    live_name(first);
    memset(many, 'f', sizeof(many) - 1);
    many[sizeof(many) - 1] = '\0';
    snprintf(json, sizeof(json), "{\"command\":\"rollback\",\"hash\":\"%s\"}", many);
    expect_refused(json, "hash: ");
    expect_refused("{\"command\":\"rollback\",\"hash\":12}", "hash: ");
    snprintf(json, sizeof(json), "{\"command\":\"rollback\",\"hash\":\"%s\"} x", first);
    expect_refused(json, "not a command");
    snprintf(json, sizeof(json), "{\"command\":\"activate\",\"hash\":\"%s\",\"expect\":\"%s\"}", first, many);
    expect_refused(json, "expect: ");
    snprintf(json, sizeof(json), "{\"command\":\"reload\",\"reason\":\"%.501s\"}", many);
    expect_refused(json, "reason: ");
    snprintf(json, sizeof(json), "{\"command\":\"reload\",\"author\":\"%.191s\"}", many);
    expect_refused(json, "author: ");
}
END_TEST

/* Only the first line of a connection is an order: the second would stop the server. */
START_TEST(what_follows_an_order_is_ignored)
{
    char error[512];

    write_main("for _ = 1, 2e8 do end\n" GENERATION("two"));
    till_control_call(dir, "{\"command\":\"reload\"}\n{\"command\":\"stop\"}", on_line, &answer, error, sizeof(error));
    ck_assert_ptr_nonnull(strstr(answer.last, "\"generation\""));
    expect_body("two");
}
END_TEST

static void setup_with_database(void)
{
    mysql_socket = till_test_mysql();
    setup();
}

static void wait_ready(long status)
{
    uint64_t until = till_wall_ms() + 30000;
    test_answer_t got;

    do {
        ck_assert_int_eq(test_shop_ask(&shop, NULL, &(test_ask_t){.path = "/readyz", .ops = true}, &got), 0);
        ck_assert_msg(till_wall_ms() < until, "readyz stays at %ld: %s", got.status, got.body);
        usleep(20000);
    } while (got.status != status);
}

START_TEST(it_is_ready_while_the_database_answers)
{
    test_answer_t got;

    wait_ready(200);
    ck_assert_int_eq(test_shop_ask(&shop, NULL, &(test_ask_t){.path = "/metrics", .ops = true}, &got), 0);
    ck_assert_ptr_nonnull(strstr(got.body, "till_sql_up 1\n"));
    till_test_mysql_stop();
    wait_ready(503);
    till_test_mysql_start();
    wait_ready(200);
}
END_TEST

/* ---- without a server ------------------------------------------------------------ */

START_TEST(who_asks_where_nobody_is_is_told_so)
{
    char error[512];
    char empty[64];

    test_make_dir(empty);
    ck_assert_int_eq(till_control_call(empty, "{}", on_line, &answer, error, sizeof(error)), 1);
    ck_assert_ptr_nonnull(strstr(error, "no server runs there"));
    test_remove_dir(empty);
}
END_TEST

START_TEST(a_port_that_is_taken_is_named)
{
    char error[512], address[32];
    int fd = till_listen("127.0.0.1:0", 0, 1, error, sizeof(error));

    snprintf(address, sizeof(address), "127.0.0.1:%u", till_listen_port(fd));
    ck_assert_int_eq(till_listen(address, 0, 1, error, sizeof(error)), -1);
    ck_assert_ptr_nonnull(strstr(error, address));
    ck_assert_ptr_nonnull(strstr(error, "in use"));
    ck_assert_int_eq(till_listen("nonsense", 0, 1, error, sizeof(error)), -1);
    ck_assert_int_eq(till_listen("127.0.0.1:99999", 0, 1, error, sizeof(error)), -1);
    close(fd);
}
END_TEST

Suite *master_suite(void)
{
    Suite *suite = suite_create("serve/master");
    TCase *tc = tcase_create("tree"), *alone = tcase_create("alone"), *database = tcase_create("database");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, it_serves_and_stops);
    tcase_add_test(tc, a_reload_changes_every_worker);
    tcase_add_test(tc, only_the_live_generation_and_the_one_before_are_kept);
    tcase_add_test(tc, what_was_refused_is_not_kept);
    tcase_add_test(tc, an_errand_of_a_worker_that_drains_is_done_by_another);
    tcase_add_test(tc, a_reload_while_it_starts_does_not_keep_it_from_being_ready);
    tcase_add_test(tc, a_bad_one_changes_nothing_and_says_where);
    tcase_add_test(tc, a_reload_may_follow_a_refused_one_at_once);
    tcase_add_test(tc, a_worker_that_dies_is_replaced_with_what_is_live);
    tcase_add_test(tc, a_worker_that_dies_while_it_prepares_ends_the_change);
    tcase_add_test(tc, workers_do_not_outlive_their_master);
    tcase_add_test(tc, hup_reloads);
    tcase_add_test(tc, a_second_server_is_refused);
    tcase_add_test(tc, orders_that_are_none_are_refused);
    tcase_add_test(tc, what_cannot_be_read_is_not_taken_for_what_is_missing);
    tcase_add_test(tc, what_follows_an_order_is_ignored);
    tcase_add_test(alone, who_asks_where_nobody_is_is_told_so);
    tcase_add_test(alone, a_port_that_is_taken_is_named);
    tcase_add_checked_fixture(database, setup_with_database, teardown);
    tcase_set_timeout(database, 120);
    tcase_add_test(database, it_is_ready_while_the_database_answers);
    suite_add_tcase(suite, tc);
    suite_add_tcase(suite, database);
    suite_add_tcase(suite, alone);
    return suite;
}

/* test_conf.c - see core/base/conf.h; the first test holds conf/moontill.lua to the table. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/conf.h"
#include "base/conf_priv.h"

static char error[512];

static void ck_json(const till_conf_t *conf, void (*write)(const till_conf_t *, till_buf_t *), const char *expected)
{
    till_buf_t out;

    till_buf_init(&out, 0);
    write(conf, &out);
    ck_assert_str_eq(out.base, expected);
    till_buf_dispose(&out);
}

static const till_data_t *look_up(const till_data_t *root, const char *dotted)
{
    char section[64];
    const char *dot = strchr(dotted, '.');

    snprintf(section, sizeof(section), "%.*s", (int)(dot - dotted), dotted);
    return till_data_get(till_data_get(root, section), dot + 1);
}

static void ck_shows_default(const till_data_t *shown, const till_conf_option_t *option)
{
    ck_assert_msg(shown != NULL, "conf/moontill.lua does not show %s", option->name);
    if (option->type == TILL_CONF_INT)
        ck_assert_msg((int64_t)shown->number == option->number, "%s: another default", option->name);
    else if (option->type == TILL_CONF_BOOL)
        ck_assert_msg(shown->boolean == (option->number != 0), "%s: another default", option->name);
    else
        ck_assert_msg(strcmp(shown->text, option->text) == 0, "%s: another default", option->name);
    ck_assert_msg(*option->why != '\0', "%s says no reason", option->name);
}

/* The other direction, that the file shows nothing else, is what loading it proves. */
START_TEST(the_file_shows_every_option_with_its_default)
{
    size_t len;
    char *text = till_conf_read_file("conf/moontill.lua", 1 << 20, &len, error, sizeof(error));

    ck_assert_msg(text != NULL, "%s", error);
    till_data_t *root = till_data_parse(text, len, error, sizeof(error));
    ck_assert_msg(root != NULL, "%s", error);
    for (size_t i = 0; i != till_conf_n_options; ++i)
        ck_shows_default(look_up(root, till_conf_options[i].name), &till_conf_options[i]);
    till_data_destroy(root);
    free(text);
}
END_TEST

START_TEST(the_file_loads_and_says_what_the_defaults_say)
{
    till_conf_t *conf = till_conf_load("conf/moontill.lua", NULL, 0, error, sizeof(error));
    till_conf_t *defaults = till_conf_load(NULL, NULL, 0, error, sizeof(error));
    till_buf_t out;

    ck_assert_msg(conf != NULL, "%s", error);
    till_buf_init(&out, 0);
    till_conf_options_json(defaults, &out);
    ck_json(conf, till_conf_options_json, out.base);
    till_buf_dispose(&out);
    till_conf_destroy(conf);
    till_conf_destroy(defaults);
}
END_TEST

START_TEST(defaults_are_within_their_own_ranges)
{
    for (size_t i = 0; i != till_conf_n_options; ++i) {
        const till_conf_option_t *o = &till_conf_options[i];
        if (o->type == TILL_CONF_INT)
            ck_assert_msg(o->number >= o->min && o->number <= o->max, "%s", o->name);
    }
}
END_TEST

/* clang-format off */
static const struct {
    const char *why, *text, *error; /* error NULL: it loads */
} files[] = {
    {"nothing",               "return {}",                                        NULL},
    {"one option",            "return { server = { workers = 3 } }",              NULL},
    {"an unknown option",     "return {\n server = {\n  lissen = 1 } }",          ":3: there is no option server.lissen"},
    {"an unknown section",    "return { servr = { listen = \"x\" } }",            ":1: there is no option servr"},
    {"a wrong type",          "return { server = { workers = \"two\" } }",        ":1: server.workers must be a whole number"},
    {"a fraction",            "return { server = { workers = 1.5 } }",            ":1: server.workers must be a whole number"},
    {"out of range",          "return { server = { workers = 257 } }",            ":1: server.workers must be from 0 to 256 (processes)"},
    {"below the range",       "return { server = { workers = -1 } }",             ":1: server.workers must be from 0 to 256 (processes)"},
    {"a number for text",     "return { shop = { name = 5 } }",                   ":1: shop.name must be text"},
    {"a number for a bool",   "return { server = { trust_forwarded = 1 } }",      ":1: server.trust_forwarded must be true or false"},
    {"not one of the words",  "return { log = { level = \"loud\" } }",            ":1: log.level must be one of debug|info|warn|error"},
    {"half a word",           "return { log = { level = \"war\" } }",             ":1: log.level must be one of debug|info|warn|error"},
    {"env where no secret is","return { shop = { name = env(\"HOME\") } }",       ":1: shop.name must be text"},
    {"a section as a value",  "return { server = 5 }",                            ":1: server must be a table of options"},
    {"an option as a table",  "return { server = { workers = {} } }",             ":1: server.workers must be a whole number"},
    {"a value by position",   "return { 5 }",                                     ":1: a value without a name"},
    {"no such variable",      "return { redis = { password = env(\"TILL_NOT_THERE\") } }",
                              ":1: redis.password: the environment has no TILL_NOT_THERE"},
    {"plugins by name",       "return { plugins = { [\"a-b\"] = { x = 1 } } }",   NULL},
    {"a mixed plugin table",  "return { plugins = {\n [\"a-b\"] = { 1, x = 1 } } }", ":2: plugins: a table is a list or has names, not both"},
    {"a forged reference",    "return { plugins = { a = { [\"$env\"] = \"X\" } } }", ":1: plugins: $env and $file are written env(\"...\") and file(\"...\")"},
    {"code",                  "return { server = { workers = os.exit() } }",      ": line 1: a value is expected"},
};
/* clang-format on */

START_TEST(files_match_table)
{
    typeof(&files[0]) t = &files[_i];
    char path[] = "/tmp/till-conf-XXXXXX";
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, t->text, strlen(t->text)), (ssize_t)strlen(t->text));
    close(fd);
    till_conf_t *conf = till_conf_load(path, NULL, 0, error, sizeof(error));
    unlink(path);
    ck_assert_msg((conf != NULL) == (t->error == NULL), "%s: %s", t->why, error);
    if (t->error != NULL) {
        ck_assert_msg(strncmp(error, path, strlen(path)) == 0, "%s: %s", t->why, error);
        ck_assert_msg(strncmp(error + strlen(path), t->error, strlen(t->error)) == 0, "%s: %s", t->why, error);
    }
    till_conf_destroy(conf);
}
END_TEST

START_TEST(a_missing_file_is_named)
{
    ck_assert_ptr_null(till_conf_load("/nowhere/moontill.lua", NULL, 0, error, sizeof(error)));
    ck_assert_str_eq(error, "cannot read /nowhere/moontill.lua: No such file or directory");
}
END_TEST

/* clang-format off */
static const struct {
    const char *why, *set, *error;
} assignments[] = {
    {"a number",                    "server.workers=2",                 NULL},
    {"text as it is",               "server.listen=127.0.0.1:9000",     NULL},
    {"text with quotes",            "shop.name=\"A shop\"",             NULL},
    {"text that is a number",       "mysql.password=12345",             NULL},
    {"empty text",                  "mysql.socket=",                    NULL},
    {"with an = in it",             "mysql.password=a=b",               NULL},
    {"a plugin's option",           "plugins.payment-stripe.base_url=http://127.0.0.1:12111", NULL},
    {"no =",                        "server.workers",                   "--set: server.workers: name=value is expected"},
    {"unknown",                     "server.wrkers=2",                  "--set: there is no option server.wrkers"},
    {"out of range",                "server.workers=1000",              "--set: server.workers must be from 0 to 256 (processes)"},
    {"two values",                  "server.workers=1, 2",              "--set: server.workers must be a whole number"},
    {"a plugin that is no table",   "plugins.x=5",                      "--set: plugins.x cannot be set"},
    {"an empty part",               "plugins..x=5",                     "--set: plugins..x cannot be set"},
    {"no plugin",                   "plugins.=5",                       "--set: plugins. cannot be set"},
};
/* clang-format on */

START_TEST(assignments_match_table)
{
    typeof(&assignments[0]) t = &assignments[_i];
    till_conf_t *conf = till_conf_load(NULL, &t->set, 1, error, sizeof(error));

    ck_assert_msg((conf != NULL) == (t->error == NULL), "%s: %s", t->why, error);
    if (t->error != NULL)
        ck_assert_str_eq(error, t->error);
    till_conf_destroy(conf);
}
END_TEST

START_TEST(the_later_wins)
{
    const char *sets[] = {"server.workers=2", "server.workers=4", "shop.name=\"A\"", "mysql.password=12",
                          "server.trust_forwarded=true"};
    till_conf_t *conf = till_conf_load("conf/moontill.lua", sets, 5, error, sizeof(error));

    ck_assert_msg(conf != NULL, "%s", error);
    ck_assert_int_eq(till_conf_int(conf, "server.workers"), 4);
    ck_assert_str_eq(till_conf_str(conf, "shop.name"), "A");
    ck_assert_str_eq(till_conf_str(conf, "mysql.password"), "12");
    ck_assert(till_conf_bool(conf, "server.trust_forwarded"));
    ck_assert(till_conf_set(conf, "server.workers=5", error, sizeof(error)));
    ck_assert_int_eq(till_conf_int(conf, "server.workers"), 5);
    till_conf_destroy(conf);
}
END_TEST

START_TEST(plugins_are_sorted_and_their_secrets_stay_references)
{
    const char *sets[] = {
        "plugins.b.list={1, 2}",
        "plugins.b.deep.x=true",
        "plugins.a={z = 1, key = env(\"NOT_READ\")}",
        "plugins.a.cert=file(\"/not/read\")",
        "plugins.a.z=2",
        "plugins.b.text=a \"quote\"",
    };
    till_conf_t *conf = till_conf_load(NULL, sets, 6, error, sizeof(error));

    ck_assert_msg(conf != NULL, "%s", error);
    ck_json(conf, till_conf_plugins_json,
            "{\"a\":{\"cert\":{\"$file\":\"/not/read\"},\"key\":{\"$env\":\"NOT_READ\"},\"z\":2},"
            "\"b\":{\"deep\":{\"x\":true},\"list\":[1,2],\"text\":\"a \\\"quote\\\"\"}}");
    till_conf_destroy(conf);
}
END_TEST

START_TEST(secrets_are_resolved_and_not_shown)
{
    const char *sets[] = {"mysql.password=env(\"TILL_TEST_SECRET\")"};
    till_buf_t out;

    setenv("TILL_TEST_SECRET", "hush", 1);
    till_conf_t *conf = till_conf_load(NULL, sets, 1, error, sizeof(error));
    ck_assert_msg(conf != NULL, "%s", error);
    ck_assert_str_eq(till_conf_str(conf, "mysql.password"), "hush");
    till_buf_init(&out, 0);
    till_conf_options_json(conf, &out);
    ck_assert_ptr_null(strstr(out.base, "hush"));
    ck_assert_ptr_null(strstr(out.base, "password"));
    ck_assert_ptr_nonnull(strstr(out.base, "\"server.listen\":\"127.0.0.1:8443\""));
    till_buf_dispose(&out);
    till_conf_destroy(conf);
}
END_TEST

Suite *conf_suite(void)
{
    Suite *suite = suite_create("base/conf");
    TCase *tc = tcase_create("conf");

    tcase_add_test(tc, the_file_shows_every_option_with_its_default);
    tcase_add_test(tc, the_file_loads_and_says_what_the_defaults_say);
    tcase_add_test(tc, defaults_are_within_their_own_ranges);
    tcase_add_loop_test(tc, files_match_table, 0, sizeof(files) / sizeof(files[0]));
    tcase_add_test(tc, a_missing_file_is_named);
    tcase_add_loop_test(tc, assignments_match_table, 0, sizeof(assignments) / sizeof(assignments[0]));
    tcase_add_test(tc, the_later_wins);
    tcase_add_test(tc, plugins_are_sorted_and_their_secrets_stay_references);
    tcase_add_test(tc, secrets_are_resolved_and_not_shown);
    suite_add_tcase(suite, tc);
    return suite;
}

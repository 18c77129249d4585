/* test_bundle.c - see core/vm/bundle.h; what the folders may hold is tried in tests/flow/reload.test.mjs */
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "support/child.h"
#include "vm/bundle.h"

static char dir[64];

static void setup(void) { test_make_dir(dir); }

static void teardown(void) { test_remove_dir(dir); }

static till_slice_t slice(const char *text) { return (till_slice_t){text, strlen(text)}; }

static till_bundle_t *make(bool turned)
{
    const till_bundle_entry_t a = {"lua/till/main.lua", slice("return {}")}, b = {"rules/ten.lua", slice("return 10")};
    const till_bundle_entry_t entries[] = {turned ? b : a, turned ? a : b};

    return till_bundle_make(entries, 2);
}

static void expect_file(const till_bundle_t *bundle, const char *path, const char *text)
{
    till_slice_t content;

    ck_assert(till_bundle_file(bundle, path, &content));
    ck_assert_uint_eq(content.len, strlen(text));
    ck_assert_int_eq(memcmp(content.base, text, content.len), 0);
}

START_TEST(the_order_of_the_files_makes_no_other_generation)
{
    till_bundle_t *one = make(false), *other = make(true);

    ck_assert_str_eq(till_bundle_name(one), till_bundle_name(other));
    expect_file(other, "rules/ten.lua", "return 10");
    till_bundle_destroy(one);
    till_bundle_destroy(other);
}
END_TEST

START_TEST(a_copy_that_is_torn_is_written_anew)
{
    char path[200], error[256];
    till_bundle_t *bundle = make(false);

    ck_assert_int_eq(till_bundle_save(bundle, dir), 0);
    snprintf(path, sizeof(path), "%s/generations/%s", dir, till_bundle_name(bundle));
    ck_assert_int_eq(truncate(path, 30), 0);
    ck_assert_ptr_null(till_bundle_load(dir, till_bundle_name(bundle), error, sizeof(error)));
    ck_assert_int_eq(till_bundle_save(bundle, dir), 0);
    till_bundle_t *there = till_bundle_load(dir, till_bundle_name(bundle), error, sizeof(error));
    ck_assert_msg(there != NULL, "%s", error);
    expect_file(there, "lua/till/main.lua", "return {}");
    till_bundle_destroy(there);
    till_bundle_destroy(bundle);
}
END_TEST

static void make_library(char *lua_dir, size_t size)
{
    char path[120];

    snprintf(lua_dir, size, "%s/lua", dir);
    mkdir(lua_dir, 0755);
    snprintf(path, sizeof(path), "%s/till", lua_dir);
    mkdir(path, 0755);
}

static void write_file(const char *folder, const char *name)
{
    char path[600];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    ck_assert_msg(file != NULL, "%s", path);
    fputs("return 1", file);
    fclose(file);
}

START_TEST(rules_are_taken_over_and_nothing_else)
{
    char lua_dir[80], error[256];
    till_bundle_t *before = make(false);
    const till_bundle_source_t source = {.lua_dir = lua_dir, .rules = before};

    make_library(lua_dir, sizeof(lua_dir));
    write_file(lua_dir, "till/other.lua");
    till_bundle_t *bundle = till_bundle_read(&source, error, sizeof(error));
    ck_assert_msg(bundle != NULL, "%s", error);
    ck_assert_str_eq(till_bundle_path(bundle, 0), "lua/till/other.lua");
    ck_assert_str_eq(till_bundle_path(bundle, 1), "rules/ten.lua");
    ck_assert_ptr_null(till_bundle_path(bundle, 2));
    expect_file(bundle, "rules/ten.lua", "return 10");
    till_bundle_destroy(bundle);
    till_bundle_destroy(before);
}
END_TEST

static void expect_refused(const char *name)
{
    char lua_dir[80], error[512];
    const till_bundle_source_t source = {.lua_dir = lua_dir};

    make_library(lua_dir, sizeof(lua_dir));
    write_file(lua_dir, name);
    ck_assert_ptr_null(till_bundle_read(&source, error, sizeof(error)));
    ck_assert_msg(strstr(error, "up to 255 bytes") != NULL, "%s", error);
}

/* The database would keep another name than ours, so another generation than was made. */
START_TEST(a_name_that_the_database_would_not_keep_is_refused)
{
    char name[256]; /* below lua/: 256 bytes with that */

    memset(name, 'n', sizeof(name));
    memcpy(name, "till/", 5);
    memcpy(name + 248, ".lua", 5);
    expect_refused(name);
}
END_TEST

START_TEST(a_name_that_is_not_utf8_is_refused) { expect_refused("till/a\xff.lua"); }
END_TEST

Suite *bundle_suite(void)
{
    Suite *suite = suite_create("vm/bundle");
    TCase *tc = tcase_create("bundle");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_order_of_the_files_makes_no_other_generation);
    tcase_add_test(tc, a_copy_that_is_torn_is_written_anew);
    tcase_add_test(tc, rules_are_taken_over_and_nothing_else);
    tcase_add_test(tc, a_name_that_the_database_would_not_keep_is_refused);
    tcase_add_test(tc, a_name_that_is_not_utf8_is_refused);
    suite_add_tcase(suite, tc);
    return suite;
}

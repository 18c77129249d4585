/* test_code.c - see core/vm/code.h */
#include <lauxlib.h>
#include <lualib.h>
#include <string.h>
#include <check.h>
#include "vm/code.h"

static lua_State *L;

static void start(void)
{
    L = luaL_newstate();
    luaL_openlibs(L);
}

static void stop(void) { lua_close(L); }

static int load(const char *text, const char *chunk) { return till_code_load(L, text, strlen(text), chunk); }

START_TEST(what_is_loaded_again_does_the_same)
{
    size_t before = till_code_count();

    for (int i = 0; i != 3; ++i) {
        ck_assert_int_eq(load("local a = ... return a + 1", "@add.lua"), 0);
        lua_pushinteger(L, 41);
        lua_call(L, 1, 1);
        ck_assert_int_eq(lua_tointeger(L, -1), 42);
        ck_assert_uint_eq(till_code_count(), before + 1);
    }
}
END_TEST

START_TEST(errors_name_the_line_of_the_text)
{
    for (int i = 0; i != 2; ++i) {
        ck_assert_int_eq(load("local x\n\nerror('broken')", "@plugins/x/handler.lua"), 0);
        ck_assert_int_ne(lua_pcall(L, 0, 0, 0), 0);
        ck_assert_str_eq(lua_tostring(L, -1), "plugins/x/handler.lua:3: broken");
    }
}
END_TEST

START_TEST(the_same_text_of_another_file_is_another_piece)
{
    ck_assert_int_eq(load("error('broken')", "@one.lua"), 0);
    ck_assert_int_eq(load("error('broken')", "@two.lua"), 0);
    ck_assert_int_ne(lua_pcall(L, 0, 0, 0), 0);
    ck_assert_str_eq(lua_tostring(L, -1), "two.lua:1: broken");
}
END_TEST

START_TEST(what_does_not_compile_is_not_kept)
{
    size_t before = till_code_count();

    for (int i = 0; i != 2; ++i) {
        ck_assert_int_eq(load("return 1 +", "@x.lua"), LUA_ERRSYNTAX);
        ck_assert_ptr_nonnull(strstr(lua_tostring(L, -1), "x.lua:1:"));
    }
    ck_assert_uint_eq(till_code_count(), before);
}
END_TEST

START_TEST(bytecode_is_no_text)
{
    ck_assert_int_eq(luaL_loadstring(L, "return string.dump(function() return 1 end)"), 0);
    lua_call(L, 0, 1);
    size_t len;
    const char *bytes = lua_tolstring(L, -1, &len);
    ck_assert_int_ne(till_code_load(L, bytes, len, "@b.lua"), 0);
}
END_TEST

START_TEST(what_two_generations_did_not_use_is_dropped)
{
    size_t before = till_code_count();

    ck_assert_int_eq(load("return 'old'", "@old.lua"), 0);
    ck_assert_int_eq(load("return 'kept'", "@kept.lua"), 0);
    for (int i = 0; i != 4; ++i) {
        till_code_next();
        ck_assert_int_eq(load("return 'kept'", "@kept.lua"), 0);
    }
    ck_assert_uint_eq(till_code_count(), before + 1);
    for (int i = 0; i != 4; ++i)
        till_code_next();
    ck_assert_uint_eq(till_code_count(), 0);
}
END_TEST

START_TEST(what_a_bundle_holds_is_compiled_ahead)
{
    const till_bundle_entry_t entries[] = {{"lua/till/a.lua", {"return 1", 8}},
                                           {"lua/till/bad.lua", {"return +", 8}},
                                           {"plugins/x/handler.lua", {"return 2", 8}},
                                           {"rules/hostile.lua", {"return 3", 8}}};
    till_bundle_t *bundle = till_bundle_make(entries, 4);
    size_t before = till_code_count();

    till_code_warm(bundle, "lua/till/");
    ck_assert_uint_eq(till_code_count(), before + 1);
    ck_assert_int_eq(load("return 1", "@lua/till/a.lua"), 0);
    ck_assert_uint_eq(till_code_count(), before + 1);
    till_code_warm(bundle, "plugins/");
    till_code_warm(bundle, "plugins/");
    ck_assert_uint_eq(till_code_count(), before + 2);
    till_bundle_destroy(bundle);
}
END_TEST

Suite *code_suite(void)
{
    Suite *suite = suite_create("vm/code");
    TCase *tc = tcase_create("code");

    tcase_add_checked_fixture(tc, start, stop);
    tcase_add_test(tc, what_is_loaded_again_does_the_same);
    tcase_add_test(tc, errors_name_the_line_of_the_text);
    tcase_add_test(tc, the_same_text_of_another_file_is_another_piece);
    tcase_add_test(tc, what_does_not_compile_is_not_kept);
    tcase_add_test(tc, bytecode_is_no_text);
    tcase_add_test(tc, what_two_generations_did_not_use_is_dropped);
    tcase_add_test(tc, what_a_bundle_holds_is_compiled_ahead);
    suite_add_tcase(suite, tc);
    return suite;
}

/* test_fault.c - see core/base/fault.h; each test is a process of its own, so arming does not spill over. */
#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fault.h"

START_TEST(unarmed_nothing_happens)
{
    unsetenv("TILL_FAULTS");
    ck_assert_ptr_null(till_fault_arm_from_env());
    ck_assert(!TILL_FAULT("sql.slow"));
}
END_TEST

START_TEST(a_fault_happens_as_often_as_was_said)
{
    setenv("TILL_FAULTS", "sql.slow=2,sql.connect_refused=-1", 1);
    ck_assert_ptr_null(till_fault_arm_from_env());
    ck_assert(TILL_FAULT("sql.slow"));
    ck_assert(TILL_FAULT("sql.slow"));
    ck_assert(!TILL_FAULT("sql.slow"));
    ck_assert(!TILL_FAULT("sql.deadlock"));
    for (int i = 0; i != 100; ++i)
        ck_assert(TILL_FAULT("sql.connect_refused"));
}
END_TEST

START_TEST(a_count_is_of_all_processes_together)
{
    setenv("TILL_FAULTS", "", 1);
    ck_assert_ptr_null(till_fault_arm_from_env());
    ck_assert(!TILL_FAULT("sql.slow"));
    int left = -2;
    ck_assert_ptr_null(till_fault_arm("sql.slow=2", &left));
    ck_assert_int_eq(left, 0);
    pid_t child = fork();
    if (child == 0)
        _exit(TILL_FAULT("sql.slow") ? 0 : 1);
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert(TILL_FAULT("sql.slow"));
    ck_assert(!TILL_FAULT("sql.slow"));
}
END_TEST

START_TEST(some_may_pass_before)
{
    int left;

    setenv("TILL_FAULTS", "sql.slow=1@2", 1);
    ck_assert_ptr_null(till_fault_arm_from_env());
    ck_assert(!TILL_FAULT("sql.slow"));
    ck_assert(!TILL_FAULT("sql.slow"));
    ck_assert(TILL_FAULT("sql.slow"));
    ck_assert(!TILL_FAULT("sql.slow"));
    ck_assert_ptr_null(till_fault_arm("sql.slow=5@1", &left));
    ck_assert_ptr_null(till_fault_arm("sql.slow=0", &left));
    ck_assert_int_eq(left, 5);
    ck_assert(!TILL_FAULT("sql.slow"));
}
END_TEST

START_TEST(where_no_test_asked_for_faults_none_can_be_armed)
{
    int left;

    unsetenv("TILL_FAULTS");
    ck_assert_ptr_null(till_fault_arm_from_env());
    ck_assert_ptr_nonnull(till_fault_arm("sql.slow=1", &left));
    ck_assert(!TILL_FAULT("sql.slow"));
}
END_TEST

static const char *const refused[] = {"sql.slwo=1",  "sql.slow",     "sql.slow=",   "sql.slow=x",    "sql.slow=-2",
                                      "sql.slow=1x", "sql.slow=1,,", "sql.slow=1@", "sql.slow=1@-1", "sql.slow=1@x"};

START_TEST(a_misspelling_is_refused)
{
    setenv("TILL_FAULTS", refused[_i], 1);
    const char *message = till_fault_arm_from_env();
    ck_assert_msg(message != NULL, "%s", refused[_i]);
}
END_TEST

START_TEST(a_name_that_is_not_in_the_table_is_a_bug)
{
    till_fault_armed = true;
    (void)TILL_FAULT("no.such");
}
END_TEST

Suite *fault_suite(void)
{
    Suite *suite = suite_create("base/fault");
    TCase *tc = tcase_create("fault");

    tcase_add_test(tc, unarmed_nothing_happens);
    tcase_add_test(tc, a_fault_happens_as_often_as_was_said);
    tcase_add_test(tc, a_count_is_of_all_processes_together);
    tcase_add_test(tc, some_may_pass_before);
    tcase_add_test(tc, where_no_test_asked_for_faults_none_can_be_armed);
    tcase_add_loop_test(tc, a_misspelling_is_refused, 0, sizeof(refused) / sizeof(refused[0]));
    tcase_add_test_raise_signal(tc, a_name_that_is_not_in_the_table_is_a_bug, SIGABRT);
    suite_add_tcase(suite, tc);
    return suite;
}

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include "io/mailbox.h"
#include "support/servers.h"

enum { THREADS = 4, EACH = 5000 };

static till_loop_t *loop;
static till_mailbox_t *mailbox;
static unsigned delivered, last_of[THREADS];

typedef struct letter {
    till_mail_t mail; /* first */
    unsigned thread, number;
} letter_t;

static void setup(void)
{
    loop = till_loop_create();
    mailbox = till_mailbox_create(loop);
    delivered = 0;
}

static void on_letter(till_mail_t *mail)
{
    letter_t *letter = (letter_t *)mail;

    ck_assert_uint_eq(letter->number, last_of[letter->thread] + 1); /* each thread's in its order */
    last_of[letter->thread] = letter->number;
    delivered++;
    free(letter);
}

static void post(unsigned thread, unsigned number)
{
    letter_t *letter = calloc(1, sizeof(*letter));

    *letter = (letter_t){.mail.deliver = on_letter, .thread = thread, .number = number};
    till_mailbox_post(mailbox, &letter->mail);
}

static void *post_many(void *arg)
{
    for (unsigned i = 1; i <= EACH; i++)
        post((unsigned)(uintptr_t)arg, i);
    return NULL;
}

static bool is_all_delivered(void *data)
{
    (void)data;
    return delivered == THREADS * EACH;
}

START_TEST(messages_of_many_threads_all_come_in_order)
{
    pthread_t threads[THREADS];

    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, post_many, (void *)i);
    ck_assert(till_test_until(loop, is_all_delivered, NULL, 30000));
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    till_mailbox_destroy(mailbox);
    till_loop_destroy(loop);
}
END_TEST

START_TEST(what_is_not_delivered_yet_is_delivered_by_destroy)
{
    post(0, 1);
    post(0, 2);
    ck_assert_uint_eq(delivered, 0);
    till_mailbox_destroy(mailbox);
    ck_assert_uint_eq(delivered, 2);
    till_loop_destroy(loop);
}
END_TEST

static void on_last(till_mail_t *mail)
{
    free(mail);
    delivered++;
    till_mailbox_destroy(mailbox);
}

START_TEST(a_message_may_destroy_the_mailbox)
{
    letter_t *letter = calloc(1, sizeof(*letter));

    letter->mail.deliver = on_last;
    till_mailbox_post(mailbox, &letter->mail);
    post(0, 1); /* behind it, and still delivered */
    while (delivered < 2)
        till_loop_turn(loop, 1000);
    till_loop_destroy(loop);
}
END_TEST

Suite *mailbox_suite(void)
{
    Suite *suite = suite_create("mailbox");
    TCase *tc = tcase_create("mailbox");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, messages_of_many_threads_all_come_in_order);
    tcase_add_test(tc, what_is_not_delivered_yet_is_delivered_by_destroy);
    tcase_add_test(tc, a_message_may_destroy_the_mailbox);
    suite_add_tcase(suite, tc);
    return suite;
}

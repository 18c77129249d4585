/* test_pages.c - see core/vm/pages.h */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "vm/pages.h"

static till_pages_t *pages;

static void setup(void) { pages = till_pages_create(); }

static void teardown(void) { till_pages_destroy(pages); }

static till_slice_t text(const char *what) { return (till_slice_t){what, strlen(what)}; }

static till_request_t get(const char *path, const till_header_t *headers, size_t n)
{
    return (till_request_t){
        .method = text("GET"), .path = text(path), .authority = text("shop"), .headers = headers, .header_count = n};
}

/* From memory that is gone afterwards, as a VM's strings are. */
static void keep(const till_request_t *request, const char *body, uint64_t until_ms)
{
    char type[] = "content-type", json[] = "application/json", copy[64], route[] = "/p/{id}";
    till_header_t header = {{type, 12}, {json, 16}};

    snprintf(copy, sizeof(copy), "%s", body);
    till_pages_keep(
        pages, request,
        &(till_response_t){
            .status = 200, .headers = &header, .header_count = 1, .body = {copy, strlen(body)}, .route = route},
        till_pages_epoch(pages), until_ms);
    memset(copy, 'X', sizeof(copy));
    memset(type, 'X', sizeof(type) - 1);
    memset(json, 'X', sizeof(json) - 1);
    memset(route, 'X', sizeof(route) - 1);
}

START_TEST(a_page_is_given_again_until_its_time)
{
    till_request_t request = get("/p/1", NULL, 0);

    ck_assert_ptr_null(till_pages_find(pages, &request, 0));
    keep(&request, "one", 100);
    const till_response_t *page = till_pages_find(pages, &request, 99);
    ck_assert_ptr_nonnull(page);
    ck_assert_int_eq(page->status, 200);
    ck_assert_mem_eq(page->body.base, "one", 3);
    ck_assert_str_eq(page->route, "/p/{id}");
    ck_assert_uint_eq(page->header_count, 1);
    ck_assert_mem_eq(page->headers[0].name.base, "content-type", 12);
    ck_assert_mem_eq(page->headers[0].value.base, "application/json", 16);
    ck_assert_ptr_null(till_pages_find(pages, &request, 100));
    keep(&request, "two", 200);
    ck_assert_mem_eq(till_pages_find(pages, &request, 100)->body.base, "two", 3);
}
END_TEST

START_TEST(a_drop_takes_what_is_kept_and_what_is_being_made)
{
    till_request_t request = get("/p/1", NULL, 0);
    uint64_t begun = till_pages_epoch(pages);

    keep(&request, "one", 100);
    till_pages_drop(pages);
    ck_assert_ptr_null(till_pages_find(pages, &request, 0));
    till_pages_keep(pages, &request, &(till_response_t){.status = 200, .route = "/"}, begun, 100);
    ck_assert_ptr_null(till_pages_find(pages, &request, 0));
    keep(&request, "two", 100);
    ck_assert_ptr_nonnull(till_pages_find(pages, &request, 0));
}
END_TEST

static const till_header_t ann = {{"authorization", 13}, {"Bearer a", 8}},
                           bob = {{"authorization", 13}, {"Bearer b", 8}};

START_TEST(each_part_of_the_key_tells_pages_apart)
{
    const till_header_t there = {{"origin", 6}, {"https://a", 9}};
    till_request_t base = get("/p/1", &ann, 1), other[] = {base, base, base, base, base, base};

    other[0].path = text("/p/2");
    other[1].query = text("currency=EUR");
    other[2].authority = text("other");
    other[3].headers = &bob;
    other[4].header_count = 0;
    other[5].headers = (till_header_t[]){ann, there};
    other[5].header_count = 2;
    keep(&base, "ann's", 100);
    for (size_t i = 0; i != 6; ++i)
        ck_assert_msg(till_pages_find(pages, &other[i], 0) == NULL, "%zu", i);
    /* what ends here does not begin there */
    keep(&(till_request_t){.method = text("GET"), .path = text("/p"), .query = text("/1")}, "x", 100);
    ck_assert_ptr_null(till_pages_find(pages, &(till_request_t){.method = text("GET"), .path = text("/p/1")}, 0));
}
END_TEST

static const char *const own[] = {"cookie", "if-none-match", "if-match", "range", "if-modified-since"};

/* _i: the header; past them: another method, a body, a credential twice, first an empty one */
START_TEST(requests_of_their_own_are_neither_kept_nor_found)
{
    till_request_t plain = get("/p/1", NULL, 0), odd = plain;
    till_header_t header = {text(_i < 5 ? own[_i] : "x"), text("1")};
    const till_header_t twice[] = {ann, bob}, half[] = {{{"authorization", 13}, {"", 0}}, ann};

    odd.headers = &header;
    odd.header_count = 1;
    if (_i == 5)
        odd.method = text("HEAD");
    if (_i == 6)
        odd.body = text("{}");
    if (_i == 7) {
        odd.headers = twice;
        odd.header_count = 2;
    }
    if (_i == 8) {
        plain.headers = &ann;
        plain.header_count = 1;
        odd.headers = half;
        odd.header_count = 2;
    }
    keep(&odd, "mine", 100);
    ck_assert_ptr_null(till_pages_find(pages, &plain, 0));
    keep(&plain, "all's", 100);
    ck_assert_ptr_nonnull(till_pages_find(pages, &plain, 0));
    ck_assert_ptr_null(till_pages_find(pages, &odd, 0));
}
END_TEST

START_TEST(only_whole_answers_of_a_bounded_size_are_kept)
{
    static char large[70000];
    till_request_t request = get("/p/1", NULL, 0);

    till_pages_keep(pages, &request, &(till_response_t){.status = 404, .route = "/"}, 0, 100);
    till_pages_keep(pages, &request, &(till_response_t){.status = 200, .route = "/", .error = "x"}, 0, 100);
    till_pages_keep(pages, &request, &(till_response_t){.status = 200, .route = "/", .body = {large, sizeof(large)}}, 0,
                    100);
    ck_assert_ptr_null(till_pages_find(pages, &request, 0));
}
END_TEST

/* More than there are places: they take one another's, and none is given for another. */
START_TEST(pages_that_meet_drive_each_other_out)
{
    char path[32];
    unsigned found = 0;

    for (int i = 0; i != 5000; ++i) {
        snprintf(path, sizeof(path), "/p/%d", i);
        till_request_t request = get(path, NULL, 0);
        keep(&request, path, 100);
    }
    for (int i = 0; i != 5000; ++i) {
        snprintf(path, sizeof(path), "/p/%d", i);
        till_request_t request = get(path, NULL, 0);
        const till_response_t *page = till_pages_find(pages, &request, 0);
        if (page == NULL)
            continue;
        ++found;
        ck_assert_uint_eq(page->body.len, strlen(path));
        ck_assert_mem_eq(page->body.base, path, strlen(path));
    }
    ck_assert_uint_gt(found, 500);
    ck_assert_uint_le(found, 1024);
}
END_TEST

START_TEST(the_hottest_are_asked_again_as_they_came)
{
    static const till_header_t both[] = {{{"authorization", 13}, {"Bearer a", 8}}};
    till_request_t cold = get("/cold", NULL, 0), hot = get("/hot", both, 1), over = get("/over", NULL, 0);
    till_asked_t *asked[2];

    keep(&over, "over", 99);
    keep(&cold, "cold", 200);
    keep(&hot, "hot", 200);
    till_pages_find(pages, &hot, 0);
    till_pages_drop(pages);
    keep(&hot, "hot again", 200);
    for (int i = 0; i != 9; ++i)
        till_pages_find(pages, &over, 0);
    ck_assert_uint_eq(till_pages_hottest(pages, 100, asked, 2), 2);
    ck_assert_mem_eq(asked[0]->request.path.base, "/hot", 4);
    ck_assert_mem_eq(asked[1]->request.path.base, "/cold", 5);
    ck_assert_uint_eq(asked[1]->request.header_count, 0);
    ck_assert_ptr_nonnull(till_pages_find(pages, &asked[0]->request, 0)); /* its key is the same */
    free(asked[0]);
    free(asked[1]);
    ck_assert_uint_eq(till_pages_hottest(pages, 100, asked, 1), 1);
    ck_assert_mem_eq(asked[0]->request.path.base, "/hot", 4);
    free(asked[0]);
    ck_assert_uint_eq(till_pages_hottest(pages, 300, asked, 2), 0);
}
END_TEST

Suite *pages_suite(void)
{
    Suite *suite = suite_create("vm/pages");
    TCase *tc = tcase_create("pages");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_page_is_given_again_until_its_time);
    tcase_add_test(tc, a_drop_takes_what_is_kept_and_what_is_being_made);
    tcase_add_test(tc, each_part_of_the_key_tells_pages_apart);
    tcase_add_loop_test(tc, requests_of_their_own_are_neither_kept_nor_found, 0, 9);
    tcase_add_test(tc, only_whole_answers_of_a_bounded_size_are_kept);
    tcase_add_test(tc, the_hottest_are_asked_again_as_they_came);
    tcase_add_test(tc, pages_that_meet_drive_each_other_out);
    suite_add_tcase(suite, tc);
    return suite;
}

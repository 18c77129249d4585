/* shop.h - a whole HTTP server in a process of its own, with a backend that a test can foresee.
 *
 * Paths: /echo says what arrived; /big is 5,000 bytes of JSON with an ETag;
 * /small is short; /empty is 204; /same is 304; /slow waits until it is
 * cancelled or the server drains for 300 ms; /late ran out of time; /none finds
 * nobody who answers; /bad tries to smuggle a header; /names has headers with odd
 * names; /broken fails; /live goes on as a stream; /bulk is 8,008 bytes; /heads has 7 KB of headers.
 */
#ifndef TEST_SUPPORT_SHOP_H
#define TEST_SUPPORT_SHOP_H

#include <check.h>
#include "serve/server.h"

typedef struct test_shop {
    char dir[64]; /* with static/hello.txt */
    bool tls;
    till_serve_opts_t limits; /* preset; change before the start */
    till_metrics_t *metrics;
    unsigned port, ops_port;
    till_admit_t admit; /* likewise; /vip is checkout, else read */
    int send_buffer;    /* of the sockets, in bytes; 0: the system's */
    pid_t pid;
    int leash; /* closed: it drains */
    struct test_clock *clock;
} test_shop_t;

/* The wall clock of the server, which may step. */
struct test_clock {
    int64_t offset_ms;
    int64_t steps_at, step_ms; /* after so many more looks at it the offset becomes this; 0: never */
};

/* What came back. */
typedef struct test_answer {
    long status, connects, http; /* http: CURL_HTTP_VERSION_… */
    char head[4096], body[32768];
    size_t body_len;
} test_answer_t;

/* What is asked; zero is a GET over HTTP/1.1. */
typedef struct test_ask {
    const char *method, *path, *body;
    size_t body_len;
    const char *headers[4];
    bool h2, ops, head;
    long timeout_ms;
} test_ask_t;

void test_shop_init(test_shop_t *shop, bool tls);
void test_shop_start(test_shop_t *shop);
/** Drains it; the test fails unless it ended well (no leak, no finding of the sanitizers). */
void test_shop_stop(test_shop_t *shop);
/** `curl` NULL: a connection of its own. @return CURLcode */
int test_shop_ask(test_shop_t *shop, void *curl, const test_ask_t *ask, test_answer_t *out);
/** The value of a header of the answer, or "" */
const char *test_answer_header(const test_answer_t *answer, const char *name);
/** Waits until the sum of the metric is `value`; the test fails when it does not come. */
void test_metric_reaches(till_metrics_t *metrics, const char *name, const char *labels, double value);
/** A self-signed certificate for localhost. */
void test_make_cert(const char *cert_file, const char *key_file);

#endif

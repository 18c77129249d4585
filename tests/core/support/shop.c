#include <curl/curl.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "support/child.h"
#include "support/shop.h"

/* ---- the backend --------------------------------------------------------- */

struct shop_child {
    till_loop_t *loop;
    till_server_t *server;
    test_shop_t *shop;
    h2o_socket_t *leash;
    bool drained;
};

/* What a till_call_t is here. */
struct fake_call {
    struct shop_child *child;
    till_timer_t timer;
    till_status_t status;
    till_http_done_cb done;
    void *data;
};

static bool is(till_slice_t text, const char *what)
{
    return text.len == strlen(what) && memcmp(text.base, what, text.len) == 0;
}

static void reply(till_http_done_cb done, void *data, int status, const till_header_t *headers, size_t n,
                  const char *body, size_t len)
{
    till_response_t response = {
        .status = status, .headers = headers, .header_count = n, .body = {body, len}, .route = "/fake"};

    done(data, TILL_OK, &response);
}

/* Of two topics, one of them twice. */
static void stream(till_http_done_cb done, void *data)
{
#define TEXT(text)                                                                                                     \
    {                                                                                                                  \
        text, sizeof(text) - 1                                                                                         \
    }
    static const till_live_state_t states[] = {
        {.topic = TEXT("cart:one"), .owner = TEXT("me"), .tag = TEXT("t1"), .json = TEXT("{\"cart\":1}")},
        {.topic = TEXT("stock:two"), .tag = TEXT("t2"), .json = TEXT("{\"stock\":2}")},
        {.topic = TEXT("stock:two"), .tag = TEXT("t2"), .json = TEXT("{\"stock\":2}")}};
    static const till_live_begin_t begin = {TEXT("somebody"), states, 3};
#undef TEXT

    done(data, TILL_OK, &(till_response_t){.status = 200, .route = "/live", .live = &begin});
}

static void echo(const till_request_t *request, till_http_done_cb done, void *data)
{
    till_buf_t out;

    till_buf_init(&out, 0);
    till_buf_printf(&out, "%.*s %.*s ?%.*s", (int)request->method.len, (const char *)request->method.base,
                    (int)request->path.len, (const char *)request->path.base, (int)request->query.len,
                    (const char *)request->query.base);
    till_buf_printf(&out, " body=%.*s peer=%.*s tls=%d trace=%s", (int)request->body.len,
                    (const char *)request->body.base, (int)request->peer.len, (const char *)request->peer.base,
                    request->tls, request->trace.trace_id);
    for (size_t i = 0; i != request->header_count; ++i) {
        if (is(request->headers[i].name, "x-mark"))
            till_buf_printf(&out, " mark=%.*s", (int)request->headers[i].value.len,
                            (const char *)request->headers[i].value.base);
    }
    reply(done, data, 200, NULL, 0, out.base, out.len);
    till_buf_dispose(&out);
}

static void on_call_timer(till_timer_t *timer)
{
    struct fake_call *call = H2O_STRUCT_FROM_MEMBER(struct fake_call, timer, timer);

    if (call->status == TILL_OK)
        reply(call->done, call->data, 200, NULL, 0, "slow", 4);
    else
        call->done(call->data, call->status, NULL);
    if (call->status == TILL_CANCELLED)
        till_metrics_add(call->child->shop->metrics, "test_cancelled_total", NULL, 1);
    free(call);
}

static till_call_t *wait_for(struct shop_child *child, till_status_t status, uint64_t ms, till_http_done_cb done,
                             void *data)
{
    struct fake_call *call = till_calloc(1, sizeof(*call));

    *call = (struct fake_call){.child = child, .status = status, .done = done, .data = data};
    till_timer_start(child->loop, &call->timer, ms, on_call_timer);
    till_metrics_add(child->shop->metrics, "test_started_total", NULL, 1);
    return (till_call_t *)call;
}

static void fake_cancel(till_call_t *opaque)
{
    struct fake_call *call = (struct fake_call *)opaque;

    call->status = TILL_CANCELLED;
    till_timer_start(call->child->loop, &call->timer, 0, on_call_timer);
}

static till_call_t *fake_http(void *data, const till_request_t *request, uint64_t timeout_ms, till_http_done_cb done,
                              void *done_data)
{
    static const till_header_t etag[] = {{{"etag", 4}, {"\"v7\"", 4}},
                                         {{"content-type", 12}, {"application/json", 16}}};
    static const till_header_t bad[] = {{{"x-a", 3}, {"b\r\nx-evil: 1", 12}}, {{"content-length", 14}, {"1", 1}}};
    static const till_header_t names[] = {
        {{"X-Mixed", 7}, {"kept", 4}}, {{"x blank", 7}, {"1", 1}}, {{"x:colon", 7}, {"1", 1}}};
    static char big[5000], bulk[8008], head[7000];
    const till_header_t heads[] = {{{"x-long", 6}, {head, sizeof(head)}}};
    struct shop_child *child = data;

    (void)timeout_ms;
    memset(big, 'a', sizeof(big));
    memset(head, 'X', sizeof(head)); /* Huffman's coding makes it no shorter */
    if (is(request->path, "/slow"))
        return wait_for(child, TILL_OK, is(request->query, "brief") ? 300 : 60000, done, done_data);
    if (is(request->path, "/late"))
        return wait_for(child, TILL_TIMEOUT, 0, done, done_data);
    if (is(request->path, "/in-vain")) /* it only waited, until its time was over */
        return wait_for(child, TILL_OVERLOADED, 0, done, done_data);
    if (is(request->path, "/none"))
        return NULL;
    if (is(request->path, "/bulk")) {
        till_metrics_add(child->shop->metrics, "test_bulk_total", NULL, 1);
        reply(done, done_data, 200, etag, 2, bulk, sizeof(bulk));
        return (till_call_t *)child;
    }
    if (is(request->path, "/big"))
        reply(done, done_data, 200, etag, 2, big, sizeof(big));
    else if (is(request->path, "/small"))
        reply(done, done_data, 200, etag, 2, "{}", 2);
    else if (is(request->path, "/empty"))
        reply(done, done_data, 204, NULL, 0, NULL, 0);
    else if (is(request->path, "/same"))
        reply(done, done_data, 304, etag, 1, NULL, 0);
    else if (is(request->path, "/bad"))
        reply(done, done_data, 200, bad, 2, "fine", 4);
    else if (is(request->path, "/heads"))
        reply(done, done_data, 200, heads, 1, "fine", 4);
    else if (is(request->path, "/names"))
        reply(done, done_data, 200, names, 3, "fine", 4);
    else if (is(request->path, "/live"))
        stream(done, done_data);
    else if (is(request->path, "/broken"))
        done(done_data, TILL_OK,
             &(till_response_t){.status = 500, .route = "/broken", .error = "lua/till/main.lua:1: broken"});
    else
        echo(request, done, done_data);
    return (till_call_t *)child;
}

static const char *fake_generation(void *data)
{
    (void)data;
    return "0123456789abcdef";
}

static till_priority_t fake_priority(void *data, till_slice_t method, till_slice_t path)
{
    (void)data, (void)method;
    return is(path, "/vip") ? TILL_PRIORITY_CHECKOUT : TILL_PRIORITY_READ;
}

static bool fake_is_ready(void *data, till_buf_t *reasons)
{
    (void)data;
    till_buf_puts(reasons, "\"database\":\"does not answer\"");
    return false;
}

/* ---- its clock ------------------------------------------------------------- */

static struct test_clock *wall;

/* In front of the C library's: libh2o reads no other clock. */
int gettimeofday(struct timeval *out, void *zone)
{
    struct timespec now;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    if (wall != NULL) {
        if (wall->steps_at != 0 && --wall->steps_at == 0)
            wall->offset_ms = wall->step_ms;
        us += wall->offset_ms * 1000;
    }
    *out = (struct timeval){us / 1000000, us % 1000000};
    return 0;
}

/* ---- its process ----------------------------------------------------------- */

static void on_drained(void *data)
{
    struct shop_child *child = data;

    child->drained = true;
    till_loop_stop(child->loop);
}

static void on_leash(h2o_socket_t *sock, const char *err)
{
    struct shop_child *child = sock->data;

    (void)err;
    h2o_socket_read_stop(sock);
    till_server_drain(child->server, 2000, on_drained, child);
}

static int serve(test_shop_t *shop, int fd, int ops_fd, int leash)
{
    struct shop_child child = {.loop = till_loop_create(), .shop = shop};
    char cert[96], key[96], folder[96], error[512];
    SSL_CTX *ssl = NULL;
    till_buf_t pem = {NULL};

    snprintf(cert, sizeof(cert), "%s/cert.pem", shop->dir);
    snprintf(key, sizeof(key), "%s/key.pem", shop->dir);
    snprintf(folder, sizeof(folder), "%s/static", shop->dir);
    if (shop->tls && till_tls_read(cert, key, &pem, error, sizeof(error)))
        ssl = till_tls_create(&pem, NULL, error, sizeof(error));
    till_buf_dispose(&pem);
    if (shop->tls && ssl == NULL)
        return 1;
    till_metrics_use_slot(shop->metrics, 1);
    till_server_opts_t opts = {
        .loop = child.loop, .limits = &shop->limits, .metrics = shop->metrics, .ssl = ssl, .static_dir = folder};
    opts.admit = &shop->admit;
    opts.backend = (till_backend_t){.http = fake_http,
                                    .cancel = fake_cancel,
                                    .generation = fake_generation,
                                    .is_ready = fake_is_ready,
                                    .priority = fake_priority,
                                    .data = &child};
    child.server = till_server_create(&opts);
    till_server_listen(child.server, TILL_FACE_PUBLIC, fd);
    till_server_listen(child.server, TILL_FACE_OPS, ops_fd);
    child.leash = h2o_evloop_socket_create(till_loop_h2o(child.loop), leash, H2O_SOCKET_FLAG_DONT_READ);
    child.leash->data = &child;
    h2o_socket_read_start(child.leash, on_leash);
    till_loop_run(child.loop);
    h2o_socket_close(child.leash);
    till_server_destroy(child.server);
    till_loop_turn(child.loop, 0);
    till_loop_destroy(child.loop);
    SSL_CTX_free(ssl);
    return child.drained ? 0 : 1;
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

void test_shop_init(test_shop_t *shop, bool tls)
{
    char path[128];

    *shop = (test_shop_t){.tls = tls};
    test_make_dir(shop->dir);
    snprintf(path, sizeof(path), "%s/static", shop->dir);
    ck_assert_int_eq(mkdir(path, 0755), 0);
    write_file(path, "hello.txt", "hello\n");
    write_file(shop->dir, "secret.txt", "secret\n");
    shop->limits = (till_serve_opts_t){.max_body = 1000,
                                       .max_headers = 8000,
                                       .max_in_flight = 10,
                                       .max_connections = 100,
                                       .header_timeout_ms = 10000,
                                       .send_timeout_ms = 10000,
                                       .idle_timeout_ms = 10000,
                                       .request_timeout_ms = 10000,
                                       .compress_min = 1000};
    shop->metrics = till_metrics_create();
    shop->clock =
        mmap(NULL, sizeof(*shop->clock), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0); /* zeroed */
    ck_assert_ptr_ne(shop->clock, MAP_FAILED);
}

void test_shop_start(test_shop_t *shop)
{
    char cert[96], key[96], error[512];
    int leash[2];
    int fd = till_listen("127.0.0.1:0", 0, 64, error, sizeof(error));
    int ops_fd = till_listen("127.0.0.1:0", 0, 64, error, sizeof(error));

    snprintf(cert, sizeof(cert), "%s/cert.pem", shop->dir);
    snprintf(key, sizeof(key), "%s/key.pem", shop->dir);
    test_make_cert(cert, key);
    if (shop->send_buffer != 0) /* accepted sockets have what the listening one has */
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &shop->send_buffer, sizeof(shop->send_buffer));
    shop->port = till_listen_port(fd);
    shop->ops_port = till_listen_port(ops_fd);
    ck_assert_int_eq(pipe(leash), 0);
    shop->leash = leash[1];
    if ((shop->pid = fork()) == 0) {
        close(leash[1]);
        wall = shop->clock;
        signal(SIGPIPE, SIG_IGN);
        till_log_open("/dev/null");
        int code = serve(shop, fd, ops_fd, leash[0]);
        till_metrics_destroy(shop->metrics);
        close(fd);
        close(ops_fd);
        exit(code);
    }
    close(fd);
    close(ops_fd);
    close(leash[0]);
}

void test_shop_stop(test_shop_t *shop)
{
    int status;

    close(shop->leash);
    ck_assert_int_eq(waitpid(shop->pid, &status, 0), shop->pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the server ended with status %x", status);
    till_metrics_destroy(shop->metrics);
    munmap(shop->clock, sizeof(*shop->clock));
    test_remove_dir(shop->dir);
}

/* ---- the client -------------------------------------------------------------- */

static size_t on_head(char *bytes, size_t size, size_t n, void *data)
{
    test_answer_t *answer = data;
    size_t have = strlen(answer->head);

    snprintf(answer->head + have, sizeof(answer->head) - have, "%.*s", (int)(size * n), bytes);
    return size * n;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *data)
{
    test_answer_t *answer = data;

    ck_assert_uint_lt(answer->body_len + n, sizeof(answer->body));
    memcpy(answer->body + answer->body_len, bytes, size * n);
    answer->body_len += size * n;
    return size * n;
}

static struct curl_slist *set_ask(CURL *curl, test_shop_t *shop, const test_ask_t *ask)
{
    char url[512];
    struct curl_slist *list = NULL;
    bool tls = shop->tls && !ask->ops;

    snprintf(url, sizeof(url), "%s://127.0.0.1:%u%s", tls ? "https" : "http", ask->ops ? shop->ops_port : shop->port,
             ask->path);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, ask->timeout_ms != 0 ? ask->timeout_ms : 20000L);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, ask->h2 ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_NOBODY, (long)ask->head);
    if (!ask->head)
        curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
    if (ask->body != NULL) {
        curl_easy_setopt(curl, CURLOPT_POST, 1L);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, ask->body);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)ask->body_len);
        list = curl_slist_append(list, "Expect:");
    }
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, ask->method);
    for (int i = 0; i != 4 && ask->headers[i] != NULL; ++i)
        list = curl_slist_append(list, ask->headers[i]);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
    return list;
}

int test_shop_ask(test_shop_t *shop, void *given, const test_ask_t *ask, test_answer_t *out)
{
    CURL *curl = given != NULL ? given : curl_easy_init();
    struct curl_slist *list = set_ask(curl, shop, ask);

    *out = (test_answer_t){0};
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_head);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, out);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, out);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &out->status);
    curl_easy_getinfo(curl, CURLINFO_NUM_CONNECTS, &out->connects);
    curl_easy_getinfo(curl, CURLINFO_HTTP_VERSION, &out->http);
    curl_slist_free_all(list);
    if (given == NULL)
        curl_easy_cleanup(curl);
    return (int)code;
}

const char *test_answer_header(const test_answer_t *answer, const char *name)
{
    static char value[512];
    size_t len = strlen(name);

    value[0] = '\0';
    for (const char *line = answer->head; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncasecmp(line, name, len) == 0 && line[len] == ':') {
            snprintf(value, sizeof(value), "%.*s", (int)strcspn(line + len + 2, "\r\n"), line + len + 2);
            break;
        }
    }
    return value;
}

void test_metric_reaches(till_metrics_t *metrics, const char *name, const char *labels, double value)
{
    uint64_t until = till_wall_ms() + 20000;

    while (till_metrics_read(metrics, name, labels) != value) {
        ck_assert_msg(till_wall_ms() < until, "%s stays at %g", name, till_metrics_read(metrics, name, labels));
        usleep(2000);
    }
}

void test_make_cert(const char *cert_file, const char *key_file)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();

    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    X509_NAME *name = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0);
    X509_set_issuer_name(cert, name);
    X509_sign(cert, key, EVP_sha256());
    FILE *file = fopen(cert_file, "w");
    PEM_write_X509(file, cert);
    fclose(file);
    file = fopen(key_file, "w");
    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    X509_free(cert);
    EVP_PKEY_free(key);
}

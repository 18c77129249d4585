/* bench_handler.c - the same answer by a handler in C and by one in Lua, behind the same server; or a key of Redis.
 *
 *     bench_handler c|lua|redis CERT KEY DIR        two workers; says where on standard output, and ends with TERM
 *
 * Both say as JSON what arrived: tests/bench/handler.lua is the one in Lua, and stands as
 * DIR/till/main.lua beside lua/till's prim and util. What differs between the two is
 * what a request pays for LuaJIT: its coroutine, its table, its strings, the way back. With `redis`, DIR is Redis'
 * socket and each request is answered with the value of the key "bench".
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/redis.h"
#include "serve/server.h"
#include "vm/vm.h"

enum { WORKERS = 2 };

static const till_serve_opts_t limits = {
    .backlog = 1024,
    .max_body = 1024 * 1024,
    .max_headers = 32768,
    .max_in_flight = 4096,
    .max_connections = 10000,
    .header_timeout_ms = 10000,
    .idle_timeout_ms = 60000,
    .request_timeout_ms = 10000,
};

static void fail(const char *what)
{
    fprintf(stderr, "bench_handler: %s\n", what);
    exit(1);
}

static void write_member(till_buf_t *out, const char *name, till_slice_t value)
{
    till_buf_printf(out, "%c\"%s\":", out->len == 0 ? '{' : ',', name);
    till_json_write_string(out, value.base, value.len);
}

static till_slice_t agent_of(const till_request_t *request)
{
    for (size_t i = 0; i != request->header_count; ++i) {
        if (request->headers[i].name.len == 10 && memcmp(request->headers[i].name.base, "user-agent", 10) == 0)
            return request->headers[i].value;
    }
    return (till_slice_t){"", 0};
}

static till_call_t *answer_in_c(void *data, const till_request_t *request, uint64_t timeout_ms, till_http_done_cb done,
                                void *done_data)
{
    static const till_header_t headers[] = {{{"content-type", 12}, {"application/json", 16}},
                                            {{"etag", 4}, {"\"1\"", 3}}};
    till_buf_t body;

    (void)data;
    (void)timeout_ms;
    till_buf_init(&body, 0);
    write_member(&body, "agent", agent_of(request));
    write_member(&body, "path", request->path);
    write_member(&body, "request_id", (till_slice_t){request->request_id, strlen(request->request_id)});
    till_buf_putc(&body, '}');
    done(done_data, TILL_OK,
         &(till_response_t){
             .status = 200, .headers = headers, .header_count = 2, .body = {body.base, body.len}, .route = "/echo"});
    till_buf_dispose(&body);
    return NULL;
}

static till_call_t *answer_in_lua(void *data, const till_request_t *request, uint64_t timeout_ms,
                                  till_http_done_cb done, void *done_data)
{
    return till_vm_http(data, request, timeout_ms, done, done_data);
}

/* ---- a key of Redis ---------------------------------------------------------- */

struct get {
    till_http_done_cb done;
    void *data;
};

static void on_value(void *data, till_status_t status, const till_reply_t *reply)
{
    struct get get = *(struct get *)data;
    bool is_there = status == TILL_OK && reply->type == TILL_REPLY_TEXT;

    free(data);
    get.done(get.data, TILL_OK,
             &(till_response_t){.status = is_there ? 200 : 503,
                                .body = {is_there ? reply->text : "", is_there ? reply->len : 0},
                                .route = "/get"});
}

static till_call_t *answer_by_redis(void *data, const till_request_t *request, uint64_t timeout_ms,
                                    till_http_done_cb done, void *done_data)
{
    static const till_slice_t argv[] = {{"GET", 3}, {"bench", 5}};
    struct get *get = till_alloc(sizeof(*get));

    (void)request;
    *get = (struct get){done, done_data};
    return (till_call_t *)till_redis_command(data, 2, argv, timeout_ms, on_value, get);
}

static void cancel_get(till_call_t *call) { till_op_cancel((till_op_t *)call); }

/* ---- the server ---------------------------------------------------------------- */

static void cancel_nothing(till_call_t *call) { (void)call; }

static till_vm_t *load(till_loop_t *loop, const char *dir)
{
    const till_bundle_source_t source = {.lua_dir = dir};
    const till_vm_env_t env = {.loop = loop, .process = "bench"};
    char error[2048];
    till_bundle_t *bundle = till_bundle_read(&source, error, sizeof(error));
    till_vm_t *vm = bundle != NULL ? till_vm_create(bundle, &env, error, sizeof(error)) : NULL;

    if (vm == NULL)
        fail(error);
    till_vm_attach(vm);
    return vm;
}

static till_backend_t backend_of(const char *kind, till_loop_t *loop, const char *dir)
{
    if (strcmp(kind, "lua") == 0)
        return (till_backend_t){.http = answer_in_lua, .cancel = till_call_cancel, .data = load(loop, dir)};
    if (strcmp(kind, "redis") == 0)
        return (till_backend_t){.http = answer_by_redis,
                                .cancel = cancel_get,
                                .data = till_redis_create(loop, &(till_redis_opts_t){.socket = dir})};
    return (till_backend_t){.http = answer_in_c, .cancel = cancel_nothing};
}

static void serve(char **argv, till_metrics_t *metrics, unsigned slot, SSL_CTX *ssl, int fd)
{
    till_loop_t *loop = till_loop_create();
    till_server_opts_t opts = {.loop = loop, .limits = &limits, .metrics = metrics, .ssl = ssl};

    till_metrics_use_slot(metrics, slot);
    opts.backend = backend_of(argv[1], loop, argv[4]);
    till_server_listen(till_server_create(&opts), TILL_FACE_PUBLIC, fd);
    till_log_gather(true);
    till_loop_run(loop);
}

int main(int argc, char **argv)
{
    char error[512];
    int fd;
    SSL_CTX *ssl;
    till_buf_t pem;

    till_buf_init(&pem, 0);
    if (argc != 5)
        fail("c|lua|redis CERT KEY DIR");
    till_log_open("/dev/null");
    if ((fd = till_listen("127.0.0.1:0", 0, limits.backlog, error, sizeof(error))) == -1 ||
        !till_tls_read(argv[2], argv[3], &pem, error, sizeof(error)) ||
        (ssl = till_tls_create(&pem, NULL, error, sizeof(error))) == NULL)
        fail(error);
    signal(SIGPIPE, SIG_IGN);
    till_metrics_t *metrics = till_metrics_create();
    for (unsigned i = 0; i != WORKERS; ++i) {
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            serve(argv, metrics, i + 1, ssl, fd);
        }
    }
    printf("https://127.0.0.1:%u\n", till_listen_port(fd));
    fflush(stdout);
    return wait(NULL) == -1; /* TERM ends us, and the kernel the workers */
}

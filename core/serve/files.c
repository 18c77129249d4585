#include <string.h>
#include "serve/server_priv.h"

/* libh2o's file handler knows ETag, Last-Modified, If-None-Match, HEAD and
 * types, and works on the normalised path, so that ".." is gone before it
 * looks; what it does not say is how long a file may be kept. */
static const char *const no_index[] = {"index.html", NULL};

struct route {
    h2o_handler_t super;
    h2o_iovec_t label;
};

/* Files are one route in the metrics, and change with a release: a browser asks again, with the ETag. */
static int on_file(h2o_handler_t *super, h2o_req_t *req)
{
    till_note_t *note = till_note_of(req);
    const struct route *route = (const struct route *)super;

    memcpy(note->route, route->label.base, route->label.len);
    if (memchr(req->path_normalized.base, '\0', req->path_normalized.len) != NULL) {
        till_respond_problem(req, TILL_NOT_FOUND, NULL, 0);
        return 0;
    }
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CACHE_CONTROL, NULL, H2O_STRLIT("public, max-age=300"));
    return -1;
}

void till_files_register(till_server_t *server, h2o_hostconf_t *host, const char *url, const char *dir)
{
    h2o_pathconf_t *path = h2o_config_register_path(host, url, 0);

    till_respond_register(server, path);
    till_gate_register(server, path);
    struct route *route = (struct route *)h2o_create_handler(path, sizeof(*route));
    route->super.on_req = on_file;
    route->label = h2o_iovec_init(H2O_STRLIT("/static/*"));
    h2o_file_register(path, dir, (const char **)no_index, NULL, 0);
}

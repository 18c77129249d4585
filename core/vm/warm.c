/* warm.c - a generation that is to be served looks at what is asked for, before anybody waits for it.
 *
 * main.warm() has the caches listen; then the pages that the serving generation gave
 * most are made once by the new one. They are GETs whose answer may be kept
 * (vm/pages.h), so nothing but the caches changes by them. One after the other: the
 * loop serves meanwhile. What fails or takes too long is left out, for it is only
 * speed that is lost.
 *
 *   LISTENING --listens--> PAGES --the last one, or out of time--> told, freed
 *       |_______________________________________________________________^
 *                      (out of time, or the VM is retired)
 */
#include <stdlib.h>
#include "base/mem.h"
#include "vm/vm_priv.h"

enum { MOST_PAGES = 16, RECENT_MS = 1000 };

struct warming {
    till_vm_t *vm;
    till_asked_t *pages[MOST_PAGES];
    size_t n, next;
    uint64_t due;
    bool is_inside; /* in till_vm_http, which may have told us already */
    void (*done)(void *data);
    void *data;
};

static void finish(struct warming *warming)
{
    void (*done)(void *data) = warming->done;
    void *data = warming->data;

    for (size_t i = 0; i != warming->n; ++i)
        free(warming->pages[i]);
    free(warming);
    done(data);
}

static uint64_t time_left(const struct warming *warming)
{
    uint64_t now = till_loop_now(warming->vm->env.loop);

    return warming->due > now ? warming->due - now : 0;
}

static void go_on(struct warming *warming);

static void on_page(void *data, till_status_t status, const till_response_t *response)
{
    struct warming *warming = data;

    (void)response;
    if (status == TILL_CANCELLED) /* it is being retired: nothing begins any more */
        warming->next = warming->n;
    if (!warming->is_inside)
        go_on(warming);
}

static void go_on(struct warming *warming)
{
    till_call_t *call = NULL;
    uint64_t left;

    while (call == NULL && warming->next != warming->n && (left = time_left(warming)) != 0) {
        const till_asked_t *page = warming->pages[warming->next++];
        warming->is_inside = true;
        call = till_vm_http(warming->vm, &page->request, left, on_page, warming);
        warming->is_inside = false;
        --warming->vm->served; /* by nobody who waits */
    }
    if (call == NULL)
        finish(warming);
}

static void on_listening(void *data, till_status_t status, const char *text, size_t len)
{
    struct warming *warming = data;

    (void)text;
    (void)len;
    if (status == TILL_CANCELLED)
        warming->next = warming->n;
    go_on(warming);
}

void till_vm_warm(till_vm_t *vm, const till_vm_t *like, uint64_t limit_ms, void (*done)(void *data), void *data)
{
    struct warming *warming = till_calloc(1, sizeof(*warming));
    uint64_t now = till_loop_now(vm->env.loop);

    *warming = (struct warming){.vm = vm, .due = now + limit_ms, .done = done, .data = data};
    warming->n = till_pages_hottest(like->pages, now > RECENT_MS ? now - RECENT_MS : 0, warming->pages, MOST_PAGES);
    if (warming->n == 0)
        finish(warming);
    else
        till_vm_run(vm, "warm", NULL, 0, limit_ms, on_listening, warming);
}

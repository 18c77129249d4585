/* running.c - what a worker is at, for whoever has to say why it stands still; see serve/watch.h.
 *
 * till_vm_running is called in a signal handler: it takes no lock, allocates
 * nothing and trusts no length. What it reads belongs to the thread that it
 * interrupts, so it does not change under it.
 */
#include <string.h>
#include "vm/vm_priv.h"

till_co_t *volatile till_co_running;

void till_co_enter(till_co_t *co, const char *plugin, const char *what)
{
    if (co->depth < TILL_VM_INSIDE)
        co->inside[co->depth] = (struct till_inside){plugin, what};
    ++co->depth;
}

void till_co_leave(till_co_t *co)
{
    if (co->depth != 0)
        --co->depth;
}

struct till_inside till_co_inside(const till_co_t *co)
{
    unsigned depth = co->depth < TILL_VM_INSIDE ? co->depth : TILL_VM_INSIDE;

    return depth != 0 ? co->inside[depth - 1] : (struct till_inside){NULL, NULL};
}

static size_t copy(char *out, size_t size, size_t at, const char *text, size_t len)
{
    for (size_t i = 0; text != NULL && i != len && text[i] != '\0' && at + 1 < size; ++i)
        out[at++] = text[i];
    out[at] = '\0';
    return at;
}

#define COPY(field, text) copy(field, sizeof(field), 0, text, sizeof(field))

/* The route is known to Lua alone. */
static void tell_request(till_running_t *out, const till_request_t *request, bool is_inside)
{
    size_t at;

    COPY(out->request_id, request->request_id);
    if (is_inside)
        return;
    at = copy(out->what, sizeof(out->what), 0, request->method.base, request->method.len);
    at = copy(out->what, sizeof(out->what), at, " ", 1);
    copy(out->what, sizeof(out->what), at, request->path.base, request->path.len);
}

void till_vm_running(till_running_t *out)
{
    const till_co_t *co = till_co_running;

    memset(out, 0, sizeof(*out));
    if (co == NULL)
        return;
    struct till_inside inside = till_co_inside(co);
    COPY(out->plugin, inside.plugin);
    COPY(out->what, inside.plugin != NULL ? inside.what : co->entry);
    COPY(out->trace_id, co->trace.trace_id);
    copy(out->generation, 13, 0, till_vm_generation(co->vm), 12);
    if (co->request != NULL)
        tell_request(out, co->request, inside.plugin != NULL);
}

/* place.c - which line a generation is at while it loads, for the sentence that refuses it.
 *
 * Asked where no Lua may run: in the allocator that says no, in a signal
 * handler of a process that is about to end (serve/check.c). It only reads.
 */
#include <stdio.h>
#include <string.h>
#include "vm/vm_priv.h"

#define LEVELS 100

static till_vm_t *volatile loading; /* read in processes that load one generation and nothing else */

void till_place_begin(till_vm_t *vm, uint64_t until)
{
    vm->load_until = until;
    loading = vm;
}

void till_place_end(till_vm_t *vm)
{
    vm->load_until = 0;
    loading = NULL;
}

static bool is_library(const lua_Debug *at) { return strncmp(at->source, "@lua/till/", 10) == 0; }

bool till_place_of(lua_State *L, char *out, size_t size)
{
    lua_Debug at;
    bool found = false;

    for (int level = 0; level != LEVELS && lua_getstack(L, level, &at); ++level) {
        if (lua_getinfo(L, "Sl", &at) == 0 || at.currentline <= 0 || at.source[0] != '@' || (found && is_library(&at)))
            continue;
        snprintf(out, size, "%s:%d", at.source + 1, at.currentline);
        found = true;
        if (!is_library(&at))
            break;
    }
    return found;
}

void till_place_overrun(till_vm_t *vm, lua_State *L, const char *sentence)
{
    char place[200] = "";

    if (vm->overrun[0] != '\0')
        return;
    bool found = till_place_of(L, place, sizeof(place));
    snprintf(vm->overrun, sizeof(vm->overrun), "%s%s%s", place, found ? ": " : "", sentence);
}

bool till_vm_loading_place(char *out, size_t size)
{
    till_vm_t *vm = loading;
    const char *file = vm != NULL ? vm->compiling : NULL;

    if (file != NULL)
        snprintf(out, size, "%s", file);
    return file != NULL || (vm != NULL && till_place_of(vm->L, out, size));
}

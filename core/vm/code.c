#include "vm/code.h"

#include <lauxlib.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"

#define PLACES 1024
#define KEPT_FOR 2 /* generations */

struct piece {
    struct piece *next;
    uint8_t key[TILL_SHA256_LEN];
    unsigned used_in; /* the number of a generation */
    size_t len;
    char bytes[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all below */
static struct piece *places[PLACES];
static unsigned generation;
static size_t count;

static struct piece **find(const uint8_t key[TILL_SHA256_LEN])
{
    struct piece **at = &places[(key[0] | (unsigned)key[1] << 8) % PLACES];

    while (*at != NULL && memcmp((*at)->key, key, TILL_SHA256_LEN) != 0)
        at = &(*at)->next;
    return at;
}

/* @return LUA_ERRFILE where there is none */
static int load_kept(lua_State *L, const uint8_t key[TILL_SHA256_LEN], const char *chunk)
{
    int rc = LUA_ERRFILE;

    pthread_mutex_lock(&lock);
    struct piece *piece = *find(key);
    if (piece != NULL) {
        piece->used_in = generation;
        rc = luaL_loadbufferx(L, piece->bytes, piece->len, chunk, "b");
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

static int on_piece(lua_State *L, const void *bytes, size_t len, void *data)
{
    (void)L;
    till_buf_append(data, bytes, len);
    return 0;
}

/* Of the function on top. What cannot be kept is compiled again another time. */
static void keep(lua_State *L, const uint8_t key[TILL_SHA256_LEN])
{
    till_buf_t code;

    till_buf_init(&code, 0);
    if (lua_dump(L, on_piece, &code) == 0 && code.len != 0) {
        struct piece *piece = till_alloc(sizeof(*piece) + code.len);
        *piece = (struct piece){.len = code.len};
        memcpy(piece->key, key, TILL_SHA256_LEN);
        memcpy(piece->bytes, code.base, code.len);
        pthread_mutex_lock(&lock);
        struct piece **at = find(key);
        piece->used_in = generation;
        if (*at == NULL) {
            *at = piece;
            ++count;
        } else { /* somebody else was faster */
            free(piece);
        }
        pthread_mutex_unlock(&lock);
    }
    till_buf_dispose(&code);
}

static void key_of(uint8_t key[TILL_SHA256_LEN], const char *chunk, till_slice_t text)
{
    const till_slice_t parts[] = {{chunk, strlen(chunk)}, text};

    till_sha256_parts(key, parts, 2);
}

int till_code_load(lua_State *L, const char *text, size_t len, const char *chunk)
{
    uint8_t key[TILL_SHA256_LEN];
    int rc;

    key_of(key, chunk, (till_slice_t){text, len});
    if ((rc = load_kept(L, key, chunk)) != LUA_ERRFILE)
        return rc;
    rc = luaL_loadbufferx(L, text, len, chunk, "t");
    if (rc == 0)
        keep(L, key);
    return rc;
}

/* @return whether it is kept */
static bool touch(const char *path, till_slice_t text)
{
    char chunk[516];
    uint8_t key[TILL_SHA256_LEN];

    snprintf(chunk, sizeof(chunk), "@%s", path);
    key_of(key, chunk, text);
    pthread_mutex_lock(&lock);
    struct piece *piece = *find(key);
    if (piece != NULL)
        piece->used_in = generation;
    pthread_mutex_unlock(&lock);
    return piece != NULL;
}

static void compile(lua_State *L, const char *path, till_slice_t text)
{
    char chunk[516];

    snprintf(chunk, sizeof(chunk), "@%s", path);
    (void)till_code_load(L, text.base, text.len, chunk); /* what is wrong is told by whoever runs it */
    lua_settop(L, 0);
}

void till_code_warm(const till_bundle_t *bundle, const char *prefix)
{
    lua_State *L = NULL;
    const char *path;
    till_slice_t text;

    for (size_t i = 0; (path = till_bundle_path(bundle, i)) != NULL; ++i) {
        if (strncmp(path, prefix, strlen(prefix)) != 0 || !till_bundle_file(bundle, path, &text) || touch(path, text))
            continue;
        if (L == NULL && (L = luaL_newstate()) == NULL)
            return;
        compile(L, path, text);
    }
    if (L != NULL)
        lua_close(L);
}

void till_code_next(void)
{
    pthread_mutex_lock(&lock);
    ++generation;
    for (size_t i = 0; i != PLACES; ++i) {
        struct piece **at = &places[i];
        while (*at != NULL) {
            struct piece *piece = *at;
            if (generation - piece->used_in <= KEPT_FOR) {
                at = &piece->next;
                continue;
            }
            *at = piece->next;
            free(piece);
            --count;
        }
    }
    pthread_mutex_unlock(&lock);
}

size_t till_code_count(void)
{
    pthread_mutex_lock(&lock);
    size_t n = count;
    pthread_mutex_unlock(&lock);
    return n;
}

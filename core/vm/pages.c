#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "vm/pages.h"

enum { PAGES = 1024, MAX_PAGE = 65536, KEY_PARTS = 5 };

/* What the answer hangs on. `hash` is over all of it. */
struct key {
    till_slice_t parts[KEY_PARTS];
    uint64_t hash;
};

/* One allocation: the headers and every text follow. */
struct page {
    struct key key;
    uint64_t epoch, until_ms;
    unsigned asked; /* how often, since it was first kept here */
    till_response_t response;
    till_header_t headers[];
};

struct till_pages {
    uint64_t epoch;
    unsigned kept; /* in this epoch */
    struct page *places[PAGES];
};

till_pages_t *till_pages_create(void) { return till_calloc(1, sizeof(till_pages_t)); }

void till_pages_destroy(till_pages_t *pages)
{
    if (pages == NULL)
        return;
    for (size_t i = 0; i != PAGES; ++i)
        free(pages->places[i]);
    free(pages);
}

uint64_t till_pages_epoch(const till_pages_t *pages) { return pages->epoch; }

void till_pages_drop(till_pages_t *pages)
{
    ++pages->epoch;
    pages->kept = 0;
}

/* ---- the key -------------------------------------------------------------- */

static bool is(till_slice_t text, const char *what, size_t len)
{
    return text.len == len && memcmp(text.base, what, len) == 0;
}

/* FNV-1a; who makes keys that meet only drives his own pages out. */
static uint64_t hash_of(const struct key *key)
{
    uint64_t hash = 14695981039346656037U;

    for (int i = 0; i != KEY_PARTS; ++i) {
        const uint8_t *at = key->parts[i].base;
        for (size_t n = key->parts[i].len; n != 0; --n)
            hash = (hash ^ *at++) * 1099511628211U;
        hash = (hash ^ key->parts[i].len) * 1099511628211U;
    }
    return hash;
}

/* @return false where the header makes the answer one of its own */
static bool take_header(struct key *key, const till_header_t *header)
{
    static const struct {
        const char *name;
        size_t len;
    } own[] = {{"cookie", 6}, {"if-none-match", 13}, {"if-match", 8}, {"range", 5}, {"if-modified-since", 17}};

    if (is(header->name, "authorization", 13) || is(header->name, "origin", 6)) {
        till_slice_t *part = &key->parts[header->name.len == 6 ? 4 : 3];
        if (part->len != 0 || header->value.len == 0) /* twice, or empty: Lua decides what that is */
            return false;
        *part = header->value;
        return true;
    }
    for (size_t i = 0; i != sizeof(own) / sizeof(own[0]); ++i) {
        if (is(header->name, own[i].name, own[i].len))
            return false;
    }
    return true;
}

/* @return false where the request is none for pages */
static bool make_key(struct key *key, const till_request_t *request)
{
    if (!is(request->method, "GET", 3) || request->body.len != 0)
        return false;
    *key = (struct key){.parts = {request->path, request->query, request->authority}};
    for (size_t i = 0; i != request->header_count; ++i) {
        if (!take_header(key, &request->headers[i]))
            return false;
    }
    key->hash = hash_of(key);
    return true;
}

static bool is_same(const struct key *a, const struct key *b)
{
    if (a->hash != b->hash)
        return false;
    for (int i = 0; i != KEY_PARTS; ++i) {
        if (a->parts[i].len != b->parts[i].len ||
            (a->parts[i].len != 0 && memcmp(a->parts[i].base, b->parts[i].base, a->parts[i].len) != 0))
            return false;
    }
    return true;
}

/* ---- pages ---------------------------------------------------------------- */

const till_response_t *till_pages_find(till_pages_t *pages, const till_request_t *request, uint64_t now_ms)
{
    struct key key;

    if (pages->kept == 0 || !make_key(&key, request))
        return NULL;
    struct page *page = pages->places[key.hash % PAGES];
    if (page == NULL || page->epoch != pages->epoch || now_ms >= page->until_ms || !is_same(&page->key, &key))
        return NULL;
    ++page->asked;
    return &page->response;
}

static size_t size_of(const struct key *key, const till_response_t *response)
{
    size_t size = response->body.len + strlen(response->route) + 1;

    for (int i = 0; i != KEY_PARTS; ++i)
        size += key->parts[i].len;
    for (size_t i = 0; i != response->header_count; ++i)
        size += response->headers[i].name.len + response->headers[i].value.len;
    return size;
}

static till_slice_t put(char **at, till_slice_t text)
{
    till_slice_t out = {*at, text.len};

    if (text.len != 0)
        memcpy(*at, text.base, text.len);
    *at += text.len;
    return out;
}

static struct page *copy(const struct key *key, const till_response_t *response, size_t size)
{
    size_t n = response->header_count;
    struct page *page = till_alloc(sizeof(*page) + n * sizeof(page->headers[0]) + size);
    char *at = (char *)&page->headers[n];

    page->key.hash = key->hash;
    for (int i = 0; i != KEY_PARTS; ++i)
        page->key.parts[i] = put(&at, key->parts[i]);
    page->response = (till_response_t){.status = response->status, .headers = page->headers, .header_count = n};
    for (size_t i = 0; i != n; ++i) {
        page->headers[i].name = put(&at, response->headers[i].name);
        page->headers[i].value = put(&at, response->headers[i].value);
    }
    page->response.body = put(&at, response->body);
    page->response.route = put(&at, (till_slice_t){response->route, strlen(response->route) + 1}).base;
    return page;
}

void till_pages_keep(till_pages_t *pages, const till_request_t *request, const till_response_t *response,
                     uint64_t epoch, uint64_t until_ms)
{
    struct key key;

    if (epoch != pages->epoch || response->status != 200 || response->error != NULL || !make_key(&key, request))
        return;
    size_t size = size_of(&key, response);
    if (size > MAX_PAGE)
        return;
    struct page **place = &pages->places[key.hash % PAGES];
    unsigned asked = *place != NULL && is_same(&(*place)->key, &key) ? (*place)->asked : 0;
    free(*place);
    *place = copy(&key, response, size);
    (*place)->epoch = epoch;
    (*place)->until_ms = until_ms;
    (*place)->asked = asked + 1;
    ++pages->kept;
}

/* ---- what is asked for most ----------------------------------------------- */

/* Into a list of at most `most`, whose first was asked for most. @return how many there are now */
static size_t rank(const struct page **list, size_t n, size_t most, const struct page *page)
{
    size_t at = n;

    while (at != 0 && list[at - 1]->asked < page->asked)
        --at;
    if (at == most)
        return n;
    n += n < most;
    memmove(&list[at + 1], &list[at], (n - at - 1) * sizeof(list[0]));
    list[at] = page;
    return n;
}

static till_asked_t *ask_again(const struct key *key)
{
    static const till_slice_t names[] = {{"authorization", 13}, {"origin", 6}};
    till_asked_t *asked = till_calloc(1, sizeof(*asked) + size_of(key, &(till_response_t){.route = ""}));
    till_request_t *request = &asked->request;
    char *at = asked->text;

    *request = (till_request_t){.method = {"GET", 3}, .peer = {"127.0.0.1", 9}, .request_id = "warm"};
    request->path = put(&at, key->parts[0]);
    request->query = put(&at, key->parts[1]);
    request->authority = put(&at, key->parts[2]);
    request->headers = asked->headers;
    for (int i = 0; i != 2; ++i) {
        if (key->parts[3 + i].len != 0)
            asked->headers[request->header_count++] = (till_header_t){names[i], put(&at, key->parts[3 + i])};
    }
    return asked;
}

size_t till_pages_hottest(const till_pages_t *pages, uint64_t since_ms, till_asked_t **out, size_t most)
{
    const struct page **list = till_calloc(most + 1, sizeof(const struct page *));
    size_t n = 0;

    for (size_t i = 0; i != PAGES; ++i) {
        if (pages->places[i] != NULL && pages->places[i]->until_ms >= since_ms)
            n = rank(list, n, most, pages->places[i]);
    }
    for (size_t i = 0; i != n; ++i)
        out[i] = ask_again(&list[i]->key);
    free(list);
    return n;
}

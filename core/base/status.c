/* status.c - the table of status.h, looked up by number. */
#include <assert.h>
#include "base/status.h"

typedef struct row {
    const char *code;
    const char *title;
    int http;
    bool retry;
} row_t;

static const row_t rows[TILL_STATUS_COUNT] = {
#define ROW(sym, code, retry, http, title) {code, title, http, retry},
    TILL_STATUS_TABLE(ROW)
#undef ROW
};

static const row_t *row_of(till_status_t status)
{
    assert((unsigned)status < TILL_STATUS_COUNT);
    return &rows[(unsigned)status < TILL_STATUS_COUNT ? status : TILL_INTERNAL];
}

const char *till_status_code(till_status_t status) { return row_of(status)->code; }

const char *till_status_title(till_status_t status) { return row_of(status)->title; }

int till_status_http(till_status_t status) { return row_of(status)->http; }

bool till_status_is_retryable(till_status_t status) { return row_of(status)->retry; }

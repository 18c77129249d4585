/* fuzz_data.c - the parser ends with a tree or a sentence; what is a tree has lines that exist. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/data.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void check(const till_data_t *data, int lines)
{
    if (data->line < 1 || data->line > lines)
        abort();
    if (data->text != NULL && strlen(data->text) != data->len)
        abort();
    for (const till_data_t *child = data->child; child != NULL; child = child->next) {
        if (child->key != NULL && till_data_get(data, child->key) != child)
            abort();
        check(child, lines);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char error[256] = "";
    int lines = 1;
    till_data_t *data = till_data_parse((const char *)bytes, len, error, sizeof(error));

    for (size_t i = 0; i != len; ++i)
        lines += bytes[i] == '\n';
    if (data != NULL)
        check(data, lines);
    else if (strncmp(error, "line ", 5) != 0)
        abort();
    till_data_destroy(data);
    return 0;
}

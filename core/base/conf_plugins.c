/* conf_plugins.c - the part of the configuration that belongs to plugins: a tree, kept as it is. */
#include <stdlib.h>
#include <string.h>
#include "base/conf_priv.h"
#include "base/json.h"
#include "base/mem.h"

static bool is_list(const till_data_t *table) { return table->child != NULL && table->child->key == NULL; }

/* Such names could not be told from references to secrets. */
static bool is_reference_name(const char *key) { return strcmp(key, "$env") == 0 || strcmp(key, "$file") == 0; }

bool till_conf_plugins_check(const till_data_t *tree, const char **wrong, int *line)
{
    for (const till_data_t *child = tree->child; child != NULL; child = child->next) {
        *line = child->line;
        *wrong = NULL;
        if ((child->key == NULL) != is_list(tree))
            *wrong = "a table is a list or has names, not both";
        else if (child->key != NULL && is_reference_name(child->key))
            *wrong = "$env and $file are written env(\"...\") and file(\"...\")";
        if (*wrong != NULL || !till_conf_plugins_check(child, wrong, line))
            return false;
    }
    return true;
}

/* ---- setting ---- */

static till_data_t **find_slot(till_data_t *table, const char *key, size_t len)
{
    till_data_t **slot = &table->child;

    while (*slot != NULL &&
           !((*slot)->key != NULL && strlen((*slot)->key) == len && memcmp((*slot)->key, key, len) == 0))
        slot = &(*slot)->next;
    return slot;
}

static till_data_t *table_at(till_data_t *table, const char *key, size_t len)
{
    till_data_t **slot = find_slot(table, key, len);

    if (*slot == NULL) {
        *slot = till_calloc(1, sizeof(**slot));
        (*slot)->type = TILL_DATA_TABLE;
        (*slot)->key = till_strndup(key, len);
    }
    return (*slot)->type == TILL_DATA_TABLE && !is_list(*slot) ? *slot : NULL;
}

static void replace(till_data_t **slot, const char *key, till_data_t *value)
{
    till_data_t *old = *slot;

    value->next = old != NULL ? old->next : NULL;
    value->line = 0; /* of no file */
    free(value->key);
    value->key = till_strdup(key);
    *slot = value;
    if (old != NULL)
        old->next = NULL;
    till_data_destroy(old);
}

bool till_conf_plugins_set(till_data_t *plugins, const char *path, till_data_t *value)
{
    till_data_t *table = plugins;
    const char *dot;

    for (; (dot = strchr(path, '.')) != NULL; path = dot + 1) {
        table = dot != path ? table_at(table, path, (size_t)(dot - path)) : NULL;
        if (table == NULL)
            return false;
    }
    bool plugin_itself = table == plugins;
    if (*path == '\0' || is_reference_name(path) || (plugin_itself && value->type != TILL_DATA_TABLE))
        return false;
    replace(find_slot(table, path, strlen(path)), path, value);
    return true;
}

/* ---- where it stands ---- */

static const till_data_t *named(const till_data_t *table, const char *name, size_t len)
{
    for (const till_data_t *child = table->child; child != NULL; child = child->next) {
        if (child->key != NULL && strlen(child->key) == len && memcmp(child->key, name, len) == 0)
            return child;
    }
    return NULL;
}

static const till_data_t *nth(const till_data_t *list, long n)
{
    const till_data_t *child = list->child;

    while (child != NULL && --n > 0)
        child = child->next;
    return child;
}

int till_conf_plugins_line(const till_data_t *plugins, const char *path)
{
    const till_data_t *at = plugins;
    int line = 0;

    while (*path != '\0') {
        size_t len = strcspn(path, ".[");
        at = *path == '[' ? nth(at, strtol(path + 1, NULL, 10)) : named(at, path, len);
        if (at == NULL)
            break;
        line = at->line;
        path += *path == '[' ? strcspn(path, "]") : len;
        path += strspn(path, "].");
    }
    return line;
}

/* ---- writing ---- */

static int by_key(const void *a, const void *b)
{
    return strcmp((*(till_data_t *const *)a)->key, (*(till_data_t *const *)b)->key);
}

static void write_list(const till_data_t *table, till_buf_t *out)
{
    till_buf_putc(out, '[');
    for (const till_data_t *child = table->child; child != NULL; child = child->next) {
        till_conf_write_tree(child, out);
        if (child->next != NULL)
            till_buf_putc(out, ',');
    }
    till_buf_putc(out, ']');
}

static void write_object(const till_data_t *table, till_buf_t *out)
{
    size_t n = 0;

    for (const till_data_t *child = table->child; child != NULL; child = child->next)
        ++n;
    const till_data_t **sorted = till_calloc(n, sizeof(*sorted));
    n = 0;
    for (const till_data_t *child = table->child; child != NULL; child = child->next)
        sorted[n++] = child;
    qsort(sorted, n, sizeof(*sorted), by_key);

    till_buf_putc(out, '{');
    for (size_t i = 0; i != n; ++i) {
        if (i != 0)
            till_buf_putc(out, ',');
        till_json_write_string(out, sorted[i]->key, strlen(sorted[i]->key));
        till_buf_putc(out, ':');
        till_conf_write_tree(sorted[i], out);
    }
    till_buf_putc(out, '}');
    free(sorted);
}

static void write_reference(const char *kind, const till_data_t *data, till_buf_t *out)
{
    till_buf_printf(out, "{\"%s\":", kind);
    till_json_write_string(out, data->text, data->len);
    till_buf_putc(out, '}');
}

void till_conf_write_tree(const till_data_t *tree, till_buf_t *out)
{
    switch (tree->type) {
    case TILL_DATA_BOOL:
        till_buf_puts(out, tree->boolean ? "true" : "false");
        break;
    case TILL_DATA_NUMBER:
        till_json_write_number(out, tree->number);
        break;
    case TILL_DATA_STRING:
        till_json_write_string(out, tree->text, tree->len);
        break;
    case TILL_DATA_ENV:
        write_reference("$env", tree, out);
        break;
    case TILL_DATA_FILE:
        write_reference("$file", tree, out);
        break;
    case TILL_DATA_TABLE:
        if (is_list(tree))
            write_list(tree, out);
        else
            write_object(tree, out);
        break;
    }
}

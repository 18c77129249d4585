/* conf.c - see conf.h; the options are in conf_table.h, `plugins` in conf_plugins.c. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/conf.h"
#include "base/conf_priv.h"
#include "base/conf_table.h"
#include "base/json.h"
#include "base/mem.h"

#define MAX_FILE (1 << 20)
#define MAX_NAME 64

/* clang-format off */
const till_conf_option_t till_conf_options[] = {
#define INT(name, value, min, max, unit, why) {name, TILL_CONF_INT, value, "", min, max, unit, why},
#define BOOL(name, value, why)                {name, TILL_CONF_BOOL, value, "", 0, 1, "", why},
#define STR(name, value, allowed, why)        {name, TILL_CONF_STR, 0, value, 0, 0, allowed, why},
#define SECRET(name, why)                     {name, TILL_CONF_SECRET, 0, "", 0, 0, "", why},
    TILL_CONF_TABLE(INT, BOOL, STR, SECRET)
};
/* clang-format on */

#define N_OPTIONS (sizeof(till_conf_options) / sizeof(till_conf_options[0]))
const size_t till_conf_n_options = N_OPTIONS;

struct till_conf {
    struct {
        int64_t number;
        char *text; /* of STR and SECRET */
    } values[N_OPTIONS];
    till_data_t *plugins; /* never NULL */
    char *path;           /* of the file; NULL: none */
};

/* Where an assignment comes from, for messages; `path` is NULL for --set. */
typedef struct source {
    const char *path;
    char *error;
    size_t error_size;
} source_t;

__attribute__((format(printf, 3, 4))) static bool fail(const source_t *source, int line, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (source->path != NULL)
        snprintf(source->error, source->error_size, "%s:%d: %s", source->path, line, text);
    else
        snprintf(source->error, source->error_size, "--set: %s", text);
    return false;
}

static size_t find(const char *name)
{
    size_t i = 0;

    while (i != N_OPTIONS && strcmp(till_conf_options[i].name, name) != 0)
        ++i;
    return i;
}

static bool is_section(const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i != N_OPTIONS; ++i)
        if (strncmp(till_conf_options[i].name, name, len) == 0 && till_conf_options[i].name[len] == '.')
            return true;
    return false;
}

static void set_text(till_conf_t *conf, size_t i, const char *text, size_t len)
{
    free(conf->values[i].text);
    conf->values[i].text = till_strndup(text, len);
}

/* ---- one option ---- */

static bool assign_int(till_conf_t *conf, size_t i, const till_data_t *value, const source_t *source)
{
    const till_conf_option_t *option = &till_conf_options[i];

    if (value->type != TILL_DATA_NUMBER || !value->is_int)
        return fail(source, value->line, "%s must be a whole number", option->name);
    if (value->number < (double)option->min || value->number > (double)option->max)
        return fail(source, value->line, "%s must be from %lld to %lld (%s)", option->name, (long long)option->min,
                    (long long)option->max, option->unit);
    conf->values[i].number = (int64_t)value->number;
    return true;
}

static bool assign_bool(till_conf_t *conf, size_t i, const till_data_t *value, const source_t *source)
{
    if (value->type != TILL_DATA_BOOL)
        return fail(source, value->line, "%s must be true or false", till_conf_options[i].name);
    conf->values[i].number = value->boolean;
    return true;
}

/* Whether `text` is one of "a|b|c". */
static bool is_allowed(const char *allowed, const char *text)
{
    size_t len = strlen(text);

    for (const char *p = allowed; len != 0 && (p = strstr(p, text)) != NULL; p += len)
        if ((p == allowed || p[-1] == '|') && (p[len] == '|' || p[len] == '\0'))
            return true;
    return *allowed == '\0';
}

static bool assign_str(till_conf_t *conf, size_t i, const till_data_t *value, const source_t *source)
{
    const till_conf_option_t *option = &till_conf_options[i];

    if (value->type != TILL_DATA_STRING)
        return fail(source, value->line, "%s must be text", option->name);
    if (!is_allowed(option->unit, value->text))
        return fail(source, value->line, "%s must be one of %s", option->name, option->unit);
    set_text(conf, i, value->text, value->len);
    return true;
}

static bool assign_secret(till_conf_t *conf, size_t i, const till_data_t *value, const source_t *source)
{
    const char *name = till_conf_options[i].name;
    char why[192];

    switch (value->type) {
    case TILL_DATA_STRING:
        set_text(conf, i, value->text, value->len);
        return true;
    case TILL_DATA_ENV:
    case TILL_DATA_FILE:
        free(conf->values[i].text);
        conf->values[i].text = till_conf_secret(value->type, value->text, why, sizeof(why));
        if (conf->values[i].text != NULL)
            return true;
        conf->values[i].text = till_strdup("");
        return fail(source, value->line, "%s: %s", name, why);
    default:
        return fail(source, value->line, "%s must be text, env(\"...\") or file(\"...\")", name);
    }
}

static bool assign(till_conf_t *conf, size_t i, const till_data_t *value, const source_t *source)
{
    switch (till_conf_options[i].type) {
    case TILL_CONF_INT:
        return assign_int(conf, i, value, source);
    case TILL_CONF_BOOL:
        return assign_bool(conf, i, value, source);
    case TILL_CONF_STR:
        return assign_str(conf, i, value, source);
    default:
        return assign_secret(conf, i, value, source);
    }
}

/* ---- secrets ---- */

char *till_conf_read_file(const char *path, size_t max, size_t *len, char *why, size_t why_size)
{
    till_buf_t buf;
    char piece[4096];
    FILE *file = fopen(path, "re");
    struct stat st;

    if (file == NULL || fstat(fileno(file), &st) != 0 || S_ISDIR(st.st_mode)) {
        snprintf(why, why_size, "cannot read %s: %s", path, file == NULL ? strerror(errno) : "a directory");
        if (file != NULL)
            fclose(file);
        return NULL;
    }
    till_buf_init(&buf, max);
    for (size_t n; (n = fread(piece, 1, sizeof(piece), file)) != 0;)
        till_buf_append(&buf, piece, n);
    bool done = !ferror(file) && !buf.overflowed;
    fclose(file);
    explicit_bzero(piece, sizeof(piece));
    *len = buf.len;
    char *text = till_buf_take(&buf);
    if (done)
        return text;
    snprintf(why, why_size, "cannot read %s: it is too large or broken", path);
    free(text);
    return NULL;
}

char *till_conf_secret(till_data_type_t type, const char *name, char *why, size_t why_size)
{
    size_t len;

    if (type == TILL_DATA_ENV) {
        const char *value = getenv(name);
        if (value != NULL)
            return till_strdup(value);
        snprintf(why, why_size, "the environment has no %s", name);
        return NULL;
    }
    char *text = till_conf_read_file(name, 1 << 16, &len, why, why_size);
    while (text != NULL && len != 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        text[--len] = '\0';
    return text;
}

/* ---- the file ---- */

static bool take_plugins(till_conf_t *conf, till_data_t *value, const source_t *source)
{
    const char *wrong;
    int line;

    if (value->type != TILL_DATA_TABLE)
        return fail(source, value->line, "plugins must be a table");
    if (!till_conf_plugins_check(value, &wrong, &line))
        return fail(source, line, "plugins: %s", wrong);
    /* the children change hands, the node itself stays in the document */
    conf->plugins->child = value->child;
    value->child = NULL;
    return true;
}

static bool walk_section(till_conf_t *conf, const char *section, till_data_t *table, const source_t *source);

static bool walk_entry(till_conf_t *conf, const char *section, till_data_t *entry, const source_t *source)
{
    char name[MAX_NAME];

    if (entry->key == NULL)
        return fail(source, entry->line, "a value without a name");
    int len = snprintf(name, sizeof(name), "%s%s%s", section, *section != '\0' ? "." : "", entry->key);
    if (strcmp(name, "plugins") == 0)
        return take_plugins(conf, entry, source);
    size_t i = find(name);
    if (len < (int)sizeof(name) && i != N_OPTIONS)
        return assign(conf, i, entry, source);
    if (!is_section(name))
        return fail(source, entry->line, "there is no option %s", name);
    if (entry->type != TILL_DATA_TABLE)
        return fail(source, entry->line, "%s must be a table of options", name);
    return walk_section(conf, name, entry, source);
}

static bool walk_section(till_conf_t *conf, const char *section, till_data_t *table, const source_t *source)
{
    for (till_data_t *entry = table->child; entry != NULL; entry = entry->next)
        if (!walk_entry(conf, section, entry, source))
            return false;
    return true;
}

static bool load_file(till_conf_t *conf, const char *path, char *error, size_t error_size)
{
    const source_t source = {path, error, error_size};
    char why[192];
    size_t len;
    char *text = till_conf_read_file(path, MAX_FILE, &len, why, sizeof(why));

    if (text == NULL) {
        snprintf(error, error_size, "%s", why);
        return false;
    }
    till_data_t *root = till_data_parse(text, len, why, sizeof(why));
    explicit_bzero(text, len);
    free(text);
    if (root == NULL) {
        snprintf(error, error_size, "%s: %s", path, why);
        return false;
    }
    bool done = walk_section(conf, "", root, &source);
    till_data_destroy(root);
    return done;
}

/* ---- --set ---- */

static till_data_t *make_string(const char *text)
{
    till_data_t *node = till_calloc(1, sizeof(*node));

    node->type = TILL_DATA_STRING;
    node->text = till_strdup(text);
    node->len = strlen(text);
    return node;
}

/* `text` as a Lua value, else as the string that it is. */
static till_data_t *parse_set_value(const char *text, bool wants_string)
{
    char why[128];
    till_buf_t buf;

    till_buf_init(&buf, 0);
    till_buf_printf(&buf, "{%s\n}", text);
    till_data_t *table = till_data_parse(buf.base, buf.len, why, sizeof(why));
    till_buf_dispose(&buf);

    till_data_t *value = table != NULL ? table->child : NULL;
    bool single = value != NULL && value->next == NULL && value->key == NULL;
    bool is_text =
        single && (value->type == TILL_DATA_STRING || value->type == TILL_DATA_ENV || value->type == TILL_DATA_FILE);
    if (!single || (wants_string && !is_text)) {
        till_data_destroy(table);
        return make_string(text);
    }
    table->child = NULL;
    till_data_destroy(table);
    return value;
}

static bool set_option(till_conf_t *conf, const char *name, const char *text, const source_t *source)
{
    size_t i = find(name);

    if (i == N_OPTIONS)
        return fail(source, 0, "there is no option %s", name);
    bool wants_string = till_conf_options[i].type == TILL_CONF_STR || till_conf_options[i].type == TILL_CONF_SECRET;
    till_data_t *value = parse_set_value(text, wants_string);
    bool done = assign(conf, i, value, source);
    till_data_destroy(value);
    return done;
}

static bool set_plugin(till_conf_t *conf, const char *path, const char *text, const source_t *source)
{
    till_data_t *value = parse_set_value(text, false);
    const char *wrong;
    int line;

    if (value->type == TILL_DATA_TABLE && !till_conf_plugins_check(value, &wrong, &line)) {
        till_data_destroy(value);
        return fail(source, 0, "plugins.%s: %s", path, wrong);
    }
    if (till_conf_plugins_set(conf->plugins, path, value))
        return true;
    till_data_destroy(value);
    return fail(source, 0, "plugins.%s cannot be set", path);
}

bool till_conf_set(till_conf_t *conf, const char *assignment, char *error, size_t error_size)
{
    const source_t source = {NULL, error, error_size};
    const char *equals = strchr(assignment, '=');

    if (equals == NULL)
        return fail(&source, 0, "%s: name=value is expected", assignment);
    char *name = till_strndup(assignment, (size_t)(equals - assignment));
    bool done = strncmp(name, "plugins.", 8) == 0 ? set_plugin(conf, name + 8, equals + 1, &source)
                                                  : set_option(conf, name, equals + 1, &source);
    free(name);
    return done;
}

/* ---- life ---- */

static till_conf_t *create_default(void)
{
    till_conf_t *conf = till_calloc(1, sizeof(*conf));

    for (size_t i = 0; i != N_OPTIONS; ++i) {
        conf->values[i].number = till_conf_options[i].number;
        conf->values[i].text = till_strdup(till_conf_options[i].text);
    }
    conf->plugins = till_calloc(1, sizeof(*conf->plugins));
    conf->plugins->type = TILL_DATA_TABLE;
    return conf;
}

till_conf_t *till_conf_load(const char *path, const char *const *sets, size_t n, char *error, size_t error_size)
{
    till_conf_t *conf = create_default();
    bool done = path == NULL || load_file(conf, path, error, error_size);

    conf->path = path != NULL ? till_strdup(path) : NULL;
    for (size_t i = 0; done && i != n; ++i)
        done = till_conf_set(conf, sets[i], error, error_size);
    if (done)
        return conf;
    till_conf_destroy(conf);
    return NULL;
}

void till_conf_destroy(till_conf_t *conf)
{
    if (conf == NULL)
        return;
    for (size_t i = 0; i != N_OPTIONS; ++i) {
        explicit_bzero(conf->values[i].text, strlen(conf->values[i].text));
        free(conf->values[i].text);
    }
    till_data_destroy(conf->plugins);
    free(conf->path);
    free(conf);
}

/* ---- reading ---- */

/* Asking for what is not in the table, or as another type, is a bug. */
static size_t must_find(const char *name, unsigned types)
{
    size_t i = find(name);

    if (i != N_OPTIONS && (types & 1U << till_conf_options[i].type) != 0)
        return i;
    fprintf(stderr, "moontill: there is no option %s of this type\n", name);
    abort();
}

int64_t till_conf_int(const till_conf_t *conf, const char *name)
{
    return conf->values[must_find(name, 1U << TILL_CONF_INT)].number;
}

bool till_conf_bool(const till_conf_t *conf, const char *name)
{
    return conf->values[must_find(name, 1U << TILL_CONF_BOOL)].number != 0;
}

const char *till_conf_str(const till_conf_t *conf, const char *name)
{
    return conf->values[must_find(name, 1U << TILL_CONF_STR | 1U << TILL_CONF_SECRET)].text;
}

void till_conf_plugins_json(const till_conf_t *conf, till_buf_t *out) { till_conf_write_tree(conf->plugins, out); }

bool till_conf_plugin_place(const till_conf_t *conf, const char *path, char *out, size_t size)
{
    int line = conf->path != NULL ? till_conf_plugins_line(conf->plugins, path) : 0;

    if (line != 0)
        snprintf(out, size, "%s:%d", conf->path, line);
    return line != 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(till_conf_options[*(const size_t *)a].name, till_conf_options[*(const size_t *)b].name);
}

static void write_option(const till_conf_t *conf, size_t i, till_buf_t *out)
{
    const till_conf_option_t *option = &till_conf_options[i];

    till_json_write_string(out, option->name, strlen(option->name));
    till_buf_putc(out, ':');
    if (option->type == TILL_CONF_INT)
        till_json_write_number(out, (double)conf->values[i].number);
    else if (option->type == TILL_CONF_BOOL)
        till_buf_puts(out, conf->values[i].number != 0 ? "true" : "false");
    else
        till_json_write_string(out, conf->values[i].text, strlen(conf->values[i].text));
}

void till_conf_diff(const till_conf_t *a, const till_conf_t *b, till_buf_t *names)
{
    for (size_t i = 0; i != N_OPTIONS; ++i) {
        const char *x = a->values[i].text, *y = b->values[i].text;
        bool is_same =
            a->values[i].number == b->values[i].number && (x == NULL || y == NULL ? x == y : strcmp(x, y) == 0);
        if (!is_same)
            till_buf_printf(names, "%s%s", names->len != 0 ? " " : "", till_conf_options[i].name);
    }
}

void till_conf_options_json(const till_conf_t *conf, till_buf_t *out)
{
    size_t order[N_OPTIONS];
    const char *separator = "{";

    for (size_t i = 0; i != N_OPTIONS; ++i)
        order[i] = i;
    qsort(order, N_OPTIONS, sizeof(order[0]), by_name);
    for (size_t i = 0; i != N_OPTIONS; ++i) {
        if (till_conf_options[order[i]].type == TILL_CONF_SECRET)
            continue;
        till_buf_puts(out, separator);
        write_option(conf, order[i], out);
        separator = ",";
    }
    till_buf_putc(out, '}');
}

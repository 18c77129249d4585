/* conf_priv.h - what conf.c, conf_plugins.c and their test share. */
#ifndef TILL_BASE_CONF_PRIV_H
#define TILL_BASE_CONF_PRIV_H

#include "base/buf.h"
#include "base/data.h"

typedef enum till_conf_type { TILL_CONF_INT, TILL_CONF_BOOL, TILL_CONF_STR, TILL_CONF_SECRET } till_conf_type_t;

typedef struct till_conf_option {
    const char *name;
    till_conf_type_t type;
    int64_t number;   /* the default of INT and BOOL */
    const char *text; /* the default of STR */
    int64_t min, max; /* of INT */
    const char *unit; /* of INT; of STR: what is allowed, "a|b|c", or "" */
    const char *why;
} till_conf_option_t;

extern const till_conf_option_t till_conf_options[];
extern const size_t till_conf_n_options;

/** A whole file. @return text of the caller's, or NULL with a sentence in `why` */
char *till_conf_read_file(const char *path, size_t max, size_t *len, char *why, size_t why_size);
/** What env(name) or file(name) stands for. @return as above */
char *till_conf_secret(till_data_type_t type, const char *name, char *why, size_t why_size);

/** Each table is a list or has names, not both. @return false with what is wrong and where */
bool till_conf_plugins_check(const till_data_t *tree, const char **wrong, int *line);
/** Puts `value`, which the tree then owns, at "plugin.option.deeper". @return false when a part is no table */
bool till_conf_plugins_set(till_data_t *plugins, const char *path, till_data_t *value);
/** The line of the deepest part of `path` that is there; 0: none is, or not from the file. */
int till_conf_plugins_line(const till_data_t *plugins, const char *path);
/** As JSON with sorted keys; env() and file() as {"$env":…} and {"$file":…}. */
void till_conf_write_tree(const till_data_t *tree, till_buf_t *out);

#endif

/* conf.h - the one configuration: conf/moontill.lua, checked against the table of options.
 *
 * The table in conf.c (TILL_CONF_TABLE) names every option with type, default,
 * range, unit and reason; conf/moontill.lua shows them all and a test holds the
 * two together. An unknown option, a wrong type or a value out of range is
 * refused with file and line. `plugins = { ["name"] = {...} }` is kept as a
 * tree: the plugin's own manifest checks it. Values come, the later winning,
 * from the defaults, the file, and `--set a.b.c=value` (parsed as Lua data,
 * else taken as a string).
 *
 * Thread: read-only after load; shared by all.
 */
#ifndef TILL_BASE_CONF_H
#define TILL_BASE_CONF_H

#include "base/buf.h"
#include "base/data.h"

typedef struct till_conf till_conf_t;

/**
 * @param path  the file, or NULL for defaults alone
 * @param sets  `n` strings "dotted.name=value", borrowed
 * @return a configuration to be destroyed, or NULL with a sentence in `error`
 */
till_conf_t *till_conf_load(const char *path, const char *const *sets, size_t n, char *error, size_t error_size);
void till_conf_destroy(till_conf_t *conf);

/* The name must be in the table: another is a bug and aborts. Strings are borrowed from `conf`. */
int64_t till_conf_int(const till_conf_t *conf, const char *name);
bool till_conf_bool(const till_conf_t *conf, const char *name);
const char *till_conf_str(const till_conf_t *conf, const char *name); /* secrets are resolved at load */
/** Sets one option after the load (the dev command fills in sockets). @return false and a sentence if refused */
bool till_conf_set(till_conf_t *conf, const char *assignment, char *error, size_t error_size);
/** Appends the names of the options in which the two differ, with blanks between; plugins aside. */
void till_conf_diff(const till_conf_t *a, const till_conf_t *b, till_buf_t *names);
/** `plugins` as JSON, sorted; secrets stay references: {"$env":"NAME"} or {"$file":"/path"}. */
void till_conf_plugins_json(const till_conf_t *conf, till_buf_t *out);
/** Where `plugins.<path>` stands ("promo-x.rates[2].percent"), or as much of the path as is there: "file:line".
 * @return false where it does not come from a file */
bool till_conf_plugin_place(const till_conf_t *conf, const char *path, char *out, size_t size);
/** All options but secrets as JSON {"server.listen": ...}, sorted by name, for Lua's till.prim.conf. */
void till_conf_options_json(const till_conf_t *conf, till_buf_t *out);

#endif

/* bundle.h - what a generation is made of: named files, and a name for them all.
 *
 * A bundle holds every Lua file of the library and of the plugins and the
 * plugins' configuration, as one immutable piece of bytes. Its name is the
 * SHA-256 of its content: identical content is the same generation. It is kept
 * in the database (lua/till/store/generations.lua); DIR/generations/NAME is this
 * machine's copy, from which all workers load the very same bytes, whatever an
 * editor does to the folders meanwhile.
 *
 * Paths inside: "lua/till/...", "plugins/<name>/...", "conf/plugins.json",
 * "rules/<name>.lua" and "rules/<name>.json" (merchants' rules, which no folder
 * holds: they come from the generation before), and "tests/..." for the spec
 * command only. Specs (*_spec.lua) are left out, and so
 * is everything whose name begins with a dot or is not Lua.
 */
#ifndef TILL_VM_BUNDLE_H
#define TILL_VM_BUNDLE_H

#include "base/buf.h"
#include "base/conf.h"
#include "base/hash.h"

typedef struct till_bundle till_bundle_t;

typedef struct till_bundle_source {
    const char *lua_dir;            /* holds till/ */
    const char *const *plugin_dirs; /* each holds <kind>-<name>/ folders; one name twice is refused */
    size_t plugin_dir_count;
    const till_conf_t *conf;    /* NULL: no plugins.json */
    const char *tests_dir;      /* NULL, or tests/lua: its files that are no specs, as "tests/..." */
    const till_bundle_t *rules; /* NULL, or whose rules are taken over */
} till_bundle_source_t;

/**
 * Reads the folders. Refused with file and reason: unreadable, over 1 MB, not
 * UTF-8, bytecode, a symlink that leads out of its folder, one plugin name twice.
 * What is being saved meanwhile is read again, for some 200 ms; then it is
 * refused too. Blocks.
 */
till_bundle_t *till_bundle_read(const till_bundle_source_t *source, char *error, size_t error_size);

typedef struct till_bundle_entry {
    const char *path;
    till_slice_t content;
} till_bundle_entry_t;

/** From files in memory, in any order; copied. No path may come twice. */
till_bundle_t *till_bundle_make(const till_bundle_entry_t *entries, size_t n);
/** Writes it (atomically) to DIR/generations/NAME, mode 0600, unless it is there whole. @return 0 or errno */
int till_bundle_save(const till_bundle_t *bundle, const char *dir);
/** Deletes what DIR/generations holds but for the `n` names in `keep`. */
void till_bundle_prune(const char *dir, const char *const *keep, size_t n);
/** Reads one back and checks its name. */
till_bundle_t *till_bundle_load(const char *dir, const char *name, char *error, size_t error_size);
void till_bundle_destroy(till_bundle_t *bundle);

/** 64 hex digits. */
const char *till_bundle_name(const till_bundle_t *bundle);
/** @return false where there is no such file; `content` is borrowed */
bool till_bundle_file(const till_bundle_t *bundle, const char *path, till_slice_t *content);
/** Paths in sorted order; `i` from 0, NULL past the end. */
const char *till_bundle_path(const till_bundle_t *bundle, size_t i);

#endif

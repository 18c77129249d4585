/* bundle.h - what a generation is made of: named files, and a name for them all.
 *
 * A bundle holds every Lua file of the library and of the plugins and the
 * plugins' configuration, as one immutable piece of bytes. Its name is the
 * SHA-256 of its content: identical content is the same generation. The master
 * makes it once, writes it to DIR/generations/NAME, and all workers load the
 * very same bytes, whatever an editor does to the folders meanwhile.
 *
 * Paths inside: "lua/till/...", "plugins/<name>/...", "conf/plugins.json", and
 * "tests/..." for the spec command only. Specs (*_spec.lua) are left out, and so
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
    const till_conf_t *conf; /* NULL: no plugins.json */
    const char *tests_dir;   /* NULL, or tests/lua: its files that are no specs, as "tests/..." */
} till_bundle_source_t;

/**
 * Reads the folders. Refused with file and reason: unreadable, over 1 MB, not
 * UTF-8, bytecode, a symlink that leads out of its folder, one plugin name twice.
 * What is being saved meanwhile is read again, for some 200 ms; then it is
 * refused too. Blocks.
 */
till_bundle_t *till_bundle_read(const till_bundle_source_t *source, char *error, size_t error_size);
/** Writes it (atomically) to DIR/generations/NAME, mode 0600, unless it is there. @return 0 or errno */
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

/* fuzz_conf.c - a configuration file of anybody: options within their ranges, or a sentence with the line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/conf.h"
#include "base/conf_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void check_option(const till_conf_t *conf, const till_conf_option_t *option)
{
    if (option->type == TILL_CONF_INT) {
        int64_t number = till_conf_int(conf, option->name);
        must(number == option->number || (number >= option->min && number <= option->max));
    } else if (option->type == TILL_CONF_BOOL) {
        till_conf_bool(conf, option->name);
    } else {
        must(till_conf_str(conf, option->name) != NULL);
    }
}

static void check(const till_conf_t *conf)
{
    till_buf_t out;

    for (size_t i = 0; i != till_conf_n_options; ++i)
        check_option(conf, &till_conf_options[i]);
    till_buf_init(&out, 0);
    till_conf_plugins_json(conf, &out);
    till_conf_options_json(conf, &out);
    must(out.len != 0);
    till_buf_dispose(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static int fd = -1;
    static char path[64];
    char error[512] = "", set[256];

    if (fd == -1) {
        fd = memfd_create("moontill.lua", 0);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    must(fd != -1 && ftruncate(fd, 0) == 0 && pwrite(fd, bytes, len, 0) == (ssize_t)len);
    till_conf_t *conf = till_conf_load(path, NULL, 0, error, sizeof(error));
    must((conf == NULL) == (error[0] != '\0'));
    if (conf != NULL)
        check(conf);
    till_conf_destroy(conf);

    /* and the same on the command line */
    snprintf(set, sizeof(set), "%.*s", (int)len, (const char *)bytes);
    const char *const sets[] = {set};
    error[0] = '\0';
    conf = till_conf_load(NULL, sets, 1, error, sizeof(error));
    must((conf == NULL) == (error[0] != '\0'));
    till_conf_destroy(conf);
    return 0;
}

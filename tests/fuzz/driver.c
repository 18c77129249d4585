/* driver.c - replays a corpus through a fuzz target without libFuzzer:
 *
 *     fuzz_json FILE-OR-FOLDER...
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "base/conf_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static size_t replayed;

static void replay_file(const char *path)
{
    char why[256];
    size_t len;
    char *bytes = till_conf_read_file(path, 1 << 24, &len, why, sizeof(why));

    if (bytes == NULL) {
        fprintf(stderr, "%s\n", why);
        exit(EXIT_FAILURE);
    }
    /* a copy of the exact size, so that the sanitizer sees one byte too far */
    uint8_t *exact = malloc(len != 0 ? len : 1);
    for (size_t i = 0; i != len; ++i)
        exact[i] = (uint8_t)bytes[i];
    LLVMFuzzerTestOneInput(exact, len);
    free(exact);
    free(bytes);
    ++replayed;
}

static void replay(const char *path)
{
    struct stat st;
    DIR *dir;

    if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
        replay_file(path);
        return;
    }
    if ((dir = opendir(path)) == NULL) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char inside[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(inside, sizeof(inside), "%s/%s", path, entry->d_name);
        replay(inside);
    }
    closedir(dir);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; ++i)
        replay(argv[i]);
    printf("%s: %zu inputs\n", argv[0], replayed);
    return replayed != 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#include <pthread.h>
#include "base/fork.h"

static unsigned count;

static void on_child(void) { ++count; }

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, on_child); }

unsigned till_fork_count(void) { return count; }

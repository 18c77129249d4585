#include "base/hist.h"

#include <time.h>

/* clang-format off */
const double till_hist_bounds[TILL_HIST_BUCKETS] = {
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
};
/* clang-format on */

unsigned till_hist_bucket(double seconds)
{
    unsigned i = 0;

    while (i != TILL_HIST_BUCKETS && seconds > till_hist_bounds[i])
        ++i;
    return i;
}

void till_hist_add(till_hist_t *hist, double seconds)
{
    ++hist->counts[till_hist_bucket(seconds)];
    hist->sum += seconds;
}

double till_hist_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Histogram of durations: 32 steps per power of two, so at most 3 % wide. */

#ifndef LOAD_HISTOGRAM_H
#define LOAD_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BITS 5
#define HISTOGRAM_STEPS (1 << HISTOGRAM_BITS)
#define HISTOGRAM_SIZE ((64 - HISTOGRAM_BITS + 1) * HISTOGRAM_STEPS)

struct histogram {
    uint64_t count;
    uint64_t sum;
    uint64_t max;
    uint64_t steps[HISTOGRAM_SIZE];
};

void histogram_add(struct histogram *histogram, uint64_t value);

/* The value that `share` (0 to 1) of all values do not exceed; 0 when empty. */
uint64_t histogram_quantile(const struct histogram *histogram, double share);

#endif

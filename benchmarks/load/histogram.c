#include "histogram.h"

static unsigned
step_of(uint64_t value)
{
    unsigned power;

    if (value < HISTOGRAM_STEPS)
        return value;
    power = 63 - __builtin_clzll(value) - HISTOGRAM_BITS;
    return ((power + 1) << HISTOGRAM_BITS) + ((value >> power) - HISTOGRAM_STEPS);
}

/* The largest value of a step. */
static uint64_t
top_of(unsigned step)
{
    unsigned power;

    if (step < HISTOGRAM_STEPS)
        return step;
    power = (step >> HISTOGRAM_BITS) - 1;
    return (((uint64_t)(step & (HISTOGRAM_STEPS - 1)) + HISTOGRAM_STEPS + 1) << power)
           - 1;
}

void
histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->count++;
    histogram->sum += value;
    if (value > histogram->max)
        histogram->max = value;
    histogram->steps[step_of(value)]++;
}

uint64_t
histogram_quantile(const struct histogram *histogram, double share)
{
    uint64_t below = 0;
    uint64_t rank = (uint64_t)(share * histogram->count + 0.5);

    if (rank == 0)
        rank = 1;
    for (unsigned step = 0; step < HISTOGRAM_SIZE; step++) {
        below += histogram->steps[step];
        if (below >= rank) {
            uint64_t top = top_of(step);
            return top < histogram->max ? top : histogram->max;
        }
    }
    return histogram->max;
}

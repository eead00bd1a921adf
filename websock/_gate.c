/* Gate: the way of stepping threads to the GIL, without a crowd before it.
 *
 * Whoever waits for the GIL itself wakes up every few milliseconds in order to press
 * its holder; with hundreds of waiters, that is most of what they do, and those who
 * happen to run keep running. So one thread at a time waits for the GIL, and the
 * others wait here, in the order of their arrival. Each thread that has done with the
 * GIL lets one of them pass: a crowd dissolves as fast as work is done.
 *
 * Nobody waits here for long if nobody passes, because callbacks that release the
 * GIL may keep their threads from coming by.
 */

#include "_link.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifdef Py_GIL_DISABLED

void
gate_enter(Gate *Py_UNUSED(gate))
{
}

void
gate_leave(Gate *Py_UNUSED(gate))
{
}

void
gate_pass(Gate *Py_UNUSED(gate))
{
}

#else

/* Longest wait before another look, in nanoseconds. */
static const long LONGEST = 2000000;

void
gate_enter(Gate *gate)
{
    const struct timespec timeout = {.tv_nsec = LONGEST};

    while (atomic_exchange(&gate->entering, 1)) {
        int turn;

        atomic_fetch_add(&gate->waiting, 1);
        turn = atomic_load(&gate->turn);
        /* A pass between the two lines ends the wait at once. */
        if (atomic_load(&gate->entering)) {
            syscall(SYS_futex, &gate->turn, FUTEX_WAIT_PRIVATE, turn, &timeout, NULL,
                    0);
        }
        atomic_fetch_sub(&gate->waiting, 1);
    }
}

void
gate_leave(Gate *gate)
{
    atomic_store(&gate->entering, 0);
}

void
gate_pass(Gate *gate)
{
    if (atomic_load(&gate->waiting)) {
        atomic_fetch_add(&gate->turn, 1);
        syscall(SYS_futex, &gate->turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

#endif

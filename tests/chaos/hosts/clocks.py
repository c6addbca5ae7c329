"""A wrong clock for single processes: a library that stands before the C library's clock.

Whatever a process asks (Python's `time` and `datetime`, and so Django and we, psycopg, libpq), it is told a
wall clock that is off. Steady clocks are not touched, as on a machine whose clock was set wrong. A time
namespace would not do: it has no wall clock of its own.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

OFF_BY = "CLOCK_OFF_BY"
SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long off_by(void) { const char *text = getenv("CLOCK_OFF_BY"); return text ? atol(text) : 0; }

int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += off_by();
    return failed;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

/* The kernel waits by its own clock: this end was reckoned by ours. */
int sem_timedwait(sem_t *semaphore, const struct timespec *until) {
    int (*wait)(sem_t *, const struct timespec *) = dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec real = {until->tv_sec - off_by(), until->tv_nsec};
    return wait(semaphore, &real);
}
"""


def make_library(directory: Path) -> Path:
    """Compile the library into a directory."""
    source, library = directory / "clock.c", directory / "clock.so"
    source.write_text(SOURCE)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def off_by(seconds: int, library: Path) -> dict[str, str]:
    """Return the environment of a process whose clock is off."""
    return {"LD_PRELOAD": str(library), OFF_BY: str(seconds)} if seconds else {}

#include <time.h>

/* Milliseconds of the machine's monotonic clock. */
static double stamp(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

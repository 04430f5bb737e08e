/* What the C programs share: checks that say where they failed, and a database with one record. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "aimdb.h"

/* Returns the line of a condition that does not hold, after saying so. */
#define CHECK(condition)                                                                              \
  do {                                                                                                \
    if (!(condition)) {                                                                               \
      fprintf(stderr, "%s:%d: not so: %s\n  last error: %s\n", __FILE__, __LINE__, #condition,        \
              aimdb_last_error());                                                                    \
      return __LINE__;                                                                                \
    }                                                                                                 \
  } while (0)

#define OK(call) CHECK((call) == AIMDB_OK)

/* Long enough for what should happen, on any machine; for what should not, a while. */
#define LONG_US ((uint64_t)30000000)
#define WHILE_US ((uint64_t)50000)

static inline void sleep_us(uint64_t us) {
  struct timespec time = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
  nanosleep(&time, NULL);
}

/* A database with one record `r` of `size` bytes. */
static inline int one_record(size_t size, aimdb_buffer kind, size_t capacity, aimdb_db **db) {
  aimdb_builder *builder;
  OK(aimdb_builder_new(&builder));
  OK(aimdb_configure_bytes(builder, "r", size, kind, capacity));
  OK(aimdb_shared(builder, "r"));
  OK(aimdb_attach(builder, NULL, db));
  return 0;
}

#define ONE_RECORD(size, kind, capacity, db)                      \
  do {                                                            \
    int line = one_record(size, kind, capacity, db);              \
    if (line != 0) return line;                                   \
  } while (0)

/* Runs inside a function: what it returns is returned, if it is not 0. */
#define RUN(call)                  \
  do {                             \
    int line_of = (call);          \
    if (line_of != 0) return line_of; \
  } while (0)

#endif

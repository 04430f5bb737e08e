/* Shared by the C programs: checks that print where they failed, and a database with one record. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "aimdb.h"

/* Prints a condition that does not hold, and returns its line. */
#define CHECK(condition)                                                                              \
  do {                                                                                                \
    if (!(condition)) {                                                                               \
      fprintf(stderr, "%s:%d: check failed: %s\n  last error: %s\n", __FILE__, __LINE__, #condition,        \
              aimdb_last_error());                                                                    \
      return __LINE__;                                                                                \
    }                                                                                                 \
  } while (0)

#define OK(call) CHECK((call) == AIMDB_OK)

/* LONG_US is a deadline that no machine should reach; WHILE_US lets an unexpected event happen. */
#define LONG_US ((uint64_t)30000000)
#define WHILE_US ((uint64_t)50000)

static inline void sleep_us(uint64_t us) {
  struct timespec time = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
  nanosleep(&time, NULL);
}

/* A database with one record `r` of `size` bytes. */
static inline int one_record(size_t size, aimdb_buffer_kind kind, size_t capacity, aimdb_db **db) {
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

/* Calls a program, and returns its result unless it is 0. */
#define RUN(call)                  \
  do {                             \
    int line_of = (call);          \
    if (line_of != 0) return line_of; \
  } while (0)

#endif

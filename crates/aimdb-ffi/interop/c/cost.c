/* The cost of a call through C: the bench `ffi` measures its time, and a test counts its allocations. */
#include <pthread.h>

#include "check.h"
#include "interop_records.h"

static aimdb_db *database;
static aimdb_producer *producers[2];
static aimdb_consumer *consumers[2];
static int line;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Runs once per process, because the measurement is of the calls only. */
static int open_both(void) {
  aimdb_builder *builder;
  OK(aimdb_builder_new(&builder));
  OK(aimdb_configure_bytes(builder, "bytes", sizeof(struct InteropReading), AIMDB_RING, 64));
  OK(interop_reading_configure(builder, "typed", AIMDB_RING, 64));
  OK(aimdb_attach(builder, NULL, &database));
  OK(aimdb_producer_new(database, "bytes", &producers[0]));
  OK(aimdb_consumer_new(database, "bytes", &consumers[0]));
  OK(aimdb_producer_new(database, "typed", &producers[1]));
  OK(aimdb_consumer_new(database, "typed", &consumers[1]));
  return 0;
}

static void open_once(void) {
  line = open_both();
}

int set_and_get(uint32_t rounds) {
  CHECK(pthread_once(&once, open_once) == 0 && line == 0);
  struct InteropReading reading = {0, 1, 2, {3, 4}}, got;
  for (uint32_t n = 0; n < rounds; n++) {
    reading.number = n;
    if (aimdb_set(producers[0], &reading, sizeof reading) != AIMDB_OK) return __LINE__;
    if (aimdb_try_get(consumers[0], &got, sizeof got) != AIMDB_OK || got.number != n) return __LINE__;
  }
  return 0;
}

int set_and_get_typed(uint32_t rounds) {
  CHECK(pthread_once(&once, open_once) == 0 && line == 0);
  struct InteropReading reading = {0, 1, 2, {3, 4}}, got;
  for (uint32_t n = 0; n < rounds; n++) {
    reading.number = n;
    if (interop_reading_set(producers[1], reading) != AIMDB_OK) return __LINE__;
    if (interop_reading_try_get(consumers[1], &got) != AIMDB_OK || got.number != n) return __LINE__;
  }
  return 0;
}

/* C functions as taps, and the log. */
#include <pthread.h>
#include <stdlib.h>

#include "check.h"
#include "interop_records.h"

/* The user data of a tap. Taps run on threads of the library, so tests and taps share the lock. */
struct tap {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  uint64_t seen;
  uint64_t sum;
  uint64_t lagged;
  int freed;
  /* The tap blocks while this is true. */
  int blocked;
  int inside;
  int32_t returns;
  aimdb_db *db;
  aimdb_producer *producer;
  aimdb_consumer *consumer;
  aimdb_status status;
};

static void init(struct tap *tap) {
  memset(tap, 0, sizeof *tap);
  pthread_mutex_init(&tap->lock, NULL);
  pthread_cond_init(&tap->changed, NULL);
}

static void wait_while_blocked(struct tap *tap) {
  while (tap->blocked) pthread_cond_wait(&tap->changed, &tap->lock);
}

static void set_blocked(struct tap *tap, int blocked) {
  pthread_mutex_lock(&tap->lock);
  tap->blocked = blocked;
  pthread_cond_broadcast(&tap->changed);
  pthread_mutex_unlock(&tap->lock);
}

/* Waits until the tap has seen `seen` values, and `inside` calls of it are blocked. */
static int wait_for(struct tap *tap, uint64_t seen, int inside) {
  for (int tries = 0; tries < 30000; tries++) {
    pthread_mutex_lock(&tap->lock);
    int done = tap->seen >= seen && tap->inside >= inside;
    pthread_mutex_unlock(&tap->lock);
    if (done) return 0;
    sleep_us(1000);
  }
  return __LINE__;
}

static int32_t on_value(void *user, const void *value, size_t size, uint64_t lagged) {
  struct tap *tap = user;
  uint64_t number = 0;
  memcpy(&number, value, size < sizeof number ? size : sizeof number);
  pthread_mutex_lock(&tap->lock);
  tap->inside++;
  wait_while_blocked(tap);
  tap->inside--;
  tap->seen++;
  tap->sum += number;
  tap->lagged += lagged;
  int32_t returns = tap->returns;
  pthread_mutex_unlock(&tap->lock);
  if (returns != 0 && aimdb_tap_set_error("no room on the disk") != AIMDB_OK) return 99;
  return returns;
}

static void on_free(void *user) {
  struct tap *tap = user;
  pthread_mutex_lock(&tap->lock);
  tap->freed++;
  pthread_mutex_unlock(&tap->lock);
}

static int freed(struct tap *tap) {
  pthread_mutex_lock(&tap->lock);
  int freed = tap->freed;
  pthread_mutex_unlock(&tap->lock);
  return freed;
}

/* Waits until the library has freed the tap `times` times: its test may not return before, because the tap is on its stack. */
static int wait_until_freed(struct tap *tap, int times) {
  for (int tries = 0; tries < 30000; tries++) {
    if (freed(tap) >= times) return 0;
    sleep_us(1000);
  }
  return __LINE__;
}

static int tapped(aimdb_buffer_kind kind, size_t capacity, aimdb_tap_fn function, struct tap *tap, aimdb_db **db) {
  aimdb_builder *builder;
  OK(aimdb_builder_new(&builder));
  OK(aimdb_configure_bytes(builder, "in", sizeof(uint64_t), kind, capacity));
  OK(aimdb_configure_bytes(builder, "out", sizeof(uint64_t), AIMDB_QUEUE, 4));
  OK(aimdb_tap(builder, "in", function, tap, on_free));
  OK(aimdb_attach(builder, NULL, db));
  OK(aimdb_producer_new(*db, "in", &tap->producer));
  return 0;
}

int a_tap_sees_every_value(void) {
  struct tap tap;
  init(&tap);
  aimdb_db *db;
  RUN(tapped(AIMDB_QUEUE, 4, on_value, &tap, &db));
  for (uint64_t n = 1; n <= 1000; n++) OK(aimdb_set(tap.producer, &n, sizeof n));
  aimdb_report report;
  OK(aimdb_detach(db, LONG_US, &report));
  CHECK(report.clean && report.undelivered == 0 && report.aborted == 0);
  /* No callback runs after the detach, so no lock is needed. */
  CHECK(tap.seen == 1000 && tap.sum == 500500 && tap.lagged == 0);
  CHECK(tap.freed == 1);
  OK(aimdb_producer_free(tap.producer));
  OK(aimdb_db_free(db));
  CHECK(tap.freed == 1);
  return 0;
}

/* The documented alignment and size of a record's values, and the values that its tap received. Read after the detach. */
struct promise {
  size_t alignment;
  size_t size;
  int seen;
  int misaligned;
  int wrong_sizes;
  unsigned char first, last, after;
};

static int32_t on_value_check_address(void *user, const void *value, size_t size, uint64_t lagged) {
  struct promise *promise = user;
  const unsigned char *bytes = value;
  (void)lagged;
  promise->seen++;
  promise->misaligned += (uintptr_t)value % promise->alignment != 0;
  promise->wrong_sizes += size != promise->size;
  promise->first = bytes[0];
  promise->last = bytes[size - 1];
  /* A JSON string is followed by a NUL. */
  promise->after = promise->alignment == 1 ? bytes[size] : 0;
  return 0;
}

struct aligned_as_reading {
  char before;
  struct InteropReading reading;
};

struct aligned_as_point {
  char before;
  struct InteropPoint point;
};

int a_tap_gets_values_aligned_as_promised(void) {
  enum { BYTES = 19, ALL = BYTES + 3, EACH = 16 };
  static const size_t sizes[BYTES] = {1,   2,   3,   7,   8,   9,   16,   17,   33,    65,
                                      128, 129, 257, 512, 513, 1024, 1025, 4097, 100000};
  static const char json[] = "[0.25]";
  static unsigned char value[100000];
  struct promise promises[ALL];
  char keys[ALL][8];
  aimdb_builder *builder;
  aimdb_db *db;
  memset(promises, 0, sizeof promises);
  memset(value, 0x5a, sizeof value);
  OK(aimdb_builder_new(&builder));
  for (int n = 0; n < ALL; n++) {
    struct promise *promise = &promises[n];
    snprintf(keys[n], sizeof keys[n], "r%d", n);
    if (n < BYTES) {
      promise->alignment = 8;
      promise->size = sizes[n];
      OK(aimdb_configure_bytes(builder, keys[n], sizes[n], AIMDB_QUEUE, 4));
    } else if (n == BYTES) {
      promise->alignment = offsetof(struct aligned_as_reading, reading);
      promise->size = sizeof(struct InteropReading);
      OK(interop_reading_configure(builder, keys[n], AIMDB_QUEUE, 4));
    } else if (n == BYTES + 1) {
      promise->alignment = offsetof(struct aligned_as_point, point);
      promise->size = sizeof(struct InteropPoint);
      OK(interop_point_configure(builder, keys[n], AIMDB_QUEUE, 4));
    } else {
      promise->alignment = 1;
      promise->size = strlen(json);
      OK(aimdb_configure_json(builder, keys[n], AIMDB_QUEUE, 4));
    }
    OK(aimdb_tap(builder, keys[n], on_value_check_address, promise, NULL));
  }
  OK(aimdb_attach(builder, NULL, &db));
  for (int n = 0; n < ALL; n++) {
    aimdb_producer *producer;
    OK(aimdb_producer_new(db, keys[n], &producer));
    for (int each = 0; each < EACH; each++) {
      OK(n == ALL - 1 ? aimdb_set_json(producer, json) : aimdb_set(producer, value, promises[n].size));
    }
    OK(aimdb_producer_free(producer));
  }
  aimdb_report report;
  OK(aimdb_detach(db, LONG_US, &report));
  CHECK(report.clean);
  for (int n = 0; n < ALL; n++) {
    struct promise *promise = &promises[n];
    CHECK(promise->seen == EACH && promise->misaligned == 0 && promise->wrong_sizes == 0);
    CHECK(promise->first == (n == ALL - 1 ? '[' : 0x5a) && promise->last == (n == ALL - 1 ? ']' : 0x5a));
    CHECK(promise->after == 0);
  }
  /* The exported types have different alignments. */
  CHECK(promises[BYTES].alignment == 8 || sizeof(void *) < 8);
  CHECK(promises[BYTES + 1].alignment == 4);
  OK(aimdb_db_free(db));
  return 0;
}

int a_tap_that_blocks_delays_no_other_stage(void) {
  struct tap tap;
  init(&tap);
  tap.blocked = 1;
  aimdb_db *db;
  RUN(tapped(AIMDB_RING, 4, on_value, &tap, &db));
  uint64_t value = 1;
  OK(aimdb_set(tap.producer, &value, sizeof value));
  RUN(wait_for(&tap, 0, 1));
  /* Other writers and readers continue. */
  aimdb_producer *producer;
  aimdb_consumer *consumer;
  OK(aimdb_producer_new(db, "out", &producer));
  OK(aimdb_consumer_new(db, "out", &consumer));
  for (value = 0; value < 100; value++) {
    uint64_t got;
    OK(aimdb_set(producer, &value, sizeof value));
    OK(aimdb_get_timeout(consumer, &got, sizeof got, LONG_US));
    CHECK(got == value);
  }
  /* The ring overwrites values that the tap has not read, and counts them as its lag. */
  for (value = 0; value < 10; value++) OK(aimdb_set(tap.producer, &value, sizeof value));
  set_blocked(&tap, 0);
  RUN(wait_for(&tap, 5, 0));
  OK(aimdb_detach(db, LONG_US, NULL));
  CHECK(tap.seen == 5 && tap.lagged == 6);
  CHECK(tap.sum == 1 + 6 + 7 + 8 + 9);
  OK(aimdb_producer_free(tap.producer));
  OK(aimdb_producer_free(producer));
  OK(aimdb_consumer_free(consumer));
  OK(aimdb_db_free(db));
  return 0;
}

/* Writes twice each value to another record, and waits for a value of a third record. */
static int32_t on_value_call_library(void *user, const void *value, size_t size, uint64_t lagged) {
  struct tap *tap = user;
  uint64_t number, answer;
  memcpy(&number, value, size);
  number = 2 * number + lagged;
  pthread_mutex_lock(&tap->lock);
  wait_while_blocked(tap);
  aimdb_producer *producer = tap->producer;
  aimdb_consumer *consumer = tap->consumer;
  pthread_mutex_unlock(&tap->lock);
  aimdb_status set = aimdb_set(producer, &number, sizeof number);
  aimdb_status got = aimdb_get(consumer, &answer, sizeof answer);
  pthread_mutex_lock(&tap->lock);
  tap->status = set != AIMDB_OK ? set : got;
  tap->sum += answer;
  tap->seen++;
  pthread_mutex_unlock(&tap->lock);
  return 0;
}

int a_tap_calls_the_library(void) {
  struct tap tap;
  init(&tap);
  tap.blocked = 1;
  aimdb_builder *builder;
  OK(aimdb_builder_new(&builder));
  OK(aimdb_configure_bytes(builder, "in", sizeof(uint64_t), AIMDB_QUEUE, 4));
  OK(aimdb_configure_bytes(builder, "doubled", sizeof(uint64_t), AIMDB_QUEUE, 4));
  OK(aimdb_configure_bytes(builder, "answer", sizeof(uint64_t), AIMDB_QUEUE, 4));
  OK(aimdb_tap(builder, "in", on_value_call_library, &tap, on_free));
  aimdb_db *db;
  OK(aimdb_attach(builder, NULL, &db));
  OK(aimdb_producer_new(db, "doubled", &tap.producer));
  OK(aimdb_consumer_new(db, "answer", &tap.consumer));
  aimdb_producer *in, *answers;
  aimdb_consumer *doubled;
  OK(aimdb_producer_new(db, "in", &in));
  OK(aimdb_producer_new(db, "answer", &answers));
  OK(aimdb_consumer_new(db, "doubled", &doubled));
  set_blocked(&tap, 0);
  for (uint64_t n = 1; n <= 100; n++) {
    uint64_t got;
    OK(aimdb_set(in, &n, sizeof n));
    OK(aimdb_get_timeout(doubled, &got, sizeof got, LONG_US));
    CHECK(got == 2 * n);
    OK(aimdb_set(answers, &got, sizeof got));
  }
  RUN(wait_for(&tap, 100, 0));
  OK(aimdb_detach(db, LONG_US, NULL));
  CHECK(tap.status == AIMDB_OK && tap.sum == 2 * 5050);
  OK(aimdb_producer_free(tap.producer));
  OK(aimdb_consumer_free(tap.consumer));
  OK(aimdb_producer_free(in));
  OK(aimdb_producer_free(answers));
  OK(aimdb_consumer_free(doubled));
  OK(aimdb_db_free(db));
  return 0;
}

static int32_t on_value_detach(void *user, const void *value, size_t size, uint64_t lagged) {
  struct tap *tap = user;
  (void)value, (void)size, (void)lagged;
  pthread_mutex_lock(&tap->lock);
  wait_while_blocked(tap);
  aimdb_db *db = tap->db;
  pthread_mutex_unlock(&tap->lock);
  aimdb_status detached = aimdb_detach(db, LONG_US, NULL);
  aimdb_status freed = aimdb_db_free(db);
  aimdb_status requested = aimdb_request_shutdown(db);
  pthread_mutex_lock(&tap->lock);
  tap->status = detached == AIMDB_WOULD_DEADLOCK && freed == AIMDB_WOULD_DEADLOCK ? requested : AIMDB_PANIC;
  tap->seen++;
  pthread_mutex_unlock(&tap->lock);
  return 0;
}

int a_tap_cannot_detach_its_own_database(void) {
  struct tap tap;
  init(&tap);
  tap.blocked = 1;
  aimdb_db *db;
  RUN(tapped(AIMDB_QUEUE, 4, on_value_detach, &tap, &db));
  tap.db = db;
  set_blocked(&tap, 0);
  uint64_t value = 1;
  OK(aimdb_set(tap.producer, &value, sizeof value));
  RUN(wait_for(&tap, 1, 0));
  /* The tap has requested the shutdown, which has begun or ended by now. */
  OK(aimdb_detach(db, LONG_US, NULL));
  CHECK(tap.status == AIMDB_OK);
  OK(aimdb_producer_free(tap.producer));
  OK(aimdb_db_free(db));
  return 0;
}

static void *unblock_later(void *user) {
  sleep_us(WHILE_US);
  set_blocked(user, 0);
  return NULL;
}

int a_tap_runs_while_detach_is_under_way(void) {
  struct tap tap;
  init(&tap);
  tap.blocked = 1;
  aimdb_db *db;
  RUN(tapped(AIMDB_QUEUE, 8, on_value, &tap, &db));
  for (uint64_t n = 0; n < 8; n++) OK(aimdb_set(tap.producer, &n, sizeof n));
  RUN(wait_for(&tap, 0, 1));
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, unblock_later, &tap) == 0);
  aimdb_report report;
  OK(aimdb_detach(db, LONG_US, &report));
  CHECK(report.clean && tap.seen == 8 && tap.freed == 1);
  CHECK(pthread_join(thread, NULL) == 0);
  /* A second detach returns the same report. */
  aimdb_report again;
  OK(aimdb_detach(db, 0, &again));
  CHECK(again.clean && again.drained == report.drained);
  OK(aimdb_producer_free(tap.producer));
  OK(aimdb_db_free(db));
  return 0;
}

int a_tap_that_blocks_is_aborted_at_the_deadline(void) {
  struct tap tap;
  init(&tap);
  tap.blocked = 1;
  aimdb_db *db;
  RUN(tapped(AIMDB_QUEUE, 4, on_value, &tap, &db));
  for (uint64_t n = 1; n <= 3; n++) OK(aimdb_set(tap.producer, &n, sizeof n));
  RUN(wait_for(&tap, 0, 1));
  aimdb_report report;
  OK(aimdb_detach(db, WHILE_US, &report));
  CHECK(!report.clean && report.aborted == 1 && report.undelivered == 3);
  char *json;
  OK(aimdb_report_json(db, &json));
  CHECK(strstr(json, "\"aborted\":[{\"owner\":{\"record\":\"in\"},\"stage\":\"tap\"}]") != NULL);
  aimdb_string_free(json);
  CHECK(freed(&tap) == 0);
  OK(aimdb_producer_free(tap.producer));
  OK(aimdb_db_free(db));
  /* The last call of the aborted tap returns, and no other follows. */
  set_blocked(&tap, 0);
  RUN(wait_until_freed(&tap, 1));
  CHECK(freed(&tap) == 1);
  CHECK(tap.seen == 1);
  return 0;
}

int a_tap_that_fails(void) {
  struct tap tap;
  init(&tap);
  tap.returns = 42;
  aimdb_db *db;
  RUN(tapped(AIMDB_QUEUE, 4, on_value, &tap, &db));
  bool healthy = false;
  OK(aimdb_is_healthy(db, &healthy));
  CHECK(healthy);
  uint64_t value = 1;
  OK(aimdb_set(tap.producer, &value, sizeof value));
  for (int tries = 0; tries < 30000 && healthy; tries++) {
    sleep_us(1000);
    OK(aimdb_is_healthy(db, &healthy));
  }
  CHECK(!healthy);
  char *json;
  OK(aimdb_health_json(db, &json));
  CHECK(strstr(json, "its callback returned 42: no room on the disk") != NULL);
  CHECK(aimdb_tap_set_error("not in a callback") == AIMDB_BAD_ARGUMENT);
  aimdb_string_free(json);
  /* A failed tap holds no writer back. */
  for (value = 0; value < 10; value++) OK(aimdb_set(tap.producer, &value, sizeof value));
  aimdb_report report;
  OK(aimdb_detach(db, LONG_US, &report));
  CHECK(report.failures == 1 && tap.seen == 1 && tap.freed == 1);
  OK(aimdb_producer_free(tap.producer));
  OK(aimdb_db_free(db));
  return 0;
}

int data_of_taps_that_never_run_is_freed(void) {
  struct tap tap;
  init(&tap);
  aimdb_builder *builder;
  OK(aimdb_builder_new(&builder));
  /* The library refuses the tap. */
  CHECK(aimdb_tap(builder, "r", on_value, &tap, on_free) == AIMDB_NO_SUCH_RECORD && freed(&tap) == 1);
  CHECK(aimdb_tap(builder, NULL, on_value, &tap, on_free) == AIMDB_NULL && freed(&tap) == 2);
  CHECK(aimdb_tap(NULL, "r", on_value, &tap, on_free) == AIMDB_NULL && freed(&tap) == 3);
  OK(aimdb_configure_bytes(builder, "r", 8, AIMDB_RING, 0));
  CHECK(aimdb_tap(builder, "r", NULL, &tap, on_free) == AIMDB_NULL && freed(&tap) == 4);
  /* The graph is not valid, so the tap never runs. */
  OK(aimdb_tap(builder, "r", on_value, &tap, on_free));
  CHECK(freed(&tap) == 4);
  aimdb_db *db;
  CHECK(aimdb_attach(builder, NULL, &db) == AIMDB_BAD_GRAPH && freed(&tap) == 5);
  CHECK(strstr(aimdb_last_error(), "capacity") != NULL);
  CHECK(aimdb_builder_free(builder) == AIMDB_BAD_HANDLE);
  /* The builder is freed without an attach. */
  OK(aimdb_builder_new(&builder));
  OK(aimdb_configure_json(builder, "r", AIMDB_LATEST, 0));
  OK(aimdb_tap(builder, "r", on_value, &tap, on_free));
  OK(aimdb_builder_free(builder));
  CHECK(freed(&tap) == 6);
  return 0;
}

/* The user data of a log callback. The callback belongs to the process: it also receives lines of other tests' databases, and
   of stages that end after the test has looked, on several threads at once. So each access takes the lock, a test looks for
   lines of its own, and the struct is static, because a call may still run after its test has failed. */
struct log {
  pthread_mutex_t lock;
  /* Only lines that contain this text count. */
  const char *wanted;
  int lines;
  int wrong_levels;
  char last[200];
  int freed;
};

#define LOG(wanted) {PTHREAD_MUTEX_INITIALIZER, wanted, 0, 0, "", 0}

static void on_line(void *user, aimdb_log_level level, const char *message) {
  struct log *log = user;
  pthread_mutex_lock(&log->lock);
  log->wrong_levels += level < AIMDB_LOG_ERROR || level > AIMDB_LOG_WARN;
  if (strstr(message, log->wanted) != NULL) {
    log->lines++;
    strncpy(log->last, message, sizeof log->last - 1);
  }
  pthread_mutex_unlock(&log->lock);
}

static void on_log_freed(void *user) {
  struct log *log = user;
  pthread_mutex_lock(&log->lock);
  log->freed++;
  pthread_mutex_unlock(&log->lock);
}

/* A snapshot of the log: counters, and the last line that counted. */
struct seen {
  int lines;
  int wrong_levels;
  char last[sizeof ((struct log *)0)->last];
  int freed;
};

static struct seen snapshot(struct log *log) {
  struct seen seen;
  pthread_mutex_lock(&log->lock);
  seen.lines = log->lines;
  seen.wrong_levels = log->wrong_levels;
  memcpy(seen.last, log->last, sizeof seen.last);
  seen.freed = log->freed;
  pthread_mutex_unlock(&log->lock);
  return seen;
}

int the_log_reaches_its_callback(void) {
  static struct log log = LOG("seen_by_the_callback");
  CHECK(aimdb_set_log(on_line, 9, &log, on_log_freed) == AIMDB_BAD_ARGUMENT && snapshot(&log).freed == 1);
  OK(aimdb_set_log(on_line, AIMDB_LOG_WARN, &log, on_log_freed));
  /* The engine logs a line with the name of a stage that fails. */
  struct tap tap;
  init(&tap);
  tap.returns = 1;
  aimdb_builder *builder;
  aimdb_db *db;
  OK(aimdb_builder_new(&builder));
  OK(aimdb_configure_bytes(builder, "seen_by_the_callback", sizeof(uint64_t), AIMDB_QUEUE, 4));
  OK(aimdb_tap(builder, "seen_by_the_callback", on_value, &tap, on_free));
  OK(aimdb_attach(builder, NULL, &db));
  OK(aimdb_producer_new(db, "seen_by_the_callback", &tap.producer));
  uint64_t value = 1;
  OK(aimdb_set(tap.producer, &value, sizeof value));
  struct seen seen = snapshot(&log);
  for (int tries = 0; tries < 30000 && strstr(seen.last, "no room on the disk") == NULL; tries++) {
    sleep_us(1000);
    seen = snapshot(&log);
  }
  CHECK(seen.lines > 0 && seen.wrong_levels == 0);
  CHECK(strstr(seen.last, "no room on the disk") != NULL);
  OK(aimdb_detach(db, LONG_US, NULL));
  OK(aimdb_set_log(NULL, AIMDB_LOG_WARN, NULL, NULL));
  /* The last call for another test's database may still run. */
  for (int tries = 0; tries < 30000 && snapshot(&log).freed < 2; tries++) sleep_us(1000);
  CHECK(snapshot(&log).freed == 2);
  OK(aimdb_producer_free(tap.producer));
  OK(aimdb_db_free(db));
  RUN(wait_until_freed(&tap, 1));
  return 0;
}

/* Reads the metrics as long as the database exists. */
static int32_t on_value_read_metrics(void *user, const void *value, size_t size, uint64_t lagged) {
  struct tap *tap = user;
  (void)value, (void)size, (void)lagged;
  pthread_mutex_lock(&tap->lock);
  wait_while_blocked(tap);
  aimdb_db *db = tap->db;
  tap->inside++;
  pthread_mutex_unlock(&tap->lock);
  char *json;
  aimdb_status status = aimdb_metrics_json(db, &json);
  if (status == AIMDB_OK) aimdb_string_free(json);
  return status == AIMDB_OK || status == AIMDB_BAD_HANDLE ? 0 : status;
}

int a_database_is_freed_while_its_taps_use_it(void) {
  for (int round = 0; round < 20; round++) {
    struct tap taps[8];
    aimdb_builder *builder;
    OK(aimdb_builder_new(&builder));
    OK(aimdb_configure_bytes(builder, "in", sizeof(uint64_t), AIMDB_QUEUE, 64));
    for (int n = 0; n < 8; n++) {
      init(&taps[n]);
      taps[n].blocked = 1;
      OK(aimdb_tap(builder, "in", on_value_read_metrics, &taps[n], on_free));
    }
    /* A deadline of 1 us: some taps are aborted in the middle of a call. */
    aimdb_options options = {0, 1, NULL};
    aimdb_db *db;
    OK(aimdb_attach(builder, &options, &db));
    aimdb_producer *producer;
    OK(aimdb_producer_new(db, "in", &producer));
    for (uint64_t value = 0; value < 64; value++) OK(aimdb_set(producer, &value, sizeof value));
    for (int n = 0; n < 8; n++) {
      taps[n].db = db;
      set_blocked(&taps[n], 0);
    }
    OK(aimdb_db_free(db));
    OK(aimdb_producer_free(producer));
    for (int n = 0; n < 8; n++) {
      RUN(wait_until_freed(&taps[n], 1));
      CHECK(freed(&taps[n]) == 1);
    }
  }
  return 0;
}

/* Logs from inside the callback. The library leaves out lines of the callback's own thread; lines of other threads call the
   callback again, so it stops after 20. */
static void on_line_log_more(void *user, aimdb_log_level level, const char *message) {
  struct log *log = user;
  (void)level, (void)message;
  pthread_mutex_lock(&log->lock);
  int line = log->lines++;
  pthread_mutex_unlock(&log->lock);
  struct tap tap;
  aimdb_db *db;
  init(&tap);
  if (line < 20 && tapped(AIMDB_RING, 4, on_value, &tap, &db) == 0) {
    aimdb_producer_free(tap.producer);
    aimdb_db_free(db);
    wait_until_freed(&tap, 1);
  }
}

static void *replace_the_callback(void *user) {
  for (int n = 0; n < 20; n++) {
    sleep_us(1000);
    if (aimdb_set_log(on_line_log_more, AIMDB_LOG_TRACE, user, NULL) != AIMDB_OK) return user;
  }
  return NULL;
}

int a_log_callback_that_logs_is_replaced_meanwhile(void) {
  static struct log log = LOG("");
  OK(aimdb_set_log(on_line_log_more, AIMDB_LOG_TRACE, &log, NULL));
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, replace_the_callback, &log) == 0);
  for (int n = 0; n < 20; n++) {
    struct tap tap;
    init(&tap);
    tap.returns = 1;
    aimdb_db *db;
    RUN(tapped(AIMDB_RING, 4, on_value, &tap, &db));
    uint64_t value = 1;
    OK(aimdb_set(tap.producer, &value, sizeof value));
    OK(aimdb_producer_free(tap.producer));
    /* The log callback delays the runtime, perhaps past the deadline: the tap is then aborted and ends later. */
    OK(aimdb_db_free(db));
    RUN(wait_until_freed(&tap, 1));
  }
  void *failed;
  CHECK(pthread_join(thread, &failed) == 0 && failed == NULL);
  OK(aimdb_set_log(NULL, 0, NULL, NULL));
  return 0;
}

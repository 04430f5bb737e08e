/* A database is detached after the caller or a tap has requested its shutdown. */
#include <pthread.h>

#include "check.h"

aimdb_status interop_shutdown_deadline(const aimdb_builder *builder, uint64_t deadline_us);

/* Static where it is used: an aborted tap accesses it later. */
struct slow {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  /* The tap blocks while this is true. */
  int blocked;
  int calls;
  int seen;
  int freed;
  /* For a tap that requests the shutdown itself: its database, the status it received, and how long it then works. */
  aimdb_db *db;
  aimdb_status requested;
  uint64_t work_us;
};

#define SLOW(blocked) {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, blocked, 0, 0, 0, NULL, AIMDB_PANIC, 0}

static void print_report(aimdb_status detached, const aimdb_report *report) {
  fprintf(stderr, "detach: %s; clean %d, drained %d, undelivered %d, aborted %d, unresponsive %d\n",
          aimdb_status_text((int)detached), report->clean, (int)report->drained, (int)report->undelivered,
          (int)report->aborted, (int)report->unresponsive);
}

static void unblock(struct slow *slow) {
  pthread_mutex_lock(&slow->lock);
  slow->blocked = 0;
  pthread_cond_broadcast(&slow->changed);
  pthread_mutex_unlock(&slow->lock);
}

/* Waits until one of its counters has reached `count`. */
static int wait_for(struct slow *slow, const int *counter, int count) {
  for (int tries = 0; tries < 30000; tries++) {
    pthread_mutex_lock(&slow->lock);
    int done = *counter >= count;
    pthread_mutex_unlock(&slow->lock);
    if (done) return 0;
    sleep_us(1000);
  }
  return __LINE__;
}

static void on_slow_freed(void *user) {
  struct slow *slow = user;
  pthread_mutex_lock(&slow->lock);
  slow->freed++;
  pthread_mutex_unlock(&slow->lock);
}

static int32_t on_value_block(void *user, const void *value, size_t size, uint64_t lagged) {
  struct slow *slow = user;
  (void)value, (void)size, (void)lagged;
  pthread_mutex_lock(&slow->lock);
  slow->calls++;
  while (slow->blocked) pthread_cond_wait(&slow->changed, &slow->lock);
  slow->seen++;
  pthread_mutex_unlock(&slow->lock);
  return 0;
}

struct blocked {
  aimdb_consumer *consumer;
  aimdb_status end;
};

static void *get_until_it_ends(void *me) {
  struct blocked *blocked = me;
  uint64_t got;
  blocked->end = aimdb_get(blocked->consumer, &got, sizeof got);
  return NULL;
}

/* The tap of `a` blocks with one value in progress and one in the queue; a reader of `b` waits. The requested shutdown has a
   deadline of ten seconds, the detach one of 300 ms. The deadline of the detach applies, also if the runtime thread has begun
   the shutdown before. */
int detach_with_a_shorter_deadline_than_the_shutdown(uint32_t has_begun) {
  static struct slow both[2] = {SLOW(1), SLOW(1)};
  static struct blocked readers[2] = {{NULL, AIMDB_PANIC}, {NULL, AIMDB_PANIC}};
  struct slow *slow = &both[has_begun != 0];
  struct blocked *blocked = &readers[has_begun != 0];
  aimdb_builder *builder;
  aimdb_db *db;
  aimdb_producer *a, *b;
  OK(aimdb_builder_new(&builder));
  OK(aimdb_configure_bytes(builder, "a", sizeof(uint64_t), AIMDB_QUEUE, 1));
  OK(aimdb_configure_bytes(builder, "b", sizeof(uint64_t), AIMDB_QUEUE, 1));
  OK(aimdb_tap(builder, "a", on_value_block, slow, on_slow_freed));
  OK(aimdb_attach(builder, NULL, &db));
  OK(aimdb_producer_new(db, "a", &a));
  OK(aimdb_producer_new(db, "b", &b));
  OK(aimdb_consumer_new(db, "b", &blocked->consumer));
  pthread_t reader;
  CHECK(pthread_create(&reader, NULL, get_until_it_ends, blocked) == 0);
  uint64_t value = 1;
  OK(aimdb_set(a, &value, sizeof value));
  RUN(wait_for(slow, &slow->calls, 1));
  OK(aimdb_set(a, &value, sizeof value));

  OK(aimdb_request_shutdown(db));
  bool healthy = has_begun != 0;
  for (int tries = 0; tries < 30000 && healthy; tries++) {
    sleep_us(1000);
    OK(aimdb_is_healthy(db, &healthy));
  }
  CHECK(!healthy);
  aimdb_report report;
  aimdb_status detached = aimdb_detach(db, 300000, &report);
  print_report(detached, &report);
  /* The thread of the tap blocks, but its stage does not: the stage can be aborted. */
  CHECK(detached == AIMDB_OK);
  CHECK(!report.clean && report.aborted == 1 && report.unresponsive == 0);
  CHECK(report.undelivered == 2);
  char *json;
  OK(aimdb_report_json(db, &json));
  CHECK(strstr(json, "\"aborted\":[{\"owner\":{\"record\":\"a\"},\"stage\":\"tap\"}]") != NULL);
  aimdb_string_free(json);
  CHECK(aimdb_set(a, &value, sizeof value) == AIMDB_CLOSED);
  CHECK(aimdb_set(b, &value, sizeof value) == AIMDB_CLOSED);
  CHECK(pthread_join(reader, NULL) == 0);
  CHECK(blocked->end == AIMDB_CLOSED);
  /* A second detach returns the same report. */
  aimdb_report again;
  OK(aimdb_detach(db, 0, &again));
  CHECK(again.undelivered == report.undelivered && again.aborted == report.aborted);

  OK(aimdb_db_free(db));
  unblock(slow);
  RUN(wait_for(slow, &slow->freed, 1));
  CHECK(slow->seen == 1);
  OK(aimdb_producer_free(a));
  OK(aimdb_producer_free(b));
  OK(aimdb_consumer_free(blocked->consumer));
  return 0;
}

static int32_t on_value_request_and_work(void *user, const void *value, size_t size, uint64_t lagged) {
  struct slow *slow = user;
  (void)value, (void)size, (void)lagged;
  pthread_mutex_lock(&slow->lock);
  while (slow->blocked) pthread_cond_wait(&slow->changed, &slow->lock);
  aimdb_db *db = slow->db;
  uint64_t work_us = slow->calls == 0 ? slow->work_us : 0;
  pthread_mutex_unlock(&slow->lock);
  aimdb_status requested = aimdb_request_shutdown(db);
  pthread_mutex_lock(&slow->lock);
  slow->requested = requested;
  slow->calls++;
  pthread_mutex_unlock(&slow->lock);
  sleep_us(work_us);
  pthread_mutex_lock(&slow->lock);
  slow->seen++;
  pthread_mutex_unlock(&slow->lock);
  return 0;
}

/* The tap requests the shutdown, and works past its deadline (0: the default). A detach without a limit waits for the tap, and
   for the values in its queue. */
int a_tap_works_past_the_deadline_of_the_shutdown_it_requested(uint64_t deadline_us, uint64_t work_us) {
  static struct slow both[2] = {SLOW(1), SLOW(1)};
  struct slow *slow = &both[deadline_us == 0];
  aimdb_builder *builder;
  aimdb_db *db;
  aimdb_producer *producer;
  OK(aimdb_builder_new(&builder));
  OK(aimdb_configure_bytes(builder, "a", sizeof(uint64_t), AIMDB_QUEUE, 4));
  OK(aimdb_tap(builder, "a", on_value_request_and_work, slow, on_slow_freed));
  if (deadline_us != 0) OK(interop_shutdown_deadline(builder, deadline_us));
  OK(aimdb_attach(builder, NULL, &db));
  OK(aimdb_producer_new(db, "a", &producer));
  for (uint64_t value = 1; value <= 3; value++) OK(aimdb_set(producer, &value, sizeof value));
  slow->db = db;
  slow->work_us = work_us;
  unblock(slow);
  RUN(wait_for(slow, &slow->calls, 1));
  aimdb_report report;
  aimdb_status detached = aimdb_detach(db, AIMDB_FOREVER, &report);
  print_report(detached, &report);
  /* Before any check: an aborted tap must end first. */
  RUN(wait_for(slow, &slow->freed, 1));
  CHECK(slow->requested == AIMDB_OK);
  CHECK(detached == AIMDB_OK);
  CHECK(report.clean && report.aborted == 0 && report.unresponsive == 0 && report.undelivered == 0);
  CHECK(slow->seen == 3 && slow->freed == 1);
  OK(aimdb_producer_free(producer));
  OK(aimdb_db_free(db));
  return 0;
}

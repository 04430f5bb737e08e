/* Descriptors, waits for several consumers, timeouts, and the output about a database. */
#include <poll.h>
#include <pthread.h>

#include "check.h"

static int readable(int fd, int timeout_ms) {
  struct pollfd poll_fd = {fd, POLLIN, 0};
  return poll(&poll_fd, 1, timeout_ms);
}

int a_descriptor_is_readable_while_there_is_a_value(void) {
  aimdb_db *db;
  ONE_RECORD(8, AIMDB_QUEUE, 4, &db);
  aimdb_producer *producer;
  aimdb_consumer *direct, *queued;
  OK(aimdb_producer_new(db, "r", &producer));
  OK(aimdb_consumer_new(db, "r", &direct));
  OK(aimdb_consumer_with_capacity(db, "r", 2, &queued));
  aimdb_consumer *consumers[] = {direct, queued};
  for (int n = 0; n < 2; n++) {
    aimdb_consumer *consumer = consumers[n];
    int fd = -1, again = -1;
    OK(aimdb_consumer_fd(consumer, &fd));
    OK(aimdb_consumer_fd(consumer, &again));
    CHECK(fd >= 0 && fd == again);
    for (uint64_t round = 0; round < 20; round++) {
      uint64_t value = round, got;
      CHECK(aimdb_try_get(consumer, &got, 8) == AIMDB_EMPTY);
      CHECK(readable(fd, 0) == 0);
      OK(aimdb_set(producer, &value, 8));
      OK(aimdb_set(producer, &value, 8));
      CHECK(readable(fd, 30000) == 1);
      /* It stays readable until a read has found the consumer empty. */
      OK(aimdb_get(consumer, &got, 8));
      CHECK(got == round && readable(fd, 0) == 1);
      OK(aimdb_get(consumer, &got, 8));
      CHECK(aimdb_get_timeout(consumer, &got, 8, 0) == AIMDB_TIMEOUT);
      CHECK(readable(fd, 0) == 0);
      /* The other consumer would hold the writer back. */
      OK(aimdb_get_timeout(consumers[1 - n], &got, 8, LONG_US));
      OK(aimdb_get_timeout(consumers[1 - n], &got, 8, LONG_US));
    }
  }
  int fd;
  OK(aimdb_consumer_fd(direct, &fd));
  CHECK(readable(fd, 0) == 0);
  OK(aimdb_detach(db, LONG_US, NULL));
  /* A drained record makes the descriptor readable. */
  CHECK(readable(fd, 30000) == 1);
  uint64_t got;
  CHECK(aimdb_try_get(direct, &got, 8) == AIMDB_CLOSED);
  CHECK(readable(fd, 0) == 1);
  OK(aimdb_consumer_free(direct));
  OK(aimdb_consumer_free(queued));
  OK(aimdb_producer_free(producer));
  OK(aimdb_db_free(db));
  return 0;
}

struct blocked {
  aimdb_consumer *consumer;
  uint64_t count;
};

static void *take_all(void *me) {
  struct blocked *blocked = me;
  uint64_t got;
  while (aimdb_get(blocked->consumer, &got, 8) == AIMDB_OK) blocked->count++;
  return NULL;
}

int a_descriptor_and_a_blocked_thread_miss_no_value(void) {
  aimdb_db *db;
  ONE_RECORD(8, AIMDB_QUEUE, 4, &db);
  aimdb_producer *producer;
  struct blocked blocked = {NULL, 0};
  OK(aimdb_producer_new(db, "r", &producer));
  OK(aimdb_consumer_new(db, "r", &blocked.consumer));
  int fd;
  OK(aimdb_consumer_fd(blocked.consumer, &fd));
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, take_all, &blocked) == 0);
  uint64_t mine = 0;
  for (uint64_t n = 0; n < 500; n++) {
    OK(aimdb_set(producer, &n, 8));
    uint64_t got;
    if (n % 7 == 0 && readable(fd, 1) == 1) {
      while (aimdb_try_get(blocked.consumer, &got, 8) == AIMDB_OK) mine++;
    }
  }
  OK(aimdb_detach(db, LONG_US, NULL));
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(mine + blocked.count == 500);
  OK(aimdb_consumer_free(blocked.consumer));
  OK(aimdb_producer_free(producer));
  OK(aimdb_db_free(db));
  return 0;
}

static void *set_later(void *producer) {
  sleep_us(WHILE_US);
  uint64_t value = 7;
  aimdb_set(producer, &value, 8);
  return NULL;
}

static void *cancel_later(void *consumer) {
  sleep_us(WHILE_US);
  aimdb_consumer_cancel(consumer);
  return NULL;
}

int wait_for_any(void) {
  aimdb_db *a, *b;
  ONE_RECORD(8, AIMDB_RING, 4, &a);
  ONE_RECORD(8, AIMDB_LATEST, 0, &b);
  aimdb_producer *producer;
  aimdb_consumer *first, *second;
  OK(aimdb_producer_new(b, "r", &producer));
  OK(aimdb_consumer_new(a, "r", &first));
  OK(aimdb_consumer_new(b, "r", &second));
  aimdb_consumer *both[] = {first, second};
  size_t index = 9;
  CHECK(aimdb_wait_any(both, 2, 0, &index) == AIMDB_TIMEOUT);
  CHECK(aimdb_wait_any(both, 2, 1000, &index) == AIMDB_TIMEOUT && index == 9);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, set_later, producer) == 0);
  OK(aimdb_wait_any(both, 2, AIMDB_FOREVER, &index));
  CHECK(index == 1);
  CHECK(pthread_join(thread, NULL) == 0);
  uint64_t got = 0;
  OK(aimdb_try_get(second, &got, 8));
  CHECK(got == 7);
  CHECK(pthread_create(&thread, NULL, cancel_later, first) == 0);
  CHECK(aimdb_wait_any(both, 2, AIMDB_FOREVER, &index) == AIMDB_CANCELLED);
  CHECK(pthread_join(thread, NULL) == 0);
  OK(aimdb_consumer_resume(first));
  OK(aimdb_detach(a, LONG_US, NULL));
  OK(aimdb_wait_any(both, 2, AIMDB_FOREVER, &index));
  CHECK(index == 0 && aimdb_try_get(first, &got, 8) == AIMDB_CLOSED);
  OK(aimdb_consumer_free(first));
  OK(aimdb_consumer_free(second));
  OK(aimdb_producer_free(producer));
  OK(aimdb_db_free(a));
  OK(aimdb_db_free(b));
  return 0;
}

int timeouts(void) {
  aimdb_db *db;
  ONE_RECORD(8, AIMDB_QUEUE, 2, &db);
  aimdb_producer *producer;
  aimdb_consumer *consumer;
  OK(aimdb_producer_new(db, "r", &producer));
  OK(aimdb_consumer_new(db, "r", &consumer));
  uint64_t value = 1;
  CHECK(aimdb_try_get(consumer, &value, 8) == AIMDB_EMPTY);
  CHECK(strcmp(aimdb_last_error(), aimdb_status_text(AIMDB_EMPTY)) == 0);
  CHECK(aimdb_get_timeout(consumer, &value, 8, 0) == AIMDB_TIMEOUT);
  CHECK(aimdb_get_timeout(consumer, &value, 8, 1) == AIMDB_TIMEOUT);
  OK(aimdb_try_set(producer, &value, 8));
  OK(aimdb_set_timeout(producer, &value, 8, 0));
  CHECK(aimdb_try_set(producer, &value, 8) == AIMDB_FULL);
  CHECK(aimdb_set_timeout(producer, &value, 8, 0) == AIMDB_TIMEOUT);
  CHECK(aimdb_set_timeout(producer, &value, 8, 1) == AIMDB_TIMEOUT);
  /* Longer than any clock: no limit. */
  OK(aimdb_get_timeout(consumer, &value, 8, UINT64_MAX - 1));
  OK(aimdb_set_timeout(producer, &value, 8, UINT64_MAX - 1));
  OK(aimdb_producer_free(producer));
  OK(aimdb_consumer_free(consumer));
  OK(aimdb_db_free(db));
  return 0;
}

int metrics_health_graph_and_report(void) {
  aimdb_db *db;
  ONE_RECORD(8, AIMDB_RING, 2, &db);
  aimdb_producer *producer;
  aimdb_consumer *consumer;
  OK(aimdb_producer_new(db, "r", &producer));
  OK(aimdb_consumer_new(db, "r", &consumer));
  uint64_t value = 0, lagged = 9;
  CHECK(aimdb_latest(consumer, &value, 8) == AIMDB_EMPTY);
  for (value = 1; value <= 5; value++) OK(aimdb_set(producer, &value, 8));
  OK(aimdb_latest(consumer, &value, 8));
  CHECK(value == 5);
  OK(aimdb_lagged(consumer, &lagged));
  CHECK(lagged == 3);
  OK(aimdb_get(consumer, &value, 8));
  CHECK(value == 4);
  char *text;
  OK(aimdb_metrics_json(db, &text));
  CHECK(strstr(text, "\"produced\":5") != NULL && strstr(text, "\"lagged\":3") != NULL);
  aimdb_string_free(text);
  OK(aimdb_health_json(db, &text));
  CHECK(text[0] == '{');
  aimdb_string_free(text);
  OK(aimdb_graph_json(db, &text));
  CHECK(strstr(text, "\"key\":\"r\"") != NULL && strstr(text, "\"8 bytes\"") != NULL);
  aimdb_string_free(text);
  OK(aimdb_graph_text(db, &text));
  CHECK(strstr(text, "r") != NULL);
  aimdb_string_free(text);
  CHECK(aimdb_report_json(db, &text) == AIMDB_EMPTY);
  bool healthy = false;
  OK(aimdb_is_healthy(db, &healthy));
  CHECK(healthy);
  OK(aimdb_request_shutdown(db));
  for (int tries = 0; tries < 30000 && healthy; tries++) {
    sleep_us(1000);
    OK(aimdb_is_healthy(db, &healthy));
  }
  CHECK(!healthy);
  aimdb_report report;
  OK(aimdb_detach(db, LONG_US, &report));
  CHECK(report.clean && report.unresponsive == 0 && report.failures == 0);
  OK(aimdb_report_json(db, &text));
  CHECK(strstr(text, "\"undelivered\":[]") != NULL);
  aimdb_string_free(text);
  OK(aimdb_producer_free(producer));
  OK(aimdb_consumer_free(consumer));
  OK(aimdb_db_free(db));
  return 0;
}

static void *try_until_closed(void *consumer) {
  uint64_t got;
  while (aimdb_try_get(consumer, &got, 8) != AIMDB_CLOSED) {
  }
  return NULL;
}

int a_descriptor_is_armed_while_the_database_is_detached(void) {
  for (int round = 0; round < 100; round++) {
    aimdb_db *db;
    ONE_RECORD(8, AIMDB_RING, 4, &db);
    aimdb_consumer *consumer;
    OK(aimdb_consumer_with_capacity(db, "r", 2, &consumer));
    int fd;
    OK(aimdb_consumer_fd(consumer, &fd));
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, try_until_closed, consumer) == 0);
    sleep_us((uint64_t)round * 3);
    OK(aimdb_detach(db, LONG_US, NULL));
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(readable(fd, 0) == 1);
    OK(aimdb_consumer_free(consumer));
    OK(aimdb_db_free(db));
  }
  return 0;
}

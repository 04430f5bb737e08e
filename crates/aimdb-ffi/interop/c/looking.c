/* Observers, and the newest value of a record as JSON. */
#include <pthread.h>

#include "check.h"
#include "interop_records.h"

/* Checks a string and frees it. */
static int is(char *text, const char *expected) {
  const int same = strcmp(text, expected) == 0;
  if (!same) fprintf(stderr, "  %s instead of %s\n", text, expected);
  aimdb_string_free(text);
  return same;
}

int observers_take_nothing(void) {
  const aimdb_buffer_kind kinds[] = {AIMDB_RING, AIMDB_QUEUE, AIMDB_LATEST, AIMDB_MAILBOX};
  for (size_t kind = 0; kind < 4; ++kind) {
    aimdb_db *db;
    aimdb_producer *producer;
    aimdb_consumer *consumer;
    aimdb_observer *observer;
    aimdb_seen seen = {0, 0};
    uint64_t value = 0;
    ONE_RECORD(sizeof value, kinds[kind], kinds[kind] == AIMDB_RING || kinds[kind] == AIMDB_QUEUE ? 4 : 0, &db);
    OK(aimdb_producer_new(db, "r", &producer));
    OK(aimdb_consumer_new(db, "r", &consumer));
    OK(aimdb_observe(db, "r", "bench", &observer));
    CHECK(aimdb_see(observer, &value, sizeof value, 0, &seen) == AIMDB_TIMEOUT);
    CHECK(aimdb_see(observer, &value, 4, 0, &seen) == AIMDB_WRONG_SIZE);
    /* The observer does not look: it holds no writer back, and takes no command. */
    for (uint64_t n = 1; n <= 100; ++n) {
      OK(aimdb_try_set(producer, &n, sizeof n));
      OK(aimdb_try_get(consumer, &value, sizeof value));
      CHECK(value == n);
    }
    OK(aimdb_see(observer, &value, sizeof value, LONG_US, &seen));
    CHECK(value == 37 && seen.number == 37 && seen.missed == 36);
    OK(aimdb_see(observer, &value, sizeof value, LONG_US, NULL));
    CHECK(value == 38);
    OK(aimdb_detach(db, AIMDB_FOREVER, NULL));
    for (uint64_t n = 39; n <= 100; ++n) {
      OK(aimdb_see(observer, &value, sizeof value, AIMDB_FOREVER, &seen));
      CHECK(value == n && seen.number == n && seen.missed == 0);
    }
    CHECK(aimdb_see(observer, &value, sizeof value, AIMDB_FOREVER, &seen) == AIMDB_CLOSED);
    OK(aimdb_observer_free(observer));
    CHECK(aimdb_observer_free(observer) == AIMDB_BAD_HANDLE);
    OK(aimdb_producer_free(producer));
    OK(aimdb_consumer_free(consumer));
    OK(aimdb_db_free(db));
  }
  return 0;
}

static void *cancel_soon(void *observer) {
  sleep_us(WHILE_US);
  aimdb_observer_cancel((aimdb_observer *)observer);
  return NULL;
}

int an_observer_is_cancelled(void) {
  aimdb_db *db;
  aimdb_producer *producer;
  aimdb_observer *observer;
  pthread_t canceller;
  uint64_t value = 7;
  ONE_RECORD(sizeof value, AIMDB_QUEUE, 4, &db);
  OK(aimdb_producer_new(db, "r", &producer));
  OK(aimdb_observe(db, "r", "bench", &observer));
  CHECK(pthread_create(&canceller, NULL, cancel_soon, observer) == 0);
  CHECK(aimdb_see(observer, &value, sizeof value, AIMDB_FOREVER, NULL) == AIMDB_CANCELLED);
  CHECK(pthread_join(canceller, NULL) == 0);
  /* It stays cancelled, but a value that is there needs no wait. */
  CHECK(aimdb_see(observer, &value, sizeof value, AIMDB_FOREVER, NULL) == AIMDB_CANCELLED);
  OK(aimdb_set(producer, &value, sizeof value));
  OK(aimdb_see(observer, &value, sizeof value, AIMDB_FOREVER, NULL));
  OK(aimdb_observer_resume(observer));
  CHECK(aimdb_see(observer, &value, sizeof value, 1000, NULL) == AIMDB_TIMEOUT);
  CHECK(aimdb_observer_cancel(NULL) == AIMDB_NULL && aimdb_observer_resume(NULL) == AIMDB_NULL);
  OK(aimdb_observer_free(observer));
  OK(aimdb_producer_free(producer));
  OK(aimdb_db_free(db));
  return 0;
}

int records_as_json(void) {
  aimdb_builder *builder;
  aimdb_db *db;
  aimdb_producer *readings, *texts;
  aimdb_observer *observer, *of_batch;
  aimdb_seen seen;
  char *json = NULL;
  OK(aimdb_builder_new(&builder));
  OK(interop_reading_configure(builder, "reading", AIMDB_QUEUE, 4));
  OK(interop_batch_configure(builder, "batch", AIMDB_LATEST, 0));
  OK(aimdb_configure_bytes(builder, "bytes", 8, AIMDB_RING, 4));
  OK(aimdb_configure_json(builder, "text", AIMDB_LATEST, 0));
  OK(aimdb_attach(builder, NULL, &db));

  CHECK(aimdb_record_json(db, "text", NULL) == AIMDB_NULL);
  CHECK(aimdb_record_json(db, NULL, &json) == AIMDB_NULL);
  CHECK(aimdb_record_json(db, "txt", &json) == AIMDB_NO_SUCH_RECORD);
  CHECK(aimdb_record_json(db, "text", &json) == AIMDB_EMPTY);
  /* Bytes have no JSON, nor has a struct that was exported without. */
  CHECK(aimdb_record_json(db, "bytes", &json) == AIMDB_WRONG_TYPE);
  CHECK(strstr(aimdb_last_error(), "`bytes` holds 8 bytes, not JSON") != NULL);
  CHECK(aimdb_record_json(db, "batch", &json) == AIMDB_WRONG_TYPE);
  OK(aimdb_observe(db, "batch", "bench", &of_batch));
  CHECK(aimdb_see_json(of_batch, &json, 0, &seen) == AIMDB_WRONG_TYPE);
  OK(aimdb_observer_free(of_batch));

  OK(aimdb_producer_new(db, "text", &texts));
  OK(aimdb_observe(db, "text", "bench", &observer));
  OK(aimdb_set_json(texts, "{\"a\": [1, 2]}"));
  OK(aimdb_record_json(db, "text", &json));
  CHECK(is(json, "{\"a\": [1, 2]}"));
  OK(aimdb_see_json(observer, &json, LONG_US, &seen));
  CHECK(is(json, "{\"a\": [1, 2]}") && seen.number == 1 && seen.missed == 0);
  CHECK(aimdb_see_json(observer, &json, 1000, NULL) == AIMDB_TIMEOUT);
  uint64_t value;
  CHECK(aimdb_see(observer, &value, sizeof value, 0, NULL) == AIMDB_WRONG_TYPE);
  OK(aimdb_observer_free(observer));

  OK(aimdb_producer_new(db, "reading", &readings));
  OK(aimdb_observe(db, "reading", "bench", &observer));
  struct InteropReading reading = {1, 2, 3, {21.5, 30.0}}, got;
  const char *expected = "{\"number\":1,\"sensor\":2,\"flags\":3,\"celsius\":[21.5,30.0]}";
  OK(interop_reading_set(readings, reading));
  OK(aimdb_record_json(db, "reading", &json));
  CHECK(is(json, expected));
  OK(aimdb_see_json(observer, &json, LONG_US, &seen));
  CHECK(is(json, expected));
  OK(interop_reading_set(readings, reading));
  OK(aimdb_see(observer, &got, sizeof got, LONG_US, &seen));
  CHECK(memcmp(&got, &reading, sizeof got) == 0 && seen.number == 2);
  OK(aimdb_observer_free(observer));
  OK(aimdb_producer_free(readings));
  OK(aimdb_producer_free(texts));
  OK(aimdb_db_free(db));
  return 0;
}

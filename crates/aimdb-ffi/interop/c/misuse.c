/* Invalid calls, and the statuses and messages that they return. */
#include <stdlib.h>

#include "check.h"

#define RETURNS(status, call) CHECK((call) == (status))
#define CHECK_AT_EXIT(condition) ((condition) ? (void)0 : abort())
#define MESSAGE_HAS(text) CHECK(strstr(aimdb_last_error(), text) != NULL)

int null_everywhere(void) {
  aimdb_builder *builder;
  aimdb_db *db;
  aimdb_producer *producer;
  aimdb_consumer *consumer;
  aimdb_observer *observer;
  uint64_t value = 0;
  size_t count = 0;
  char *text = NULL;
  OK(aimdb_builder_new(&builder));
  RETURNS(AIMDB_NULL, aimdb_builder_new(NULL));
  RETURNS(AIMDB_NULL, aimdb_configure_bytes(NULL, "r", 8, AIMDB_RING, 1));
  MESSAGE_HAS("`builder` is NULL");
  RETURNS(AIMDB_NULL, aimdb_configure_bytes(builder, NULL, 8, AIMDB_RING, 1));
  MESSAGE_HAS("`key` is NULL");
  RETURNS(AIMDB_NULL, aimdb_configure_json(builder, NULL, AIMDB_RING, 1));
  RETURNS(AIMDB_NULL, aimdb_shared(builder, NULL));
  RETURNS(AIMDB_NULL, aimdb_mqtt(builder, NULL, NULL));
  RETURNS(AIMDB_NULL, aimdb_link_to(builder, "r", NULL));
  RETURNS(AIMDB_NULL, aimdb_link_from(builder, NULL, "mqtt://a"));
  RETURNS(AIMDB_NULL, aimdb_attach(NULL, NULL, &db));
  RETURNS(AIMDB_NULL, aimdb_builder_free(NULL));
  OK(aimdb_configure_bytes(builder, "r", 8, AIMDB_RING, 1));
  OK(aimdb_configure_json(builder, "j", AIMDB_RING, 1));
  /* The call takes the builder, although it fails. */
  RETURNS(AIMDB_NULL, aimdb_attach(builder, NULL, NULL));
  RETURNS(AIMDB_BAD_HANDLE, aimdb_attach(builder, NULL, &db));

  OK(aimdb_builder_new(&builder));
  OK(aimdb_configure_bytes(builder, "r", 8, AIMDB_RING, 1));
  OK(aimdb_configure_json(builder, "j", AIMDB_RING, 1));
  OK(aimdb_attach(builder, NULL, &db));
  RETURNS(AIMDB_NULL, aimdb_producer_new(NULL, "r", &producer));
  RETURNS(AIMDB_NULL, aimdb_producer_new(db, NULL, &producer));
  RETURNS(AIMDB_NULL, aimdb_producer_new(db, "r", NULL));
  RETURNS(AIMDB_NULL, aimdb_producer_with_capacity(db, "r", 1, NULL));
  RETURNS(AIMDB_NULL, aimdb_consumer_new(NULL, "r", &consumer));
  RETURNS(AIMDB_NULL, aimdb_consumer_new(db, NULL, &consumer));
  RETURNS(AIMDB_NULL, aimdb_consumer_new(db, "r", NULL));
  OK(aimdb_producer_new(db, "r", &producer));
  OK(aimdb_consumer_new(db, "r", &consumer));
  RETURNS(AIMDB_NULL, aimdb_set(NULL, &value, 8));
  RETURNS(AIMDB_NULL, aimdb_set(producer, NULL, 8));
  RETURNS(AIMDB_NULL, aimdb_try_set(producer, NULL, 8));
  RETURNS(AIMDB_NULL, aimdb_set_timeout(producer, NULL, 8, 1));
  RETURNS(AIMDB_NULL, aimdb_set_many(producer, NULL, 8, 1, 1, NULL));
  RETURNS(AIMDB_NULL, aimdb_set_json(producer, NULL));
  RETURNS(AIMDB_NULL, aimdb_get(NULL, &value, 8));
  RETURNS(AIMDB_NULL, aimdb_get(consumer, NULL, 8));
  RETURNS(AIMDB_NULL, aimdb_try_get(consumer, NULL, 8));
  RETURNS(AIMDB_NULL, aimdb_get_timeout(consumer, NULL, 8, 1));
  RETURNS(AIMDB_NULL, aimdb_get_many(consumer, NULL, 8, 1, 1, &count));
  RETURNS(AIMDB_NULL, aimdb_get_many(consumer, &value, 8, 1, 1, NULL));
  RETURNS(AIMDB_NULL, aimdb_latest(consumer, NULL, 8));
  RETURNS(AIMDB_NULL, aimdb_lagged(consumer, NULL));
  RETURNS(AIMDB_NULL, aimdb_get_json(consumer, NULL));
  RETURNS(AIMDB_NULL, aimdb_latest_json(consumer, NULL));
  RETURNS(AIMDB_NULL, aimdb_consumer_fd(consumer, NULL));
  RETURNS(AIMDB_NULL, aimdb_consumer_size(consumer, NULL));
  RETURNS(AIMDB_NULL, aimdb_producer_size(producer, NULL));
  RETURNS(AIMDB_NULL, aimdb_consumer_cancel(NULL));
  RETURNS(AIMDB_NULL, aimdb_producer_resume(NULL));
  RETURNS(AIMDB_NULL, aimdb_wait_any(NULL, 1, 0, &count));
  aimdb_consumer *consumers[] = {consumer, NULL};
  RETURNS(AIMDB_NULL, aimdb_wait_any(consumers, 2, 0, &count));
  MESSAGE_HAS("`consumers[1]`");
  RETURNS(AIMDB_NULL, aimdb_wait_any(consumers, 1, 0, NULL));
  RETURNS(AIMDB_BAD_ARGUMENT, aimdb_wait_any(consumers, 0, 0, &count));
  RETURNS(AIMDB_NULL, aimdb_observe(NULL, "r", "name", &observer));
  RETURNS(AIMDB_NULL, aimdb_observe(db, NULL, "name", &observer));
  RETURNS(AIMDB_NULL, aimdb_observe(db, "r", NULL, &observer));
  RETURNS(AIMDB_NULL, aimdb_observe(db, "r", "name", NULL));
  RETURNS(AIMDB_NO_SUCH_RECORD, aimdb_observe(db, "s", "name", &observer));
  OK(aimdb_observe(db, "r", "name", &observer));
  RETURNS(AIMDB_NULL, aimdb_see(NULL, &value, 8, 0, NULL));
  RETURNS(AIMDB_NULL, aimdb_see(observer, NULL, 8, 0, NULL));
  RETURNS(AIMDB_NULL, aimdb_see_json(observer, NULL, 0, NULL));
  RETURNS(AIMDB_NULL, aimdb_observer_free(NULL));
  RETURNS(AIMDB_BAD_HANDLE, aimdb_observer_free((aimdb_observer *)consumer));
  OK(aimdb_observer_free(observer));
  RETURNS(AIMDB_NULL, aimdb_health_json(db, NULL));
  RETURNS(AIMDB_NULL, aimdb_metrics_json(NULL, &text));
  RETURNS(AIMDB_NULL, aimdb_is_healthy(db, NULL));
  RETURNS(AIMDB_NULL, aimdb_detach(NULL, 0, NULL));
  RETURNS(AIMDB_NULL, aimdb_request_shutdown(NULL));
  RETURNS(AIMDB_NULL, aimdb_db_free(NULL));
  RETURNS(AIMDB_NULL, aimdb_producer_free(NULL));
  RETURNS(AIMDB_NULL, aimdb_consumer_free(NULL));
  aimdb_string_free(NULL);
  CHECK(text == NULL);
  OK(aimdb_producer_free(producer));
  OK(aimdb_consumer_free(consumer));
  OK(aimdb_db_free(db));
  return 0;
}

int bad_handles(void) {
  aimdb_db *db;
  ONE_RECORD(8, AIMDB_RING, 4, &db);
  aimdb_producer *producer;
  aimdb_consumer *consumer;
  uint64_t value = 7;
  OK(aimdb_producer_new(db, "r", &producer));
  OK(aimdb_consumer_new(db, "r", &consumer));
  /* Handles of another type. */
  RETURNS(AIMDB_BAD_HANDLE, aimdb_set((aimdb_producer *)(void *)consumer, &value, 8));
  RETURNS(AIMDB_BAD_HANDLE, aimdb_get((aimdb_consumer *)(void *)producer, &value, 8));
  RETURNS(AIMDB_BAD_HANDLE, aimdb_producer_new((aimdb_db *)(void *)producer, "r", &producer));
  RETURNS(AIMDB_BAD_HANDLE, aimdb_db_free((aimdb_db *)(void *)consumer));
  RETURNS(AIMDB_BAD_HANDLE, aimdb_producer_free((aimdb_producer *)(void *)db));
  MESSAGE_HAS("`producer`");
  /* Made-up handles. */
  RETURNS(AIMDB_BAD_HANDLE, aimdb_set((aimdb_producer *)(void *)&value, &value, 8));
  RETURNS(AIMDB_BAD_HANDLE, aimdb_get((aimdb_consumer *)(uintptr_t)1, &value, 8));
  RETURNS(AIMDB_BAD_HANDLE, aimdb_detach((aimdb_db *)UINTPTR_MAX, 0, NULL));
  /* Freed handles, also after another handle has taken the slot. */
  OK(aimdb_consumer_free(consumer));
  RETURNS(AIMDB_BAD_HANDLE, aimdb_consumer_free(consumer));
  RETURNS(AIMDB_BAD_HANDLE, aimdb_get(consumer, &value, 8));
  aimdb_consumer *other;
  OK(aimdb_consumer_new(db, "r", &other));
  RETURNS(AIMDB_BAD_HANDLE, aimdb_try_get(consumer, &value, 8));
  RETURNS(AIMDB_EMPTY, aimdb_try_get(other, &value, 8));
  OK(aimdb_consumer_free(other));
  OK(aimdb_db_free(db));
  RETURNS(AIMDB_BAD_HANDLE, aimdb_db_free(db));
  RETURNS(AIMDB_BAD_HANDLE, aimdb_producer_new(db, "r", &producer));
  RETURNS(AIMDB_CLOSED, aimdb_set(producer, &value, 8));
  OK(aimdb_producer_free(producer));
  /* An unknown status has a description too, and every status has another one. */
  CHECK(strcmp(aimdb_status_text(99), "no status of AimDB") == 0);
  for (int status = AIMDB_OK; status <= AIMDB_UNSUPPORTED; status++) {
    CHECK(strcmp(aimdb_status_text(status), "no status of AimDB") != 0);
  }
  return 0;
}

int wrong_arguments(void) {
  aimdb_builder *builder;
  OK(aimdb_builder_new(&builder));
  RETURNS(AIMDB_BAD_ARGUMENT, aimdb_configure_bytes(builder, "r", 0, AIMDB_RING, 4));
  MESSAGE_HAS("`r`");
  RETURNS(AIMDB_BAD_ARGUMENT, aimdb_configure_bytes(builder, "r", SIZE_MAX, AIMDB_RING, 4));
  RETURNS(AIMDB_BAD_ARGUMENT, aimdb_configure_bytes(builder, "r", 8, 7, 4));
  MESSAGE_HAS("AIMDB_MAILBOX");
  OK(aimdb_configure_bytes(builder, "r", 8, AIMDB_RING, 4));
  RETURNS(AIMDB_WRONG_TYPE, aimdb_configure_bytes(builder, "r", 9, AIMDB_RING, 4));
  MESSAGE_HAS("8 bytes");
  RETURNS(AIMDB_WRONG_TYPE, aimdb_configure_json(builder, "r", AIMDB_RING, 4));
  RETURNS(AIMDB_NO_SUCH_RECORD, aimdb_shared(builder, "typo"));
  RETURNS(AIMDB_NO_SUCH_RECORD, aimdb_link_to(builder, "typo", "mqtt://a"));
  /* Two buffers, a capacity of 0, and a link without a connector: the message has all three. */
  OK(aimdb_configure_bytes(builder, "r", 8, AIMDB_LATEST, 0));
  OK(aimdb_configure_bytes(builder, "empty", 8, AIMDB_QUEUE, 0));
  OK(aimdb_link_to(builder, "r", "mqtt://a/b"));
  aimdb_db *db = NULL;
  RETURNS(AIMDB_BAD_GRAPH, aimdb_attach(builder, NULL, &db));
  CHECK(db == NULL);
  MESSAGE_HAS("`r`");
  MESSAGE_HAS("`empty`");
  MESSAGE_HAS("mqtt");
  MESSAGE_HAS("\n  help: ");
  /* The places of the library's own code are no help to its users. */
  CHECK(strstr(aimdb_last_error(), "-->") == NULL);

  OK(aimdb_builder_new(&builder));
  OK(aimdb_configure_bytes(builder, "r", 8, AIMDB_RING, 4));
  OK(aimdb_configure_bytes(builder, "command", 8, AIMDB_MAILBOX, 0));
  OK(aimdb_configure_json(builder, "j", AIMDB_RING, 4));
  aimdb_options options = {5000, 1000000, "interop"};
  RETURNS(AIMDB_BAD_ARGUMENT, aimdb_attach(builder, &options, &db));
  MESSAGE_HAS("5000 workers");
  OK(aimdb_builder_new(&builder));
  OK(aimdb_configure_bytes(builder, "r", 8, AIMDB_RING, 4));
  OK(aimdb_configure_bytes(builder, "command", 8, AIMDB_MAILBOX, 0));
  OK(aimdb_configure_json(builder, "j", AIMDB_RING, 4));
  options.workers = 2;
  OK(aimdb_attach(builder, &options, &db));
  aimdb_producer *producer, *json;
  aimdb_consumer *consumer, *taker, *second;
  RETURNS(AIMDB_NO_SUCH_RECORD, aimdb_producer_new(db, "typo", &producer));
  MESSAGE_HAS("`typo`");
  MESSAGE_HAS("`command`");
  RETURNS(AIMDB_BAD_ARGUMENT, aimdb_producer_with_capacity(db, "r", 0, &producer));
  RETURNS(AIMDB_BAD_ARGUMENT, aimdb_consumer_with_capacity(db, "r", SIZE_MAX, &consumer));
  MESSAGE_HAS("no memory");
  OK(aimdb_producer_new(db, "r", &producer));
  OK(aimdb_producer_new(db, "j", &json));
  OK(aimdb_consumer_new(db, "r", &consumer));
  OK(aimdb_consumer_new(db, "command", &taker));
  RETURNS(AIMDB_TAKEN, aimdb_consumer_new(db, "command", &second));
  MESSAGE_HAS("aimdb_shared");
  uint64_t values[2] = {1, 2};
  RETURNS(AIMDB_WRONG_SIZE, aimdb_set(producer, values, 7));
  MESSAGE_HAS("record `r` holds 8 bytes, but 7 bytes were given");
  RETURNS(AIMDB_WRONG_SIZE, aimdb_set(producer, values, 16));
  RETURNS(AIMDB_WRONG_SIZE, aimdb_set_many(producer, values, 16, 1, 0, NULL));
  OK(aimdb_set(producer, values, 8));
  /* A call for no values succeeds. */
  OK(aimdb_set_many(producer, NULL, 8, 0, 0, NULL));
  /* A read into too little memory takes no value. */
  RETURNS(AIMDB_WRONG_SIZE, aimdb_get(consumer, values, 4));
  RETURNS(AIMDB_WRONG_SIZE, aimdb_latest(consumer, values, 4));
  OK(aimdb_try_get(consumer, &values[1], 8));
  CHECK(values[1] == 1);
  RETURNS(AIMDB_WRONG_TYPE, aimdb_set_json(producer, "1"));
  MESSAGE_HAS("`r` holds 8 bytes, not JSON");
  RETURNS(AIMDB_WRONG_TYPE, aimdb_set(json, values, 8));
  MESSAGE_HAS("_json");
  size_t size = 9;
  OK(aimdb_producer_size(json, &size));
  CHECK(size == 0);
  OK(aimdb_consumer_size(consumer, &size));
  CHECK(size == 8);
  OK(aimdb_db_free(db));
  RETURNS(AIMDB_CLOSED, aimdb_get(consumer, values, 8));
  OK(aimdb_producer_free(producer));
  OK(aimdb_producer_free(json));
  OK(aimdb_consumer_free(consumer));
  OK(aimdb_consumer_free(taker));
  return 0;
}

int bad_texts(void) {
  aimdb_builder *builder;
  OK(aimdb_builder_new(&builder));
  RETURNS(AIMDB_NOT_UTF8, aimdb_configure_bytes(builder, "r\xff", 8, AIMDB_RING, 4));
  MESSAGE_HAS("`key` is not UTF-8");
  RETURNS(AIMDB_NOT_UTF8, aimdb_mqtt(builder, "\xc0", "mqtt://127.0.0.1"));
  OK(aimdb_configure_json(builder, "j", AIMDB_QUEUE, 4));
  RETURNS(AIMDB_NOT_UTF8, aimdb_link_from(builder, "j", "mqtt://\xff"));
  aimdb_options options = {0, 0, "\xff"};
  aimdb_db *db;
  RETURNS(AIMDB_NOT_UTF8, aimdb_attach(builder, &options, &db));
  MESSAGE_HAS("thread_name");

  OK(aimdb_builder_new(&builder));
  OK(aimdb_configure_json(builder, "j", AIMDB_QUEUE, 1));
  OK(aimdb_attach(builder, NULL, &db));
  aimdb_producer *producer;
  aimdb_consumer *consumer;
  OK(aimdb_producer_new(db, "j", &producer));
  OK(aimdb_consumer_new(db, "j", &consumer));
  const char *bad[] = {"", "{", "{'a':1}", "nul", "1 2", "[1,]", "\"\x01\""};
  for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) RETURNS(AIMDB_NOT_JSON, aimdb_set_json(producer, bad[n]));
  MESSAGE_HAS("record `j`: ");
  RETURNS(AIMDB_NOT_UTF8, aimdb_set_json(producer, "\"\xff\""));
  char *text = NULL;
  RETURNS(AIMDB_EMPTY, aimdb_latest_json(consumer, &text));
  RETURNS(AIMDB_EMPTY, aimdb_try_get_json(consumer, &text));
  RETURNS(AIMDB_TIMEOUT, aimdb_get_json_timeout(consumer, &text, 1000));
  CHECK(text == NULL);
  const char *good = "{\"celsius\": 21.5, \"room\": \"Küche\"}";
  OK(aimdb_try_set_json(producer, good));
  RETURNS(AIMDB_FULL, aimdb_try_set_json(producer, "1"));
  RETURNS(AIMDB_TIMEOUT, aimdb_set_json_timeout(producer, "1", 1000));
  OK(aimdb_latest_json(consumer, &text));
  CHECK(strcmp(text, good) == 0);
  aimdb_string_free(text);
  OK(aimdb_get_json(consumer, &text));
  CHECK(strcmp(text, good) == 0);
  aimdb_string_free(text);
  OK(aimdb_producer_free(producer));
  OK(aimdb_consumer_free(consumer));
  OK(aimdb_db_free(db));
  return 0;
}

int values_of_every_size(void) {
  static const size_t sizes[] = {1, 3, 8, 9, 31, 32, 33, 100, 256, 257, 1000, 1024, 1025, 100000};
  unsigned char *in = malloc(100002), *out = malloc(100002);
  CHECK(in != NULL && out != NULL);
  for (size_t n = 0; n < 100002; n++) in[n] = (unsigned char)(n * 31 + n / 256);
  for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++) {
    size_t size = sizes[n];
    aimdb_db *db;
    ONE_RECORD(size, AIMDB_QUEUE, 4, &db);
    aimdb_producer *producer;
    aimdb_consumer *consumer;
    OK(aimdb_producer_new(db, "r", &producer));
    OK(aimdb_consumer_new(db, "r", &consumer));
    /* From an odd address to an odd address, without a write past the end. */
    memset(out, 0xee, 100002);
    OK(aimdb_set(producer, in + 1, size));
    OK(aimdb_latest(consumer, out + 1, size));
    CHECK(memcmp(out + 1, in + 1, size) == 0);
    memset(out, 0xee, 100002);
    OK(aimdb_get(consumer, out + 1, size));
    CHECK(memcmp(out + 1, in + 1, size) == 0);
    CHECK(out[0] == 0xee && out[size + 1] == 0xee);
    OK(aimdb_producer_free(producer));
    OK(aimdb_consumer_free(consumer));
    OK(aimdb_db_free(db));
  }
  free(in);
  free(out);
  return 0;
}

/* In an exit handler the message of the thread may be destroyed; reading it must not abort the process. */
static void check_at_exit(void) {
  CHECK_AT_EXIT(aimdb_builder_free(NULL) == AIMDB_NULL);
  CHECK_AT_EXIT(aimdb_last_error()[0] != '\0');
}

int errors_at_exit(void) {
  RETURNS(AIMDB_NULL, aimdb_builder_free(NULL));
  return atexit(check_at_exit);
}

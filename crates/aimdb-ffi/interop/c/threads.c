/* Many threads on one record. */
#include <pthread.h>
#include <stdlib.h>

#include "check.h"

enum { WRITERS = 4, READERS = 4, ALL = 8 };

struct sample {
  uint32_t writer;
  uint32_t number;
  uint64_t payload[3];
};

struct writer {
  aimdb_producer *producer;
  uint32_t writer;
  uint32_t each;
  int line;
};

static int write_all(struct writer *me) {
  for (uint32_t n = 0; n < me->each; n++) {
    struct sample sample = {me->writer, n, {n, ~(uint64_t)n, me->writer}};
    OK(aimdb_set(me->producer, &sample, sizeof sample));
  }
  return 0;
}

static void *writer(void *me) {
  ((struct writer *)me)->line = write_all(me);
  return NULL;
}

struct reader {
  aimdb_consumer *consumer;
  uint64_t count;
  uint64_t sum;
  aimdb_status end;
  int line;
};

static int read_all(struct reader *me) {
  struct sample sample;
  /* Each thread takes the values of one writer in the order in which they were written. */
  int64_t last[WRITERS] = {-1, -1, -1, -1};
  while ((me->end = aimdb_get(me->consumer, &sample, sizeof sample)) == AIMDB_OK) {
    CHECK(sample.writer < WRITERS);
    CHECK(sample.payload[0] == sample.number && sample.payload[1] == ~(uint64_t)sample.number);
    CHECK((int64_t)sample.number > last[sample.writer]);
    last[sample.writer] = sample.number;
    me->count++;
    me->sum += (uint64_t)sample.writer << 32 | sample.number;
  }
  return 0;
}

static void *reader(void *me) {
  ((struct reader *)me)->line = read_all(me);
  return NULL;
}

int eight_threads_on_a_queue(uint32_t each) {
  aimdb_db *db;
  ONE_RECORD(sizeof(struct sample), AIMDB_QUEUE, 16, &db);
  aimdb_producer *producer;
  aimdb_consumer *consumer;
  OK(aimdb_producer_new(db, "r", &producer));
  OK(aimdb_consumer_new(db, "r", &consumer));

  pthread_t threads[ALL];
  struct writer writers[WRITERS];
  struct reader readers[READERS];
  for (uint32_t n = 0; n < READERS; n++) {
    readers[n] = (struct reader){consumer, 0, 0, AIMDB_OK, 0};
    CHECK(pthread_create(&threads[n], NULL, reader, &readers[n]) == 0);
  }
  for (uint32_t n = 0; n < WRITERS; n++) {
    writers[n] = (struct writer){producer, n, each, 0};
    CHECK(pthread_create(&threads[READERS + n], NULL, writer, &writers[n]) == 0);
  }
  for (int n = 0; n < WRITERS; n++) {
    CHECK(pthread_join(threads[READERS + n], NULL) == 0);
    CHECK(writers[n].line == 0);
  }
  /* Every value is written. Values that are not read yet stay readable after the detach. */
  OK(aimdb_detach(db, LONG_US, NULL));
  uint64_t count = 0, sum = 0, expected = 0;
  for (int n = 0; n < READERS; n++) {
    CHECK(pthread_join(threads[n], NULL) == 0);
    CHECK(readers[n].line == 0 && readers[n].end == AIMDB_CLOSED);
    count += readers[n].count;
    sum += readers[n].sum;
  }
  for (uint64_t n = 0; n < WRITERS; n++) {
    expected += (n << 32) * each + (uint64_t)each * (each - 1) / 2;
  }
  CHECK(count == (uint64_t)each * WRITERS);
  CHECK(sum == expected);
  uint64_t lagged = 1;
  OK(aimdb_lagged(consumer, &lagged));
  CHECK(lagged == 0);
  OK(aimdb_producer_free(producer));
  OK(aimdb_consumer_free(consumer));
  OK(aimdb_db_free(db));
  return 0;
}

static void *blocked(void *me) {
  struct reader *reader = me;
  struct sample sample;
  reader->end = aimdb_get(reader->consumer, &sample, sizeof sample);
  return NULL;
}

/* Eight threads in aimdb_get of one consumer. */
static int block_all(pthread_t *threads, struct reader *readers, aimdb_consumer *consumer) {
  for (int n = 0; n < ALL; n++) {
    readers[n] = (struct reader){consumer, 0, 0, AIMDB_OK, 0};
    CHECK(pthread_create(&threads[n], NULL, blocked, &readers[n]) == 0);
  }
  sleep_us(WHILE_US);
  return 0;
}

static int all_end_with(aimdb_status end, pthread_t *threads, struct reader *readers) {
  for (int n = 0; n < ALL; n++) {
    CHECK(pthread_join(threads[n], NULL) == 0);
    CHECK(readers[n].end == end);
  }
  return 0;
}

int detach_while_eight_threads_are_blocked(void) {
  aimdb_db *db;
  ONE_RECORD(sizeof(struct sample), AIMDB_RING, 4, &db);
  aimdb_consumer *consumer;
  OK(aimdb_consumer_new(db, "r", &consumer));
  pthread_t threads[ALL];
  struct reader readers[ALL];
  RUN(block_all(threads, readers, consumer));
  aimdb_report report;
  OK(aimdb_detach(db, LONG_US, &report));
  CHECK(report.clean);
  RUN(all_end_with(AIMDB_CLOSED, threads, readers));
  OK(aimdb_consumer_free(consumer));
  OK(aimdb_db_free(db));
  return 0;
}

static void *blocked_writer(void *me) {
  struct writer *writer = me;
  struct sample sample = {0, 0, {0, 0, 0}};
  aimdb_status status;
  do {
    status = aimdb_set(writer->producer, &sample, sizeof sample);
  } while (status == AIMDB_OK);
  writer->line = status == AIMDB_CLOSED ? 0 : __LINE__;
  return NULL;
}

int detach_while_a_writer_is_blocked(void) {
  aimdb_db *db;
  ONE_RECORD(sizeof(struct sample), AIMDB_QUEUE, 2, &db);
  aimdb_consumer *consumer;
  OK(aimdb_consumer_new(db, "r", &consumer));
  struct writer writer = {NULL, 0, 0, -1};
  OK(aimdb_producer_new(db, "r", &writer.producer));
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, blocked_writer, &writer) == 0);
  sleep_us(WHILE_US);
  OK(aimdb_detach(db, LONG_US, NULL));
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(writer.line == 0);
  /* The accepted values are still readable. */
  struct sample sample;
  OK(aimdb_get(consumer, &sample, sizeof sample));
  OK(aimdb_get(consumer, &sample, sizeof sample));
  CHECK(aimdb_get(consumer, &sample, sizeof sample) == AIMDB_CLOSED);
  OK(aimdb_db_free(db));
  /* Handles outlive the database. */
  CHECK(aimdb_set(writer.producer, &sample, sizeof sample) == AIMDB_CLOSED);
  OK(aimdb_producer_free(writer.producer));
  OK(aimdb_consumer_free(consumer));
  return 0;
}

int cancel_eight_threads(void) {
  aimdb_db *db;
  ONE_RECORD(sizeof(struct sample), AIMDB_RING, 4, &db);
  aimdb_consumer *consumer;
  aimdb_producer *producer;
  OK(aimdb_consumer_new(db, "r", &consumer));
  OK(aimdb_producer_new(db, "r", &producer));
  struct sample sample = {0, 0, {0, 0, 0}};
  for (int round = 0; round < 3; round++) {
    pthread_t threads[ALL];
    struct reader readers[ALL];
    RUN(block_all(threads, readers, consumer));
    OK(aimdb_consumer_cancel(consumer));
    RUN(all_end_with(AIMDB_CANCELLED, threads, readers));
    CHECK(aimdb_get(consumer, &sample, sizeof sample) == AIMDB_CANCELLED);
    OK(aimdb_set(producer, &sample, sizeof sample));
    OK(aimdb_get(consumer, &sample, sizeof sample));
    OK(aimdb_consumer_resume(consumer));
    CHECK(aimdb_get_timeout(consumer, &sample, sizeof sample, 1000) == AIMDB_TIMEOUT);
  }
  OK(aimdb_producer_cancel(producer));
  OK(aimdb_set(producer, &sample, sizeof sample));
  /* A ring always has room, for any number of values. */
  for (int n = 0; n < 1000; n++) OK(aimdb_set_many(producer, &sample, sizeof sample, 1, AIMDB_FOREVER, NULL));
  OK(aimdb_producer_resume(producer));
  OK(aimdb_producer_free(producer));
  OK(aimdb_consumer_free(consumer));
  OK(aimdb_db_free(db));
  return 0;
}

enum { BATCH = 50, BATCHES = 40 };

static int write_batches(struct writer *me) {
  for (uint32_t batch = 0; batch < BATCHES; batch++) {
    uint64_t values[BATCH];
    for (uint32_t n = 0; n < BATCH; n++) values[n] = batch * BATCH + n;
    size_t accepted = 0;
    OK(aimdb_set_many(me->producer, values, sizeof *values, BATCH, AIMDB_FOREVER, &accepted));
    CHECK(accepted == BATCH);
  }
  return 0;
}

static void *batch_writer(void *me) {
  ((struct writer *)me)->line = write_batches(me);
  return NULL;
}

int batches_from_threads(void) {
  aimdb_db *db;
  ONE_RECORD(sizeof(uint64_t), AIMDB_QUEUE, 16, &db);
  aimdb_consumer *consumer;
  OK(aimdb_consumer_new(db, "r", &consumer));
  struct writer writers[2];
  pthread_t threads[2];
  for (uint32_t n = 0; n < 2; n++) {
    writers[n] = (struct writer){NULL, n, 0, 0};
    OK(aimdb_producer_new(db, "r", &writers[n].producer));
    CHECK(pthread_create(&threads[n], NULL, batch_writer, &writers[n]) == 0);
  }
  uint64_t sum = 0, total = 0;
  while (total < 2 * BATCH * BATCHES) {
    uint64_t values[7];
    size_t count = 0;
    OK(aimdb_get_many(consumer, values, sizeof *values, 7, LONG_US, &count));
    CHECK(count >= 1 && count <= 7);
    total += count;
    while (count > 0) sum += values[--count];
  }
  CHECK(total == 2 * BATCH * BATCHES);
  CHECK(sum == (uint64_t)BATCH * BATCHES * (BATCH * BATCHES - 1));
  for (int n = 0; n < 2; n++) {
    CHECK(pthread_join(threads[n], NULL) == 0);
    CHECK(writers[n].line == 0);
  }
  /* A batch that does not fit in time reports how many values did. */
  uint64_t values[20] = {0};
  size_t accepted = 0, count = 1;
  CHECK(aimdb_set_many(writers[0].producer, values, sizeof *values, 20, WHILE_US, &accepted) == AIMDB_TIMEOUT);
  CHECK(accepted == 16);
  CHECK(aimdb_set_many(writers[0].producer, values, sizeof *values, 1, 0, NULL) == AIMDB_TIMEOUT);
  OK(aimdb_get_many(consumer, values, sizeof *values, 20, 0, &count));
  CHECK(count == 16);
  CHECK(aimdb_get_many(consumer, values, sizeof *values, 20, 0, &count) == AIMDB_TIMEOUT && count == 0);
  OK(aimdb_get_many(consumer, values, sizeof *values, 0, 0, &count));
  CHECK(count == 0);
  OK(aimdb_producer_free(writers[0].producer));
  OK(aimdb_producer_free(writers[1].producer));
  OK(aimdb_consumer_free(consumer));
  OK(aimdb_db_free(db));
  return 0;
}

static int make_and_free(aimdb_db *db) {
  for (int n = 0; n < 200; n++) {
    aimdb_producer *producer;
    aimdb_consumer *consumer;
    OK(aimdb_producer_new(db, "r", &producer));
    OK(aimdb_consumer_new(db, "r", &consumer));
    uint64_t value = 7;
    OK(aimdb_set(producer, &value, sizeof value));
    OK(aimdb_get(consumer, &value, sizeof value));
    CHECK(value == 7);
    OK(aimdb_producer_free(producer));
    OK(aimdb_consumer_free(consumer));
    CHECK(aimdb_set(producer, &value, sizeof value) == AIMDB_BAD_HANDLE);
    CHECK(aimdb_consumer_free(consumer) == AIMDB_BAD_HANDLE);
  }
  return 0;
}

static void *maker(void *db) {
  return make_and_free(db) == 0 ? NULL : db;
}

int handles_from_threads(void) {
  aimdb_db *db;
  ONE_RECORD(sizeof(uint64_t), AIMDB_RING, 16, &db);
  pthread_t threads[ALL];
  for (int n = 0; n < ALL; n++) CHECK(pthread_create(&threads[n], NULL, maker, db) == 0);
  for (int n = 0; n < ALL; n++) {
    void *failed;
    CHECK(pthread_join(threads[n], &failed) == 0);
    CHECK(failed == NULL);
  }
  OK(aimdb_db_free(db));
  return 0;
}

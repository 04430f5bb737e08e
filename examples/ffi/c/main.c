/*
 * Run with `examples/ffi/run c`.
 *
 * A tutorial of the C library: `examples/sync-api-demo` in C, line by line, with the same output. A workshop has one record
 * of each buffer kind. A reading is a struct that Rust defines (`workshop.h`, from `examples/ffi/records`); C defines the
 * types of the other records.
 *
 * 1. build() declares the graph, and attaches.
 * 2. readings(): several producers, three ways of reading, a ring.
 * 3. orders(): a queue holds a fast writer back; nothing is lost.
 * 4. setpoint(): latest shows the newest, a mailbox gives each command to one taker.
 * 5. burst(): a queued bridge, where a burst waits in its own queue.
 * 6. main() detaches: the accepted values are drained, and a report counts them.
 */

#include "workshop.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* A command is a string of at most 15 bytes: a record may hold any C type that can be copied byte by byte. */
typedef struct {
  char text[16];
} command;

static const uint32_t LAST_ORDER = UINT32_MAX;

/* Ends the program if a call failed. The message names the record, the expected and the actual, and the remedy. */
static void must(aimdb_status status) {
  if (status != AIMDB_OK) {
    fprintf(stderr, "%s\n", aimdb_last_error());
    exit(1);
  }
}

static aimdb_producer *producer_of(aimdb_db *db, const char *key) {
  aimdb_producer *producer;
  must(aimdb_producer_new(db, key, &producer));
  return producer;
}

static aimdb_consumer *consumer_of(aimdb_db *db, const char *key) {
  aimdb_consumer *consumer;
  must(aimdb_consumer_new(db, key, &consumer));
  return consumer;
}

static void start(pthread_t *thread, void *(*function)(void *), void *argument) {
  if (pthread_create(thread, NULL, function, argument) != 0) {
    fprintf(stderr, "cannot start a thread\n");
    exit(1);
  }
}

/* The tap of the orders. One thread of its own calls it, so its data needs no lock. */
static int32_t count_order(void *user_data, const void *value, size_t size, uint64_t lagged) {
  (void)value, (void)size, (void)lagged;
  ++*(unsigned *)user_data;
  return 0;
}

/* The library calls it once, when the tap has ended. */
static void free_count(void *user_data) {
  printf("   (the tap has seen %u orders)\n", *(unsigned *)user_data);
  free(user_data);
}

/* Declares the graph. aimdb_attach checks all of it and starts it on a thread of its own. */
static aimdb_db *build(void) {
  aimdb_builder *builder;
  must(aimdb_builder_new(&builder));
  must(reading_configure(builder, "workshop.reading", AIMDB_RING, 64));
  must(aimdb_configure_bytes(builder, "workshop.order", sizeof(uint32_t), AIMDB_QUEUE, 4));
  must(aimdb_tap(builder, "workshop.order", count_order, calloc(1, sizeof(unsigned)), free_count));
  must(aimdb_configure_bytes(builder, "workshop.setpoint", sizeof(float), AIMDB_LATEST, 0));
  must(aimdb_configure_bytes(builder, "workshop.command", sizeof(command), AIMDB_MAILBOX, 0));
  aimdb_db *db;
  must(aimdb_attach(builder, NULL, &db));
  return db;
}

struct sensor {
  const aimdb_producer *producer;
  uint32_t number;
};

static void *measure(void *argument) {
  const struct sensor *sensor = argument;
  for (int step = 0; step < 5; step++) {
    struct Reading reading = {sensor->number, 20.0f + (float)sensor->number + (float)step / 10.0f};
    must(reading_set(sensor->producer, reading));
  }
  return NULL;
}

/* Three threads write a ring; one reader waits without limit, one does not wait, one waits for a limited time. */
static void readings(aimdb_db *db) {
  aimdb_consumer *waiting = consumer_of(db, "workshop.reading");
  aimdb_consumer *polling = consumer_of(db, "workshop.reading");
  aimdb_consumer *timed = consumer_of(db, "workshop.reading");
  struct Reading reading;

  aimdb_status before = reading_try_get(polling, &reading);
  printf("1. before anything was written, try_get says: %s\n", aimdb_status_text(before));

  aimdb_producer *producer = producer_of(db, "workshop.reading");
  pthread_t threads[3];
  struct sensor sensors[3];
  for (uint32_t number = 0; number < 3; number++) {
    sensors[number] = (struct sensor){producer, number};
    start(&threads[number], measure, &sensors[number]);
  }
  for (int thread = 0; thread < 3; thread++) {
    pthread_join(threads[thread], NULL);
  }

  /* Each consumer has a position of its own and sees all fifteen. */
  float warmest = 0.0f;
  for (int nth = 0; nth < 15; nth++) {
    must(reading_get(waiting, &reading));
    warmest = reading.celsius > warmest ? reading.celsius : warmest;
  }
  printf("2. get: 15 readings, the warmest %.1f °C\n", warmest);

  int of_sensor_0 = 0;
  while (reading_try_get(polling, &reading) == AIMDB_OK) {
    of_sensor_0 += reading.sensor == 0;
  }
  printf("   try_get: %d of them from sensor 0\n", of_sensor_0);

  int count = 0;
  aimdb_status end;
  while ((end = reading_get_timeout(timed, &reading, 50 * 1000)) == AIMDB_OK) {
    count++;
  }
  must(end == AIMDB_TIMEOUT ? AIMDB_OK : end);
  printf("   with a timeout: %d readings, then time is up\n", count);

  must(aimdb_producer_free(producer));
  must(aimdb_consumer_free(waiting));
  must(aimdb_consumer_free(polling));
  must(aimdb_consumer_free(timed));
}

struct worker {
  const aimdb_consumer *orders;
  uint32_t taken;
};

static void *work(void *argument) {
  struct worker *worker = argument;
  uint32_t order;
  for (must(aimdb_get(worker->orders, &order, sizeof order)); order != LAST_ORDER;
       must(aimdb_get(worker->orders, &order, sizeof order))) {
    worker->taken++;
  }
  return NULL;
}

/* A queue of four, two threads that share one consumer, and a writer that has to wait for them. */
static void orders(aimdb_db *db) {
  aimdb_producer *producer = producer_of(db, "workshop.order");
  aimdb_consumer *consumer = consumer_of(db, "workshop.order");

  /* Threads that share a consumer divide the values: each order is taken once. */
  pthread_t threads[2];
  struct worker workers[2] = {{consumer, 0}, {consumer, 0}};
  for (int worker = 0; worker < 2; worker++) {
    start(&threads[worker], work, &workers[worker]);
  }
  for (uint32_t order = 0; order < 100; order++) {
    must(aimdb_set(producer, &order, sizeof order));
  }
  for (int worker = 0; worker < 2; worker++) {
    must(aimdb_set(producer, &LAST_ORDER, sizeof LAST_ORDER));
  }
  for (int worker = 0; worker < 2; worker++) {
    pthread_join(threads[worker], NULL);
  }
  printf("3. queue: 100 orders through a queue of 4, taken: %u\n", workers[0].taken + workers[1].taken);

  must(aimdb_producer_free(producer));
  /* A consumer that exists and does not read would hold the writers back. */
  must(aimdb_consumer_free(consumer));
}

/* Latest and mailbox keep one value: the newest. */
static void setpoint(aimdb_db *db) {
  aimdb_producer *setpoint = producer_of(db, "workshop.setpoint");
  aimdb_consumer *display = consumer_of(db, "workshop.setpoint");
  for (int step = 0; step < 3; step++) {
    float celsius = 19.0f + (float)step;
    must(aimdb_set(setpoint, &celsius, sizeof celsius));
  }
  float shown;
  uint64_t skipped;
  must(aimdb_get(display, &shown, sizeof shown));
  must(aimdb_lagged(display, &skipped));
  printf("4. latest: shows %.1f °C, %u older ones skipped\n", shown, (unsigned)skipped);

  aimdb_producer *commands = producer_of(db, "workshop.command");
  aimdb_consumer *motor = consumer_of(db, "workshop.command");
  command start = {"start"}, stop = {"stop"}, taken;
  must(aimdb_set(commands, &start, sizeof start));
  must(aimdb_set(commands, &stop, sizeof stop));
  must(aimdb_get(motor, &taken, sizeof taken));
  command none;
  aimdb_status then = aimdb_try_get(motor, &none, sizeof none);
  printf("   mailbox: the motor gets \"%s\", and then: %s\n", taken.text, aimdb_status_text(then));

  must(aimdb_producer_free(setpoint));
  must(aimdb_consumer_free(display));
  must(aimdb_producer_free(commands));
  must(aimdb_consumer_free(motor));
}

/* The queue of the producer takes a burst at once; a task moves the values to the record while the caller continues. */
static void burst(aimdb_db *db) {
  aimdb_producer *queued;
  must(aimdb_producer_with_capacity(db, "workshop.order", 1000, &queued));
  for (uint32_t order = 0; order < 500; order++) {
    /* There is room in the queue, so this never waits for the record's own four slots. */
    must(aimdb_try_set(queued, &order, sizeof order));
  }
  printf("5. queued bridge: a burst of 500 orders accepted at once\n");
  must(aimdb_producer_free(queued));
}

int main(void) {
  aimdb_db *db = build();
  char *graph;
  must(aimdb_graph_text(db, &graph));
  fprintf(stderr, "%s\n", graph);
  aimdb_string_free(graph);

  readings(db);
  orders(db);
  setpoint(db);
  burst(db);

  /* The taps drain the accepted values, blocked calls return AIMDB_CLOSED, the runtime thread is joined. */
  aimdb_report report;
  must(aimdb_detach(db, 10 * 1000 * 1000, &report));
  printf("6. detached: %u left, clean: %s\n", (unsigned)report.undelivered, report.clean ? "true" : "false");
  must(aimdb_db_free(db));
  return 0;
}

/* Structs that Rust and C share, by value. */
#include "check.h"
#include "interop_records.h"

int structs_by_value(void) {
  aimdb_builder *builder;
  aimdb_db *db;
  OK(aimdb_builder_new(&builder));
  OK(interop_reading_configure(builder, "reading", AIMDB_QUEUE, 4));
  OK(interop_batch_configure(builder, "batch", AIMDB_LATEST, 0));
  OK(aimdb_configure_bytes(builder, "bytes", sizeof(struct InteropReading), AIMDB_RING, 4));
  CHECK(aimdb_configure_bytes(builder, "reading", sizeof(struct InteropReading), AIMDB_QUEUE, 4) == AIMDB_WRONG_TYPE);
  CHECK(strstr(aimdb_last_error(), "`struct InteropReading` of 32 bytes") != NULL);
  /* The type of `batch` has no payloads for links. */
  CHECK(aimdb_link_to(builder, "batch", "mqtt://batch") == AIMDB_BAD_ARGUMENT);
  CHECK(strstr(aimdb_last_error(), "json") != NULL);
  OK(aimdb_attach(builder, NULL, &db));

  aimdb_producer *readings, *batches, *bytes;
  aimdb_consumer *reader, *batch_reader, *byte_reader;
  OK(aimdb_producer_new(db, "reading", &readings));
  OK(aimdb_producer_new(db, "batch", &batches));
  OK(aimdb_producer_new(db, "bytes", &bytes));
  OK(aimdb_consumer_new(db, "reading", &reader));
  OK(aimdb_consumer_new(db, "batch", &batch_reader));
  OK(aimdb_consumer_new(db, "bytes", &byte_reader));

  struct InteropReading reading = {1, 2, 3, {21.5, 30.0}}, got;
  OK(interop_reading_set(readings, reading));
  reading.number = 2;
  OK(interop_reading_try_set(readings, reading));
  reading.number = 3;
  OK(interop_reading_set_timeout(readings, reading, 1000));
  reading.number = 4;
  /* The general functions check the size only. */
  OK(aimdb_set(readings, &reading, sizeof reading));
  CHECK(interop_reading_try_set(readings, reading) == AIMDB_FULL);
  OK(interop_reading_latest(reader, &got));
  CHECK(got.number == 4);
  OK(interop_reading_get(reader, &got));
  CHECK(got.number == 1 && got.sensor == 2 && got.flags == 3 && got.celsius[0] == 21.5 && got.celsius[1] == 30.0);
  OK(interop_reading_try_get(reader, &got));
  OK(interop_reading_get_timeout(reader, &got, 1000));
  CHECK(got.number == 3);
  OK(aimdb_get(reader, &got, sizeof got));
  CHECK(got.number == 4);
  CHECK(interop_reading_try_get(reader, &got) == AIMDB_EMPTY);

  struct InteropReading many[3] = {{5, 0, 0, {0, 0}}, {6, 0, 0, {0, 0}}, {7, 0, 0, {0, 0}}}, taken[8];
  size_t count = 0;
  OK(interop_reading_set_many(readings, many, 3, AIMDB_FOREVER, &count));
  CHECK(count == 3);
  OK(interop_reading_get_many(reader, taken, 8, 1000, &count));
  CHECK(count == 3 && taken[2].number == 7);

  struct InteropBatch batch = {2, {{8, 0, 0, {0, 0}}, {9, 0, 0, {0, 0}}}, "abcd"}, back;
  OK(interop_batch_set(batches, batch));
  OK(interop_batch_get(batch_reader, &back));
  CHECK(back.count == 2 && back.readings[1].number == 9 && strcmp((char *)back.name, "abcd") == 0);

  /* Two types of the same size are different types. */
  CHECK(interop_reading_set(bytes, reading) == AIMDB_WRONG_TYPE);
  CHECK(strstr(aimdb_last_error(), "record `bytes` holds 32 bytes, but `struct InteropReading` was asked for") != NULL);
  CHECK(interop_reading_get(byte_reader, &got) == AIMDB_WRONG_TYPE);
  CHECK(interop_reading_get_many(byte_reader, taken, 8, 0, &count) == AIMDB_WRONG_TYPE && count == 0);
  CHECK(interop_reading_latest(byte_reader, &got) == AIMDB_WRONG_TYPE);
  CHECK(interop_batch_set(readings, batch) == AIMDB_WRONG_TYPE);
  CHECK(interop_reading_get(reader, NULL) == AIMDB_NULL);
  CHECK(interop_reading_set(NULL, reading) == AIMDB_NULL);

  OK(aimdb_producer_free(readings));
  OK(aimdb_producer_free(batches));
  OK(aimdb_producer_free(bytes));
  OK(aimdb_consumer_free(reader));
  OK(aimdb_consumer_free(batch_reader));
  OK(aimdb_consumer_free(byte_reader));
  OK(aimdb_db_free(db));
  return 0;
}

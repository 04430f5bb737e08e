/* Links to an MQTT broker: JSON, an exported struct as JSON, and raw bytes. */
#include "check.h"
#include "interop_records.h"

/* Waits until the links of both directions are connected, so that no message is published before its subscriber exists. */
static int connected(aimdb_db *db) {
  for (int tries = 0; tries < 30000; tries++) {
    char *health;
    OK(aimdb_health_json(db, &health));
    int up = strstr(health, "\"connected\":false") == NULL;
    aimdb_string_free(health);
    if (up) return 0;
    sleep_us(1000);
  }
  return __LINE__;
}

int links_to_a_broker(const char *url) {
  static const char *records[] = {"text", "struct", "bytes"};
  aimdb_builder *builder;
  aimdb_db *db;
  OK(aimdb_builder_new(&builder));
  OK(aimdb_mqtt(builder, NULL, url));
  OK(aimdb_configure_json(builder, "text", AIMDB_QUEUE, 4));
  OK(aimdb_configure_json(builder, "text.back", AIMDB_QUEUE, 4));
  OK(interop_reading_configure(builder, "struct", AIMDB_QUEUE, 4));
  OK(interop_reading_configure(builder, "struct.back", AIMDB_QUEUE, 4));
  OK(aimdb_configure_json(builder, "struct.seen", AIMDB_QUEUE, 4));
  OK(aimdb_configure_bytes(builder, "bytes", 5, AIMDB_QUEUE, 4));
  OK(aimdb_configure_bytes(builder, "bytes.back", 5, AIMDB_QUEUE, 4));
  for (int n = 0; n < 3; n++) {
    char address[64], back[64];
    snprintf(address, sizeof address, "mqtt://interop/%s?qos=1", records[n]);
    snprintf(back, sizeof back, "%s.back", records[n]);
    OK(aimdb_link_to(builder, records[n], address));
    OK(aimdb_link_from(builder, back, address));
  }
  OK(aimdb_link_from(builder, "struct.seen", "mqtt://interop/struct?qos=1"));
  OK(aimdb_attach(builder, NULL, &db));

  aimdb_consumer *texts, *structs, *seen, *bytes;
  OK(aimdb_consumer_new(db, "text.back", &texts));
  OK(aimdb_consumer_new(db, "struct.back", &structs));
  OK(aimdb_consumer_new(db, "struct.seen", &seen));
  OK(aimdb_consumer_new(db, "bytes.back", &bytes));
  aimdb_producer *text, *reading, *raw;
  OK(aimdb_producer_new(db, "text", &text));
  OK(aimdb_producer_new(db, "struct", &reading));
  OK(aimdb_producer_new(db, "bytes", &raw));
  RUN(connected(db));

  OK(aimdb_set_json(text, "{\"room\":\"Küche\"}"));
  char *json;
  OK(aimdb_get_json_timeout(texts, &json, LONG_US));
  CHECK(strcmp(json, "{\"room\":\"Küche\"}") == 0);
  aimdb_string_free(json);

  struct InteropReading sent = {7, 1, 2, {21.5, 30.0}}, got;
  OK(interop_reading_set(reading, sent));
  OK(interop_reading_get_timeout(structs, &got, LONG_US));
  CHECK(got.number == 7 && got.sensor == 1 && got.flags == 2 && got.celsius[0] == 21.5 && got.celsius[1] == 30.0);
  OK(aimdb_get_json_timeout(seen, &json, LONG_US));
  CHECK(strcmp(json, "{\"number\":7,\"sensor\":1,\"flags\":2,\"celsius\":[21.5,30.0]}") == 0);
  aimdb_string_free(json);

  char word[5];
  OK(aimdb_set(raw, "a\0bc\xff", 5));
  OK(aimdb_get_timeout(bytes, word, 5, LONG_US));
  CHECK(memcmp(word, "a\0bc\xff", 5) == 0);

  aimdb_report report;
  OK(aimdb_detach(db, LONG_US, &report));
  CHECK(report.clean);
  OK(aimdb_db_free(db));
  OK(aimdb_consumer_free(texts));
  OK(aimdb_consumer_free(structs));
  OK(aimdb_consumer_free(seen));
  OK(aimdb_consumer_free(bytes));
  OK(aimdb_producer_free(text));
  OK(aimdb_producer_free(reading));
  OK(aimdb_producer_free(raw));
  return 0;
}

/* A program that leaves SIGPIPE at its default, as C programs do: the signal ends it. */
#include <signal.h>

#include "check.h"

/* Sends values for `for_us` microseconds to a broker that goes away again and again. */
int values_for_a_broker_that_goes_away(const char *url, uint64_t for_us) {
  CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
  aimdb_builder *builder;
  aimdb_db *db;
  OK(aimdb_builder_new(&builder));
  OK(aimdb_mqtt(builder, NULL, url));
  OK(aimdb_configure_bytes(builder, "out", 256, AIMDB_RING, 64));
  OK(aimdb_link_to(builder, "out", "mqtt://out"));
  OK(aimdb_attach(builder, NULL, &db));
  aimdb_producer *out;
  OK(aimdb_producer_new(db, "out", &out));
  char value[256] = {0};
  for (uint64_t waited = 0; waited < for_us; waited += 100) {
    OK(aimdb_set(out, value, sizeof value));
    sleep_us(100);
  }
  OK(aimdb_producer_free(out));
  aimdb_detach(db, WHILE_US, NULL);
  OK(aimdb_db_free(db));
  return 0;
}

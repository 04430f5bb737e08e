/* Run with `examples/ffi/run hello`. The rest of this file is in crates/aimdb-ffi/README.md, word for word. */
#include <aimdb.h>
#include <stdio.h>

static int failed(void) { return fprintf(stderr, "%s\n", aimdb_last_error()), 1; }

int main(void) {
  aimdb_builder *builder;
  aimdb_db *db;
  if (aimdb_builder_new(&builder) != AIMDB_OK ||
      aimdb_configure_bytes(builder, "temp.celsius", sizeof(float), AIMDB_RING, 10) != AIMDB_OK ||
      aimdb_attach(builder, NULL, &db) != AIMDB_OK)
    return failed();

  aimdb_producer *sensor;
  aimdb_consumer *display;
  float celsius = 21.5f;
  if (aimdb_producer_new(db, "temp.celsius", &sensor) != AIMDB_OK ||
      aimdb_consumer_new(db, "temp.celsius", &display) != AIMDB_OK ||
      aimdb_set(sensor, &celsius, sizeof celsius) != AIMDB_OK ||
      aimdb_get_timeout(display, &celsius, sizeof celsius, 1000000) != AIMDB_OK) /* at most a second */
    return failed();
  printf("%.1f °C\n", celsius);

  aimdb_producer_free(sensor);
  aimdb_consumer_free(display);
  return aimdb_db_free(db) == AIMDB_OK ? 0 : failed(); /* detaches: drains the accepted values first */
}

/* Deliberate bugs: a sanitizer that reports nothing here proves nothing elsewhere. No test calls them. */
#include <pthread.h>
#include <stdlib.h>

#include "aimdb.h"

int race_for_the_sanitizer(void);
int use_after_free_for_the_sanitizer(void);

static int unguarded;

static void *count(void *db) {
  for (int n = 0; n < 10000; n++) unguarded++;
  return db;
}

int race_for_the_sanitizer(void) {
  pthread_t threads[2];
  for (int n = 0; n < 2; n++) pthread_create(&threads[n], NULL, count, NULL);
  for (int n = 0; n < 2; n++) pthread_join(threads[n], NULL);
  return unguarded == 0;
}

int use_after_free_for_the_sanitizer(void) {
  aimdb_builder *builder = NULL;
  aimdb_db *db = NULL;
  char *text = NULL;
  if (aimdb_builder_new(&builder) != AIMDB_OK || aimdb_attach(builder, NULL, &db) != AIMDB_OK) return 1;
  if (aimdb_graph_text(db, &text) != AIMDB_OK) return 1;
  volatile char *dangling = text;
  aimdb_string_free(text);
  return dangling[0];
}

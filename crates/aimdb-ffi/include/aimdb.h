/*
 * AimDB for C: records, taps, links, and blocking calls with deadlines.
 *
 * Generated from the crate aimdb-ffi; `AIMDB_BLESS=1 cargo test -p aimdb-ffi --test header` writes it.
 *
 * Every function answers an `aimdb_status`; `aimdb_last_error()` says more. Every pointer may be NULL without harm, which
 * is `AIMDB_NULL` unless NULL has a meaning. Handles (`aimdb_builder *` and so on) point nowhere: one that has been freed,
 * or is none, is `AIMDB_BAD_HANDLE`. What cannot be found out: a handle that is freed while another thread is in a call
 * with it, and a pointer to memory that is not there or too small.
 *
 * A call is not a cancellation point: end a blocked one with `aimdb_consumer_cancel` or `aimdb_producer_cancel`, not with
 * `pthread_cancel`. After `fork` the child has none of the library's threads: it may only `exec` or `_exit`. Detach before
 * `dlclose`. Before version 1.0 the structs may get more fields: header and library belong together, `aimdb_version()`.
 */

#ifndef AIMDB_H
#define AIMDB_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/**
 * No limit in time, for every `timeout_us`.
 */
#define AIMDB_FOREVER UINT64_MAX

/**
 * What a call answers. Everything but `AIMDB_OK` means that it did nothing, unless it says otherwise.
 */
typedef enum {
  /**
   * Done.
   */
  AIMDB_OK = 0,
  /**
   * Nothing new to read now.
   */
  AIMDB_EMPTY = 1,
  /**
   * No room now.
   */
  AIMDB_FULL = 2,
  /**
   * It did not happen in time.
   */
  AIMDB_TIMEOUT = 3,
  /**
   * The database has been detached or shut down, and for a consumer: everything has been read.
   */
  AIMDB_CLOSED = 4,
  /**
   * The wait was ended by `aimdb_consumer_cancel` or `aimdb_producer_cancel`.
   */
  AIMDB_CANCELLED = 5,
  /**
   * A pointer that must not be NULL is.
   */
  AIMDB_NULL = 6,
  /**
   * This is no handle, has been freed, or is a handle of another kind.
   */
  AIMDB_BAD_HANDLE = 7,
  /**
   * An argument has no such value.
   */
  AIMDB_BAD_ARGUMENT = 8,
  /**
   * A text is not UTF-8.
   */
  AIMDB_NOT_UTF8 = 9,
  /**
   * A text is not JSON.
   */
  AIMDB_NOT_JSON = 10,
  /**
   * The record's values have another size.
   */
  AIMDB_WRONG_SIZE = 11,
  /**
   * The record holds another type.
   */
  AIMDB_WRONG_TYPE = 12,
  /**
   * No record has this key.
   */
  AIMDB_NO_SUCH_RECORD = 13,
  /**
   * The graph is not valid; `aimdb_last_error` has all findings.
   */
  AIMDB_BAD_GRAPH = 14,
  /**
   * The record cannot have one more reader, or what was asked for can be had once only.
   */
  AIMDB_TAKEN = 15,
  /**
   * The call would wait for itself: it stands in a callback of this database.
   */
  AIMDB_WOULD_DEADLOCK = 16,
  /**
   * Stages kept the runtime busy past the deadline; its thread is left to them.
   */
  AIMDB_UNRESPONSIVE = 17,
  /**
   * The operating system refused something.
   */
  AIMDB_SYSTEM = 18,
  /**
   * A bug in AimDB or in a codec: code panicked. `aimdb_last_error` has its message.
   */
  AIMDB_PANIC = 19,
  /**
   * This build of the library, or this system, does not have it.
   */
  AIMDB_UNSUPPORTED = 20,
} aimdb_status;

/**
 * A graph that is being declared. From `aimdb_builder_new`; `aimdb_attach` or `aimdb_builder_free` takes it.
 */
typedef struct aimdb_builder aimdb_builder;

/**
 * Reads a record, with a position of its own. From `aimdb_consumer_new`, freed with `aimdb_consumer_free`. Threads that
 * share a consumer divide the values among them: each goes to one of them.
 */
typedef struct aimdb_consumer aimdb_consumer;

/**
 * A running database. From `aimdb_attach`, freed with `aimdb_db_free`.
 */
typedef struct aimdb_db aimdb_db;

/**
 * Writes a record. From `aimdb_producer_new`, freed with `aimdb_producer_free`.
 */
typedef struct aimdb_producer aimdb_producer;

/**
 * The kind of a record's buffer: one of `AIMDB_RING`, `AIMDB_QUEUE`, `AIMDB_LATEST`, `AIMDB_MAILBOX`.
 */
typedef uint32_t aimdb_buffer;

/**
 * Gets each value of a record, on a thread of its own. `value` points to `size` bytes, which are the callback's to read until
 * it returns, and how they are aligned depends on what the record was declared with:
 *
 * - `aimdb_configure_bytes`: to 8 bytes, whatever their size, on every system.
 * - a function of an exported type (`export_record!`): as that struct is, which can be less than 8; the generated header's
 *   `static_assert` has the number.
 * - `aimdb_configure_json`: not at all. They are a text, with a NUL behind it that `size` does not count.
 *
 * `missed` is how many values were lost since the one before. The callback may block, and may call every function of this
 * library; detaching its own database is `AIMDB_WOULD_DEADLOCK`.
 *
 * It returns 0 to go on. Everything else ends the tap, which has then failed with that number, and with the reason given to
 * `aimdb_tap_failed` (`aimdb_health_json`).
 * Nothing may be thrown or jump out of it.
 */
typedef int32_t (*aimdb_tap_fn)(void *user, const void *value, size_t size, uint64_t missed);

/**
 * Frees the `user` of a callback. It is called once: when the callback will not be called any more, on whichever thread. It
 * should be quick, and nothing may be thrown or jump out of it.
 */
typedef void (*aimdb_drop_fn)(void *user);

/**
 * How the database runs. All zero is the default, as is NULL in its place.
 */
typedef struct {
  /**
   * Worker threads for the stages of the graph, 1,024 at most; 0 runs them on the runtime thread itself.
   */
  uint32_t workers;
  /**
   * How long `aimdb_db_free` may take to drain, in microseconds; 0 for the default, 2 s.
   */
  uint64_t drop_deadline_us;
  /**
   * The runtime thread's name; NULL for the default, `aimdb-runtime`.
   */
  const char *thread_name;
} aimdb_options;

/**
 * What a shutdown did.
 */
typedef struct {
  /**
   * Everything accepted was dealt with, and every stage ended by itself.
   */
  bool clean;
  /**
   * How long it took, in microseconds.
   */
  uint64_t elapsed_us;
  /**
   * Values that taps, transforms and outbound links took after the shutdown began.
   */
  uint64_t drained;
  /**
   * Values that were accepted and not dealt with.
   */
  uint64_t undelivered;
  /**
   * Stages that were cut off at the deadline.
   */
  size_t aborted;
  /**
   * Stages that could not even be cut off.
   */
  size_t unresponsive;
  /**
   * Stages that had failed.
   */
  size_t failures;
} aimdb_report;

/**
 * How grave a line of the log is, from `AIMDB_LOG_ERROR` to `AIMDB_LOG_TRACE`.
 */
typedef uint32_t aimdb_log_level;

/**
 * Gets a line of the log: a text that ends with a NUL, the callback's to read until it returns. It may be called by
 * several threads at once and should be quick: the engine waits for it. It may call this library; what that logs on the same
 * thread is left out. Nothing may be thrown or jump out of it.
 */
typedef void (*aimdb_log_fn)(void *user, aimdb_log_level level, const char *message);

/**
 * Keeps the last `capacity` values; a slow reader loses the oldest, and they are counted.
 */
#define AIMDB_RING 0

/**
 * Keeps every value until every reader has it; a full queue of `capacity` values holds its writers back.
 */
#define AIMDB_QUEUE 1

/**
 * Keeps the current value; readers skip to the newest. It has no capacity: pass 0.
 */
#define AIMDB_LATEST 2

/**
 * Keeps one pending command; the newest wins and is taken once. It has no capacity: pass 0.
 */
#define AIMDB_MAILBOX 3

/**
 * Something failed.
 */
#define AIMDB_LOG_ERROR 1

/**
 * Something to look after: a value dropped, a connection lost.
 */
#define AIMDB_LOG_WARN 2

/**
 * Something worth knowing: a connection made.
 */
#define AIMDB_LOG_INFO 3

/**
 * For who looks for a fault.
 */
#define AIMDB_LOG_DEBUG 4

/**
 * Everything.
 */
#define AIMDB_LOG_TRACE 5

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Frees a text that a function of this library gave, or does nothing with NULL.
 *
 * Ownership: takes the text. One that the library did not give, or that has been freed, cannot be told and is undefined.
 * Thread safety: any thread.
 */
void aimdb_string_free(char *text);

/**
 * Begins a graph.
 *
 * Ownership: `aimdb_attach` takes the builder, or the caller frees it with `aimdb_builder_free`.
 * Thread safety: any thread; several may declare at once.
 */
aimdb_status aimdb_builder_new(aimdb_builder **out);

/**
 * Frees a builder that was not attached, and the data of its callbacks. Freeing it twice, or after `aimdb_attach`, is
 * `AIMDB_BAD_HANDLE`.
 *
 * Thread safety: no other thread may be in a call with it.
 */
aimdb_status aimdb_builder_free(aimdb_builder *builder);

/**
 * Declares a record whose values are `size` bytes: any C type that can be copied byte by byte. Up to 1,024 bytes live in
 * the buffer itself; a larger value is one allocation. `capacity` is for rings and queues.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_configure_bytes(const aimdb_builder *builder,
                                   const char *key,
                                   size_t size,
                                   aimdb_buffer kind,
                                   size_t capacity);

/**
 * Declares a record whose values are texts of JSON, checked as they are written.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_configure_json(const aimdb_builder *builder, const char *key, aimdb_buffer kind, size_t capacity);

/**
 * Lets several takers divide the commands of a mailbox. Without it a second taker is refused.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_shared(const aimdb_builder *builder, const char *key);

/**
 * Has `function` called with every value of the record `key`, which must have been declared; see `aimdb_tap_fn`.
 *
 * Ownership: `user` is the library's until it calls `free` (unless that is NULL) with it: once, on whichever thread, when
 * the callback will not be called any more; also if this call or `aimdb_attach` fails.
 * Thread safety: any thread. The callback is called on a thread of its own, never twice at once.
 */
aimdb_status aimdb_tap(const aimdb_builder *builder,
                       const char *key,
                       aimdb_tap_fn function,
                       void *user,
                       aimdb_drop_fn free);

/**
 * Adds a connection to the MQTT broker at `url`: `mqtt://host:port` or `mqtts://user:password@host:port`. `name` is the
 * scheme of the links that use it; NULL for `mqtt`. `AIMDB_UNSUPPORTED` if the library was built without MQTT.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_mqtt(const aimdb_builder *builder, const char *name, const char *url);

/**
 * Sends the values of the record `key` to `address`, for instance `mqtt://sensors/temperature?qos=1`. A JSON record and an
 * exported type with JSON send JSON; a record of bytes sends them as they are in this machine's memory.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_link_to(const aimdb_builder *builder,
                           const char *key,
                           const char *address);

/**
 * Fills the record `key` with what comes from `address`, for instance `mqtt://sensors/+/command?qos=1`. A payload that is
 * no value of the record is counted and dropped.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_link_from(const aimdb_builder *builder,
                             const char *key,
                             const char *address);

/**
 * Checks the whole graph, starts it on a thread of its own, and gives a handle. `AIMDB_BAD_GRAPH`: `aimdb_last_error` has
 * everything that is wrong with it, and nothing is left running.
 *
 * Ownership: takes the builder, also when it fails. The caller frees `*out` with `aimdb_db_free`; it is written on
 * `AIMDB_OK` only.
 * Thread safety: any thread; no other may be in a call with the builder.
 */
aimdb_status aimdb_attach(aimdb_builder *builder,
                          const aimdb_options *options,
                          aimdb_db **out);

/**
 * Makes a handle that reads the record `key` from now on (a latest record: from its current value on). `*out` is written
 * on `AIMDB_OK` only. `AIMDB_TAKEN`: it is a mailbox that has a taker, and `aimdb_shared` was not called for it.
 *
 * Ownership: the caller frees it with `aimdb_consumer_free`. It may outlive the database: it then gives what is left, and
 * after that `AIMDB_CLOSED`.
 * Thread safety: any thread; the handle may be used by any number of threads at once.
 */
aimdb_status aimdb_consumer_new(const aimdb_db *db,
                                const char *key,
                                aimdb_consumer **out);

/**
 * `aimdb_consumer_new` with a queue of `capacity` values between the record and the caller, so that this many more than
 * the record's buffer holds can wait. A latest record and a mailbox keep one value, whatever the capacity.
 * `AIMDB_BAD_ARGUMENT` if `capacity` is 0, or more than there is memory for. A task on the runtime fills the queue: after
 * `AIMDB_UNRESPONSIVE` it may be late with the end.
 *
 * Ownership and thread safety: as for `aimdb_consumer_new`.
 */
aimdb_status aimdb_consumer_with_capacity(const aimdb_db *db,
                                          const char *key,
                                          size_t capacity,
                                          aimdb_consumer **out);

/**
 * Frees a consumer: what it has not read no longer holds any writer back, and its descriptor is closed. Freeing it twice
 * is `AIMDB_BAD_HANDLE`.
 *
 * Thread safety: no other thread may be in a call with it: that cannot be found out and is undefined. End blocked calls
 * with `aimdb_consumer_cancel` and join their threads first.
 */
aimdb_status aimdb_consumer_free(aimdb_consumer *consumer);

/**
 * Takes the next value, waiting for it, and writes its `size` bytes to `value`. Values lost on the way are counted in
 * `aimdb_lagged`. `AIMDB_CLOSED` once everything has been read.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_get(const aimdb_consumer *consumer, void *value, size_t size);

/**
 * `aimdb_get` without waiting: `AIMDB_EMPTY` if there is nothing new.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_try_get(const aimdb_consumer *consumer, void *value, size_t size);

/**
 * `aimdb_get`, waiting no longer than `timeout_us` microseconds: `AIMDB_TIMEOUT`. Zero tries once.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_get_timeout(const aimdb_consumer *consumer, void *value, size_t size, uint64_t timeout_us);

/**
 * Takes up to `max` values of `size` bytes each into the array at `values`, waiting for the first no longer than
 * `timeout_us` microseconds (`AIMDB_FOREVER` for no limit). `*count` is how many were taken: 0 unless the answer is
 * `AIMDB_OK`, and then at least 1, unless `max` is 0.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_get_many(const aimdb_consumer *consumer,
                            void *values,
                            size_t size,
                            size_t max,
                            uint64_t timeout_us,
                            size_t *count);

/**
 * Writes the newest value that the record holds to `value`, without taking it. `AIMDB_EMPTY` if there was none yet, and
 * on a queue or a mailbox also when everything has been taken.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_latest(const aimdb_consumer *consumer, void *value, size_t size);

/**
 * How many values this consumer has lost so far, those it has not come to yet included. On a mailbox: how many commands
 * were replaced by the ones it took.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_lagged(const aimdb_consumer *consumer, uint64_t *count);

/**
 * Takes the next text of a JSON record, waiting for it.
 *
 * Ownership: the caller frees `*json` with `aimdb_string_free`; it is written on `AIMDB_OK` only.
 * Thread safety: any thread.
 */
aimdb_status aimdb_get_json(const aimdb_consumer *consumer, char **json);

/**
 * `aimdb_get_json` without waiting: `AIMDB_EMPTY` if there is nothing new.
 *
 * Ownership and thread safety: as for `aimdb_get_json`.
 */
aimdb_status aimdb_try_get_json(const aimdb_consumer *consumer, char **json);

/**
 * `aimdb_get_json`, waiting no longer than `timeout_us` microseconds: `AIMDB_TIMEOUT`. Zero tries once.
 *
 * Ownership and thread safety: as for `aimdb_get_json`.
 */
aimdb_status aimdb_get_json_timeout(const aimdb_consumer *consumer, char **json, uint64_t timeout_us);

/**
 * The newest text that a JSON record holds, without taking it: `AIMDB_EMPTY` as for `aimdb_latest`.
 *
 * Ownership and thread safety: as for `aimdb_get_json`.
 */
aimdb_status aimdb_latest_json(const aimdb_consumer *consumer, char **json);

/**
 * The size of the record's values in bytes; 0 for JSON.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_consumer_size(const aimdb_consumer *consumer, size_t *size);

/**
 * Waits until one of `count` consumers, of any types and databases, has something to take or has ended, no longer than
 * `timeout_us` microseconds (`AIMDB_FOREVER` for no limit). `*index` is the first such consumer's place in the array.
 * Nothing is taken yet, so another thread that shares the consumer may be first. `AIMDB_CANCELLED` if one of them is
 * cancelled.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_wait_any(aimdb_consumer *const *consumers, size_t count, uint64_t timeout_us, size_t *index);

/**
 * Ends the waits of all calls that are blocked with this consumer, and of all that would have to wait, with
 * `AIMDB_CANCELLED`, until `aimdb_consumer_resume`. What is there to read is given all the same.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_consumer_cancel(const aimdb_consumer *consumer);

/**
 * Lets calls with this consumer wait again.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_consumer_resume(const aimdb_consumer *consumer);

/**
 * A file descriptor that is readable (`poll`, `select`, `epoll`, level-triggered) while there is something to take, or
 * when the record has ended. Take until `AIMDB_EMPTY`: only that makes it unreadable again. Do not read from it and do
 * not close it. The same one for every call. Unix only: elsewhere `AIMDB_UNSUPPORTED`.
 *
 * Ownership: the consumer's; it is closed by `aimdb_consumer_free`.
 * Thread safety: any thread.
 */
aimdb_status aimdb_consumer_fd(const aimdb_consumer *consumer, int *fd);

/**
 * Asks for a shutdown and does not wait for it: what a callback can do. `aimdb_detach` gives the report.
 *
 * Thread safety: any thread, callbacks too.
 */
aimdb_status aimdb_request_shutdown(const aimdb_db *db);

/**
 * Shuts down in order: everything accepted flows through, every blocked call is woken with `AIMDB_CLOSED`, and the
 * runtime thread ends. What is not done within `deadline_us` microseconds is cut off and reported: `AIMDB_OK` with a
 * report that is not clean. `AIMDB_UNRESPONSIVE` if stages cannot even be cut off; the runtime thread is then left to them.
 *
 * A second call, from whichever thread, waits for the first and gives the same answer. `report` may be NULL; else it is all
 * zero where there is nothing to report. With `AIMDB_FOREVER` it waits for callbacks as long as they take: two databases whose
 * callbacks detach one another then wait for ever.
 *
 * Afterwards no callback runs any more, unless the report says that taps were cut off: one of those may still be in its
 * last call, and then gets no further value.
 *
 * Thread safety: any thread but a callback of this database: `AIMDB_WOULD_DEADLOCK`.
 */
aimdb_status aimdb_detach(const aimdb_db *db,
                          uint64_t deadline_us,
                          aimdb_report *report);

/**
 * Frees the handle, after detaching the database if that has not been done, with the deadline of
 * `aimdb_options.drop_deadline_us`. Who wants to know what was left, and whether a callback was cut off, detaches first.
 * Freeing it twice is `AIMDB_BAD_HANDLE`.
 *
 * Thread safety: any thread, also while others, and callbacks, are in a call with it; but not in a callback of this database:
 * `AIMDB_WOULD_DEADLOCK`, and the handle is still good.
 */
aimdb_status aimdb_db_free(aimdb_db *db);

/**
 * Whether every stage and link is well and no shutdown has begun.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_is_healthy(const aimdb_db *db, bool *healthy);

/**
 * How every stage, link and blocked writer is now, as JSON.
 *
 * Ownership: the caller frees `*json` with `aimdb_string_free`; it is written on `AIMDB_OK` only.
 * Thread safety: any thread.
 */
aimdb_status aimdb_health_json(const aimdb_db *db, char **json);

/**
 * What was counted so far, record by record and reader by reader, as JSON.
 *
 * Ownership and thread safety: as for `aimdb_health_json`.
 */
aimdb_status aimdb_metrics_json(const aimdb_db *db, char **json);

/**
 * The graph, as JSON.
 *
 * Ownership and thread safety: as for `aimdb_health_json`.
 */
aimdb_status aimdb_graph_json(const aimdb_db *db, char **json);

/**
 * The graph, as a text for people.
 *
 * Ownership and thread safety: as for `aimdb_health_json`.
 */
aimdb_status aimdb_graph_text(const aimdb_db *db, char **text);

/**
 * The whole report of the last `aimdb_detach`, as JSON: what was left, stage by stage, and why stages failed. `AIMDB_EMPTY`
 * before there is one.
 *
 * Ownership and thread safety: as for `aimdb_health_json`.
 */
aimdb_status aimdb_report_json(const aimdb_db *db,
                               char **json);

/**
 * Has `function` called with every line of the log up to `finest`, in the whole process, in place of the one before; NULL
 * for none. `AIMDB_TAKEN` if a Rust part of the program has chosen a `tracing` subscriber of its own.
 *
 * Ownership: `user` is the library's until it calls `free` (unless that is NULL) with it: once, when the hook has been
 * replaced or was refused and its last call has returned, on whichever thread.
 * Thread safety: any thread.
 */
aimdb_status aimdb_set_log(aimdb_log_fn function,
                           aimdb_log_level finest,
                           void *user,
                           aimdb_drop_fn free);

/**
 * Makes a handle that writes the record `key`. `*out` is written on `AIMDB_OK` only.
 *
 * Ownership: the caller frees it with `aimdb_producer_free`. It may outlive the database, and then answers
 * `AIMDB_CLOSED`.
 * Thread safety: any thread; the handle may be used by any number of threads at once.
 */
aimdb_status aimdb_producer_new(const aimdb_db *db, const char *key, aimdb_producer **out);

/**
 * `aimdb_producer_new` with a queue of `capacity` values between the caller and the record: a burst waits there, and a full
 * queue holds back this handle's callers only. A value that was set may be seen later. What the queue has accepted is
 * drained by `aimdb_detach`. `AIMDB_BAD_ARGUMENT` if `capacity` is 0.
 *
 * Ownership and thread safety: as for `aimdb_producer_new`.
 */
aimdb_status aimdb_producer_with_capacity(const aimdb_db *db,
                                          const char *key,
                                          size_t capacity,
                                          aimdb_producer **out);

/**
 * Frees a producer. Freeing it twice is `AIMDB_BAD_HANDLE`.
 *
 * Thread safety: no other thread may be in a call with it: that cannot be found out and is undefined. End blocked calls
 * with `aimdb_producer_cancel` and join their threads first.
 */
aimdb_status aimdb_producer_free(aimdb_producer *producer);

/**
 * Writes the value of `size` bytes at `value`, waiting for room where there is none: on a queue. Every other buffer takes
 * it at once. `AIMDB_CLOSED`, `AIMDB_CANCELLED`: not written.
 *
 * Ownership: the value is copied. Its alignment does not matter.
 * Thread safety: any thread.
 */
aimdb_status aimdb_set(const aimdb_producer *producer,
                       const void *value,
                       size_t size);

/**
 * `aimdb_set` without waiting: `AIMDB_FULL` if there is no room now.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_try_set(const aimdb_producer *producer, const void *value, size_t size);

/**
 * `aimdb_set`, waiting no longer than `timeout_us` microseconds: `AIMDB_TIMEOUT`. Zero tries once.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_set_timeout(const aimdb_producer *producer, const void *value, size_t size, uint64_t timeout_us);

/**
 * Writes the `count` values of `size` bytes each that stand one after the other at `values`, in order, waiting for room
 * no longer than `timeout_us` microseconds for all together (`AIMDB_FOREVER` for no limit). `*accepted`, if it is not
 * NULL, is how many were written, also when the answer is not `AIMDB_OK`: they were the first ones.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_set_many(const aimdb_producer *producer,
                            const void *values,
                            size_t size,
                            size_t count,
                            uint64_t timeout_us,
                            size_t *accepted);

/**
 * Writes a text of JSON to a JSON record, waiting for room where there is none. `AIMDB_NOT_JSON` says where it is none.
 *
 * Ownership: the text is copied.
 * Thread safety: any thread.
 */
aimdb_status aimdb_set_json(const aimdb_producer *producer, const char *json);

/**
 * `aimdb_set_json` without waiting: `AIMDB_FULL` if there is no room now.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_try_set_json(const aimdb_producer *producer, const char *json);

/**
 * `aimdb_set_json`, waiting no longer than `timeout_us` microseconds: `AIMDB_TIMEOUT`. Zero tries once.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_set_json_timeout(const aimdb_producer *producer, const char *json, uint64_t timeout_us);

/**
 * The size of the record's values in bytes; 0 for JSON.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_producer_size(const aimdb_producer *producer, size_t *size);

/**
 * Ends the waits of all calls that are blocked with this producer, and of all that would have to wait, with
 * `AIMDB_CANCELLED`, until `aimdb_producer_resume`. Values for which there is room are written all the same.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_producer_cancel(const aimdb_producer *producer);

/**
 * Lets calls with this producer wait again.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_producer_resume(const aimdb_producer *producer);

/**
 * The version of the library, for instance `0.1.0`. The text lives for ever.
 *
 * Thread safety: any thread.
 */
const char *aimdb_version(void);

/**
 * A status in words. The text lives for ever. A number that is no status gives a text that says so.
 *
 * Thread safety: any thread.
 */
const char *aimdb_status_text(int32_t status);

/**
 * What the last call on this thread that did not answer `AIMDB_OK` had to say: which record, expected and actual, and
 * the remedy. For what is news rather than an error (`AIMDB_EMPTY` to `AIMDB_CANCELLED`) it is the status's own text. Empty
 * if there was none.
 *
 * Ownership: the text is the library's; it lives until the next call on this thread that fails.
 * Thread safety: any thread; each has its own.
 */
const char *aimdb_last_error(void);

/**
 * Says why the callback that this call stands in is about to return something else than 0: the text goes into the log and
 * `aimdb_health_json`. `AIMDB_BAD_ARGUMENT` outside of a callback.
 *
 * Ownership: the text is copied.
 * Thread safety: the callback's own thread.
 */
aimdb_status aimdb_tap_failed(const char *reason);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* AIMDB_H */

/*
 * AimDB for C: records, taps, links, and blocking calls with deadlines.
 *
 * Generated from the crate aimdb-ffi; `AIMDB_BLESS=1 cargo test -p aimdb-ffi --test header` writes it.
 *
 * Every function that can fail returns an `aimdb_status`; `aimdb_last_error()` has the message. Every pointer is checked for
 * NULL, which is `AIMDB_NULL` unless NULL has a meaning. A handle (`aimdb_builder *` and so on) does not point to memory: one
 * that is invalid or has been freed is `AIMDB_BAD_HANDLE`. The library cannot detect a handle that is freed while another
 * thread is in a call with it, nor a pointer to memory that is invalid or too small.
 *
 * A call is not a cancellation point: end a blocked call with `aimdb_consumer_cancel` or `aimdb_producer_cancel`, not with
 * `pthread_cancel`. After `fork` the child has none of the library's threads: it may only `exec` or `_exit`. Detach before
 * `dlclose`.
 *
 * Before version 1.0 the structs of this file may get further fields, and the enum further numbers. Compile a program with the
 * header of the library that it links; `aimdb_version()` returns the library's version.
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
 * The result of a call.
 *
 * A call that returns another status than `AIMDB_OK` had no effect, unless its documentation says otherwise. A later
 * version may add numbers: treat one that you do not know as an error.
 */
typedef enum {
  /**
   * Success.
   */
  AIMDB_OK = 0,
  /**
   * No new value to read now.
   */
  AIMDB_EMPTY = 1,
  /**
   * No room now.
   */
  AIMDB_FULL = 2,
  /**
   * The time limit has passed.
   */
  AIMDB_TIMEOUT = 3,
  /**
   * The database has been detached or shut down. A consumer returns it only once its record is drained.
   */
  AIMDB_CLOSED = 4,
  /**
   * `aimdb_consumer_cancel` or `aimdb_producer_cancel` ended the wait.
   */
  AIMDB_CANCELLED = 5,
  /**
   * A pointer is NULL that must not be.
   */
  AIMDB_NULL = 6,
  /**
   * The handle is no handle, has been freed, or is a handle of another type.
   */
  AIMDB_BAD_HANDLE = 7,
  /**
   * An argument is out of range.
   */
  AIMDB_BAD_ARGUMENT = 8,
  /**
   * A string is not UTF-8.
   */
  AIMDB_NOT_UTF8 = 9,
  /**
   * A string is not JSON.
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
   * The record cannot have another reader, or a resource that exists once is in use already.
   */
  AIMDB_TAKEN = 15,
  /**
   * The call would wait for itself, because a callback of the same database makes it.
   */
  AIMDB_WOULD_DEADLOCK = 16,
  /**
   * Stages kept the runtime busy past the deadline and could not be aborted; the runtime thread still runs them.
   */
  AIMDB_UNRESPONSIVE = 17,
  /**
   * The operating system refused an operation.
   */
  AIMDB_SYSTEM = 18,
  /**
   * A bug in AimDB or in a codec: code panicked. `aimdb_last_error` has the panic's message.
   */
  AIMDB_PANIC = 19,
  /**
   * This build of the library, or this operating system, does not support the operation.
   */
  AIMDB_UNSUPPORTED = 20,
} aimdb_status;

/**
 * A graph that is being declared.
 *
 * `aimdb_builder_new` makes it; `aimdb_attach` or `aimdb_builder_free` takes it.
 */
typedef struct aimdb_builder aimdb_builder;

/**
 * Reads a record, with a position of its own.
 *
 * `aimdb_consumer_new` makes it, `aimdb_consumer_free` frees it. Threads that share a consumer divide its values: each value
 * is taken by one of them.
 */
typedef struct aimdb_consumer aimdb_consumer;

/**
 * A running database.
 *
 * `aimdb_attach` makes it, `aimdb_db_free` frees it.
 */
typedef struct aimdb_db aimdb_db;

/**
 * Looks at a record, and changes nothing: no writer waits for it, it takes no command, and consumers get what they would
 * without it.
 *
 * `aimdb_observe` makes it, `aimdb_observer_free` frees it.
 */
typedef struct aimdb_observer aimdb_observer;

/**
 * Writes a record.
 *
 * `aimdb_producer_new` makes it, `aimdb_producer_free` frees it.
 */
typedef struct aimdb_producer aimdb_producer;

/**
 * The kind of a record's buffer: `AIMDB_RING`, `AIMDB_QUEUE`, `AIMDB_LATEST` or `AIMDB_MAILBOX`.
 */
typedef uint32_t aimdb_buffer_kind;

/**
 * Receives each value of a record, on a thread of its own.
 *
 * `value` points to `size` bytes that the callback may read until it returns. Their alignment depends on how the record
 * was declared:
 *
 * - `aimdb_configure_bytes`: 8 bytes, whatever the size, on every system.
 * - a function of an exported type (`export_record!`): the alignment of that struct, which can be less than 8. The
 *   `static_assert` in the generated header has the number.
 * - `aimdb_configure_json`: no alignment. The value is a string, followed by a NUL that `size` does not count.
 *
 * `lagged` is how many values the tap has lost since its previous value.
 *
 * The callback returns 0 to continue. Any other number ends the tap as failed, with that number, and with the message
 * that the callback passed to `aimdb_tap_set_error` (see `aimdb_health_json`).
 *
 * The callback may block, and may call every function of this library, except that to detach or free its own database is
 * `AIMDB_WOULD_DEADLOCK`. It must neither throw nor `longjmp`.
 */
typedef int32_t (*aimdb_tap_fn)(void *user_data, const void *value, size_t size, uint64_t lagged);

/**
 * Frees the `user_data` of a callback.
 *
 * The library calls it once, on any thread, after the last call of the callback. It should be quick. It must neither throw
 * nor `longjmp`.
 */
typedef void (*aimdb_free_fn)(void *user_data);

/**
 * How a database runs. A struct of zeros is the default, and so is a NULL pointer.
 *
 * The struct may get further fields before version 1.0. Initialise it with `= {0}` and assign the fields, so that a later
 * field has its default, and compile with the header of the library that is linked.
 */
typedef struct {
  /**
   * Worker threads for the stages of the graph, at most 1,024; 0 runs the stages on the runtime thread itself.
   */
  uint32_t workers;
  /**
   * How long `aimdb_db_free` may take to drain, in microseconds; 0 for the default, 2 s.
   */
  uint64_t drop_deadline_us;
  /**
   * The name of the runtime thread; NULL for the default, `aimdb-runtime`.
   */
  const char *thread_name;
} aimdb_options;

/**
 * The result of a shutdown, in numbers; `aimdb_report_json` has the names.
 *
 * The struct may get further fields before version 1.0: compile with the header of the library that is linked.
 */
typedef struct {
  /**
   * Every accepted value was delivered, and every stage ended by itself.
   */
  bool clean;
  /**
   * How long the shutdown took, in microseconds.
   */
  uint64_t elapsed_us;
  /**
   * Values that taps, transforms and outbound links took after the shutdown began.
   */
  uint64_t drained;
  /**
   * Values that were accepted and not delivered.
   */
  uint64_t undelivered;
  /**
   * Stages that were aborted at the deadline.
   */
  size_t aborted;
  /**
   * Stages that could not be aborted.
   */
  size_t unresponsive;
  /**
   * Stages that failed.
   */
  size_t failures;
} aimdb_report;

/**
 * The severity of a log line, from `AIMDB_LOG_ERROR` to `AIMDB_LOG_TRACE`.
 */
typedef uint32_t aimdb_log_level;

/**
 * Receives a line of the log.
 *
 * `message` ends with a NUL; the callback may read it until it returns. Several threads may call the callback at once. It
 * should be quick, because the engine waits for it. It may call this library, but lines that such a call logs on the same
 * thread are left out. It must neither throw nor `longjmp`.
 */
typedef void (*aimdb_log_fn)(void *user_data, aimdb_log_level level, const char *message);

/**
 * Which value an observer has seen.
 *
 * The struct may get further fields before version 1.0: compile with the header of the library that is linked.
 */
typedef struct {
  /**
   * The number of the value among those that the record accepted, from one.
   */
  uint64_t number;
  /**
   * Values between this one and the one before that this observer did not see, or since it came.
   */
  uint64_t missed;
} aimdb_seen;

/**
 * Keeps the last `capacity` values. A slow reader loses the oldest ones, and its lag counts them.
 */
#define AIMDB_RING 0

/**
 * Keeps each value until every reader has taken it. A queue of `capacity` values that is full makes its writers wait.
 */
#define AIMDB_QUEUE 1

/**
 * Keeps the current value; readers skip to the newest. It has no capacity: pass 0.
 */
#define AIMDB_LATEST 2

/**
 * Keeps one pending command; the newest replaces it, and one taker takes it. It has no capacity: pass 0.
 */
#define AIMDB_MAILBOX 3

/**
 * An operation failed.
 */
#define AIMDB_LOG_ERROR 1

/**
 * A condition to look into: a value dropped, a connection lost.
 */
#define AIMDB_LOG_WARN 2

/**
 * A normal event: a connection made.
 */
#define AIMDB_LOG_INFO 3

/**
 * Details for debugging.
 */
#define AIMDB_LOG_DEBUG 4

/**
 * Every detail.
 */
#define AIMDB_LOG_TRACE 5

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Frees a string that a function of this library returned; does nothing with NULL.
 *
 * Ownership: takes the string. The library cannot detect a string that it did not return or that is freed already: the
 * behaviour is undefined.
 * Thread safety: any thread.
 */
void aimdb_string_free(char *string);

/**
 * Makes a builder, which declares a graph.
 *
 * Ownership: `aimdb_attach` takes the builder, or the caller frees it with `aimdb_builder_free`.
 * Thread safety: any thread; several threads may use one builder at once.
 */
aimdb_status aimdb_builder_new(aimdb_builder **out);

/**
 * Frees a builder that was not attached, and the data of its callbacks.
 *
 * To free it twice, or after `aimdb_attach`, is `AIMDB_BAD_HANDLE`.
 *
 * Thread safety: no other thread may be in a call with the builder.
 */
aimdb_status aimdb_builder_free(aimdb_builder *builder);

/**
 * Declares a record whose values are `size` bytes: any C type that can be copied byte by byte.
 *
 * Up to 1,024 bytes are stored in the buffer itself; a larger value is one allocation. `capacity` is for rings and queues.
 * `AIMDB_WRONG_TYPE` if the record was declared with another type. `AIMDB_BAD_ARGUMENT` if `size` is 0, or if there is no such
 * buffer kind.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_configure_bytes(const aimdb_builder *builder,
                                   const char *key,
                                   size_t size,
                                   aimdb_buffer_kind kind,
                                   size_t capacity);

/**
 * Declares a record whose values are JSON strings, each of which is checked when it is written.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_configure_json(const aimdb_builder *builder,
                                  const char *key,
                                  aimdb_buffer_kind kind,
                                  size_t capacity);

/**
 * Lets several takers divide the commands of a mailbox. Without it a second taker is refused.
 *
 * `AIMDB_NO_SUCH_RECORD` if the record has not been declared.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_shared(const aimdb_builder *builder, const char *key);

/**
 * Adds a tap: `function` is called with every value of the record `key`. See `aimdb_tap_fn`.
 *
 * `AIMDB_NO_SUCH_RECORD` if the record has not been declared.
 *
 * Ownership: the library owns `user_data` until it calls `free` with it (unless `free` is NULL): once, on any thread, after
 * the last call of the callback. That holds too if this call or `aimdb_attach` fails.
 * Thread safety: any thread. The library calls the callback on a thread of its own, never twice at once.
 */
aimdb_status aimdb_tap(const aimdb_builder *builder,
                       const char *key,
                       aimdb_tap_fn function,
                       void *user_data,
                       aimdb_free_fn free);

/**
 * Adds a connection to the MQTT broker at `url`: `mqtt://host:port` or `mqtts://user:password@host:port`.
 *
 * `name` is the scheme of the links that use the connection; NULL for `mqtt`. `AIMDB_UNSUPPORTED` if the library was built
 * without MQTT.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_mqtt(const aimdb_builder *builder,
                        const char *name,
                        const char *url);

/**
 * Sends the values of the record `key` to `address`, for instance `mqtt://sensors/temperature?qos=1`.
 *
 * A JSON record, and a record of an exported type with JSON, send JSON. A record of bytes sends its values as they are in the
 * memory of this machine. `AIMDB_NO_SUCH_RECORD` if the record has not been declared; `AIMDB_BAD_ARGUMENT` if its type was
 * exported without JSON.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_link_to(const aimdb_builder *builder,
                           const char *key,
                           const char *address);

/**
 * Fills the record `key` with the messages from `address`, for instance `mqtt://sensors/+/command?qos=1`.
 *
 * The link counts and drops a payload that is not a value of the record. `AIMDB_NO_SUCH_RECORD` if the record has not been
 * declared; `AIMDB_BAD_ARGUMENT` if its type was exported without JSON.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_link_from(const aimdb_builder *builder,
                             const char *key,
                             const char *address);

/**
 * Checks the whole graph, starts it on a thread of its own, and makes a handle of the database.
 *
 * `AIMDB_BAD_GRAPH` if the graph is not valid: `aimdb_last_error` has all findings, and nothing keeps running.
 *
 * Ownership: takes the builder, also if the call fails. The caller frees `*out` with `aimdb_db_free`; it is written on
 * `AIMDB_OK` only.
 * Thread safety: any thread; no other thread may be in a call with the builder.
 */
aimdb_status aimdb_attach(aimdb_builder *builder, const aimdb_options *options, aimdb_db **out);

/**
 * Makes a consumer of the record `key`, which reads from now on (a latest record: from its current value on).
 *
 * `*out` is written on `AIMDB_OK` only. `AIMDB_NO_SUCH_RECORD` if there is no such record. `AIMDB_TAKEN` if the record is a
 * mailbox that has a taker, and `aimdb_shared` was not called for it.
 *
 * Ownership: the caller frees it with `aimdb_consumer_free`. It may outlive the database: it then returns the values that are
 * left, and after them `AIMDB_CLOSED`.
 * Thread safety: any thread; any number of threads may use the handle at once.
 */
aimdb_status aimdb_consumer_new(const aimdb_db *db,
                                const char *key,
                                aimdb_consumer **out);

/**
 * Makes a consumer with a queue of `capacity` values between the record and the caller.
 *
 * The queue holds `capacity` values in addition to the record's buffer. For a latest record and a mailbox it holds one value,
 * whatever the capacity. `AIMDB_BAD_ARGUMENT` if `capacity` is 0, or more than the memory allows. A task on the runtime fills
 * the queue: after `AIMDB_UNRESPONSIVE` that task may deliver `AIMDB_CLOSED` late. Otherwise as `aimdb_consumer_new`.
 *
 * Ownership and thread safety: as for `aimdb_consumer_new`.
 */
aimdb_status aimdb_consumer_with_capacity(const aimdb_db *db,
                                          const char *key,
                                          size_t capacity,
                                          aimdb_consumer **out);

/**
 * Frees a consumer: its unread values no longer hold a writer back, and its descriptor is closed.
 *
 * To free it twice is `AIMDB_BAD_HANDLE`.
 *
 * Thread safety: no other thread may be in a call with the consumer. The library cannot detect that, and the behaviour is
 * undefined. End blocked calls with `aimdb_consumer_cancel` and join their threads first.
 */
aimdb_status aimdb_consumer_free(aimdb_consumer *consumer);

/**
 * Takes the next value, waits for it, and writes its `size` bytes to `value`.
 *
 * `aimdb_lagged` counts the values that were lost before it. `AIMDB_CLOSED` once the record is drained. `AIMDB_WRONG_SIZE` if
 * `size` is not the size of the record's values: no value is taken.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_get(const aimdb_consumer *consumer,
                       void *value,
                       size_t size);

/**
 * Takes the next value without waiting: `AIMDB_EMPTY` if there is none.
 *
 * Otherwise as `aimdb_get`.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_try_get(const aimdb_consumer *consumer, void *value, size_t size);

/**
 * Takes the next value and waits for it at most `timeout_us` microseconds: then `AIMDB_TIMEOUT`.
 *
 * A timeout of 0 tries once. Otherwise as `aimdb_get`.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_get_timeout(const aimdb_consumer *consumer, void *value, size_t size, uint64_t timeout_us);

/**
 * Takes up to `max` values of `size` bytes each into the array at `values`.
 *
 * The call waits for the first value at most `timeout_us` microseconds (`AIMDB_FOREVER` for no limit), and for the others not
 * at all. `*count` is the number of values taken: on `AIMDB_OK` at least 1, unless `max` is 0; otherwise 0.
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
 * Copies the newest value of the record to `value`, without taking it.
 *
 * `AIMDB_EMPTY` if no value was written yet; on a queue or a mailbox also if every value has been taken.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_latest(const aimdb_consumer *consumer, void *value, size_t size);

/**
 * Writes the number of values that this consumer has lost so far to `*count`.
 *
 * The count includes lost values at positions that the consumer has not reached yet. On a mailbox it is the number of commands
 * that were replaced by the ones that the consumer took.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_lagged(const aimdb_consumer *consumer,
                          uint64_t *count);

/**
 * Takes the next JSON string of a JSON record, and waits for it.
 *
 * `AIMDB_CLOSED` once the record is drained. `AIMDB_WRONG_TYPE` if the record does not hold JSON.
 *
 * Ownership: the caller frees `*json` with `aimdb_string_free`; it is written on `AIMDB_OK` only.
 * Thread safety: any thread.
 */
aimdb_status aimdb_get_json(const aimdb_consumer *consumer, char **json);

/**
 * Takes the next JSON string without waiting: `AIMDB_EMPTY` if there is none.
 *
 * Ownership and thread safety: as for `aimdb_get_json`.
 */
aimdb_status aimdb_try_get_json(const aimdb_consumer *consumer, char **json);

/**
 * Takes the next JSON string and waits for it at most `timeout_us` microseconds: then `AIMDB_TIMEOUT`.
 *
 * A timeout of 0 tries once.
 *
 * Ownership and thread safety: as for `aimdb_get_json`.
 */
aimdb_status aimdb_get_json_timeout(const aimdb_consumer *consumer, char **json, uint64_t timeout_us);

/**
 * Copies the newest JSON string of a JSON record, without taking it: `AIMDB_EMPTY` as for `aimdb_latest`.
 *
 * Ownership and thread safety: as for `aimdb_get_json`.
 */
aimdb_status aimdb_latest_json(const aimdb_consumer *consumer, char **json);

/**
 * Writes the size of the record's values in bytes to `*size`; 0 for JSON.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_consumer_size(const aimdb_consumer *consumer, size_t *size);

/**
 * Waits until one of `count` consumers has a value to take or a drained record.
 *
 * The consumers may be of any types and databases. The call waits at most `timeout_us` microseconds (`AIMDB_FOREVER` for no
 * limit): then `AIMDB_TIMEOUT`. `*index` is the position of the first such consumer in the array. The call takes no value, so
 * another thread that shares the consumer may take it first. `AIMDB_CANCELLED` if one of the consumers is cancelled.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_wait_any(aimdb_consumer *const *consumers,
                            size_t count,
                            uint64_t timeout_us,
                            size_t *index);

/**
 * Ends the waits of all calls with this consumer, now and until `aimdb_consumer_resume`: they return `AIMDB_CANCELLED`.
 *
 * A call for which a value is ready takes it all the same.
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
 * Writes a file descriptor to `*fd` that is readable while there is a value to take, or when the record is drained.
 *
 * It is for `poll`, `select` and `epoll`, level-triggered. Take values until `AIMDB_EMPTY`: only that makes the descriptor
 * unreadable again. Do not read from it and do not close it. Every call returns the same one. Unix only: elsewhere
 * `AIMDB_UNSUPPORTED`.
 *
 * Ownership: the consumer owns it, and `aimdb_consumer_free` closes it.
 * Thread safety: any thread.
 */
aimdb_status aimdb_consumer_fd(const aimdb_consumer *consumer,
                               int *fd);

/**
 * Begins a shutdown and does not wait for it, so that a callback can call it. `aimdb_detach` returns the report.
 *
 * Thread safety: any thread, callbacks included.
 */
aimdb_status aimdb_request_shutdown(const aimdb_db *db);

/**
 * Shuts the database down in order and waits until it has ended.
 *
 * The stages drain every accepted value, every blocked call returns `AIMDB_CLOSED`, and the runtime thread ends. Stages that
 * are not done within `deadline_us` microseconds are aborted: the call then returns `AIMDB_OK` with a report that is not
 * clean. `AIMDB_UNRESPONSIVE` if stages cannot be aborted either; the runtime thread then continues to run them.
 *
 * A second call, on any thread, waits for the first and returns the same result. `report` may be NULL; otherwise it is all
 * zero if there is no report. With `AIMDB_FOREVER` the call waits for callbacks without limit: two databases whose callbacks detach
 * each other then deadlock.
 *
 * No callback runs after the call, unless the report counts aborted taps: the callback of an aborted tap may still be in its
 * last call, and receives no further value.
 *
 * Thread safety: any thread, except in a callback of this database: `AIMDB_WOULD_DEADLOCK`.
 */
aimdb_status aimdb_detach(const aimdb_db *db,
                          uint64_t deadline_us,
                          aimdb_report *report);

/**
 * Frees the handle, and detaches the database first if that has not happened.
 *
 * The detach has the deadline `aimdb_options.drop_deadline_us`. A caller that needs the report, or needs to know whether a
 * callback was aborted, calls `aimdb_detach` first. To free the handle twice is `AIMDB_BAD_HANDLE`.
 *
 * Thread safety: any thread, also while other threads and callbacks are in a call with the handle; but not in a callback of
 * this database: `AIMDB_WOULD_DEADLOCK`, and the handle stays valid.
 */
aimdb_status aimdb_db_free(aimdb_db *db);

/**
 * Writes to `*healthy` whether every stage and link is healthy and no shutdown has begun.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_is_healthy(const aimdb_db *db, bool *healthy);

/**
 * Writes the current health of every stage, link and blocked writer, as JSON.
 *
 * Ownership: the caller frees `*json` with `aimdb_string_free`; it is written on `AIMDB_OK` only.
 * Thread safety: any thread.
 */
aimdb_status aimdb_health_json(const aimdb_db *db, char **json);

/**
 * Writes the counters of every record and reader, as JSON.
 *
 * Ownership and thread safety: as for `aimdb_health_json`.
 */
aimdb_status aimdb_metrics_json(const aimdb_db *db, char **json);

/**
 * Writes the graph, as JSON.
 *
 * Ownership and thread safety: as for `aimdb_health_json`.
 */
aimdb_status aimdb_graph_json(const aimdb_db *db, char **json);

/**
 * Writes the graph, as text for people.
 *
 * Ownership and thread safety: as for `aimdb_health_json`.
 */
aimdb_status aimdb_graph_text(const aimdb_db *db, char **text);

/**
 * Writes the whole report of the last `aimdb_detach`, as JSON: undelivered values by stage, and why stages failed.
 *
 * `AIMDB_EMPTY` if there is no report yet.
 *
 * Ownership and thread safety: as for `aimdb_health_json`.
 */
aimdb_status aimdb_report_json(const aimdb_db *db, char **json);

/**
 * Sets the log callback of the process: `function` is called with every line up to `max_level`.
 *
 * The call replaces the previous callback; NULL sets none. `AIMDB_TAKEN` if a Rust part of the program has installed a
 * `tracing` subscriber. `AIMDB_BAD_ARGUMENT` if there is no such level.
 *
 * Ownership: the library owns `user_data` until it calls `free` with it (unless `free` is NULL): once, on any thread, when
 * the callback has been replaced or refused and its last call has returned.
 * Thread safety: any thread.
 */
aimdb_status aimdb_set_log(aimdb_log_fn function,
                           aimdb_log_level max_level,
                           void *user_data,
                           aimdb_free_fn free);

/**
 * Writes the newest value that the record `key` holds, as JSON, without consuming it.
 *
 * The record is a JSON record, or one of a struct that was exported with JSON; otherwise `AIMDB_WRONG_TYPE`.
 * `AIMDB_EMPTY` if there was no value yet, and on a queue or a mailbox also when everything has been taken, unless the record
 * is observed. `AIMDB_NO_SUCH_RECORD` if there is no such record, and `AIMDB_UNSUPPORTED` if the value has no JSON.
 *
 * Ownership: the caller frees `*json` with `aimdb_string_free`; it is written on `AIMDB_OK` only.
 * Thread safety: any thread.
 */
aimdb_status aimdb_record_json(const aimdb_db *db,
                               const char *key,
                               char **json);

/**
 * Observes the record `key` from now on, under a `name` that is shown where the record's observers are.
 *
 * While a record has observers, its writers copy each value once. The record keeps the last 64 copies: a caller that looks
 * less often misses values, which are counted.
 *
 * `*out` is written on `AIMDB_OK` only. `AIMDB_NO_SUCH_RECORD` if there is no such record, and `AIMDB_CLOSED` if the database
 * has ended.
 *
 * Ownership: the caller frees it with `aimdb_observer_free`. It may outlive the database: it then shows the values that are
 * left, and after them returns `AIMDB_CLOSED`.
 * Thread safety: any thread; one thread at a time may look through the handle, and another one gets `AIMDB_TAKEN`.
 */
aimdb_status aimdb_observe(const aimdb_db *db,
                           const char *key,
                           const char *name,
                           aimdb_observer **out);

/**
 * Copies the next value to `value`, and waits for it at most `timeout_us` microseconds: then `AIMDB_TIMEOUT`.
 *
 * `size` is the size of the record's values; another one is `AIMDB_WRONG_SIZE`. `*seen` says which value it is; `seen` may be
 * NULL. Both are written on `AIMDB_OK` only. `AIMDB_CANCELLED` after `aimdb_observer_cancel`. `AIMDB_CLOSED` when the database has ended and everything has been seen, `AIMDB_WRONG_TYPE` for a JSON record.
 *
 * Thread safety: one thread at a time; another one gets `AIMDB_TAKEN`.
 */
aimdb_status aimdb_see(const aimdb_observer *observer,
                       void *value,
                       size_t size,
                       uint64_t timeout_us,
                       aimdb_seen *seen);

/**
 * Writes the next value as JSON, and waits for it as `aimdb_see` does.
 *
 * The record is a JSON record, or one of a struct that was exported with JSON; otherwise `AIMDB_WRONG_TYPE`. A value that has
 * no JSON is `AIMDB_UNSUPPORTED`, and counts as seen. The other results are those of `aimdb_see`.
 *
 * Ownership: the caller frees `*json` with `aimdb_string_free`; it is written on `AIMDB_OK` only.
 * Thread safety: one thread at a time; another one gets `AIMDB_TAKEN`.
 */
aimdb_status aimdb_see_json(const aimdb_observer *observer,
                            char **json,
                            uint64_t timeout_us,
                            aimdb_seen *seen);

/**
 * Ends the wait of the call with this observer, which returns `AIMDB_CANCELLED`, now and until `aimdb_observer_resume`. A call
 * that need not wait succeeds all the same.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_observer_cancel(const aimdb_observer *observer);

/**
 * Lets calls with this observer wait again.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_observer_resume(const aimdb_observer *observer);

/**
 * Frees the handle. The last observer of a record ends the copies of its writers.
 *
 * Thread safety: any thread, while no thread is in a call with the handle.
 */
aimdb_status aimdb_observer_free(aimdb_observer *observer);

/**
 * Makes a producer of the record `key`.
 *
 * `*out` is written on `AIMDB_OK` only. `AIMDB_NO_SUCH_RECORD` if there is no such record.
 *
 * Ownership: the caller frees it with `aimdb_producer_free`. It may outlive the database: it then returns `AIMDB_CLOSED`.
 * Thread safety: any thread; any number of threads may use the handle at once.
 */
aimdb_status aimdb_producer_new(const aimdb_db *db,
                                const char *key,
                                aimdb_producer **out);

/**
 * Makes a producer with a queue of `capacity` values between the caller and the record.
 *
 * A burst waits in the queue, and a full queue holds back the callers of this handle only. A written value may become visible
 * later. `aimdb_detach` drains the values that the queue has accepted. `AIMDB_BAD_ARGUMENT` if `capacity` is 0. Otherwise as
 * `aimdb_producer_new`.
 *
 * Ownership and thread safety: as for `aimdb_producer_new`.
 */
aimdb_status aimdb_producer_with_capacity(const aimdb_db *db,
                                          const char *key,
                                          size_t capacity,
                                          aimdb_producer **out);

/**
 * Frees a producer.
 *
 * To free it twice is `AIMDB_BAD_HANDLE`.
 *
 * Thread safety: no other thread may be in a call with the producer. The library cannot detect that, and the behaviour is
 * undefined. End blocked calls with `aimdb_producer_cancel` and join their threads first.
 */
aimdb_status aimdb_producer_free(aimdb_producer *producer);

/**
 * Writes the value of `size` bytes at `value`, and waits for room on a full queue.
 *
 * Every other buffer takes a value at once. On `AIMDB_CLOSED` and `AIMDB_CANCELLED` the value was not written.
 * `AIMDB_WRONG_SIZE` if `size` is not the size of the record's values.
 *
 * Ownership: the value is copied. It may have any alignment.
 * Thread safety: any thread.
 */
aimdb_status aimdb_set(const aimdb_producer *producer, const void *value, size_t size);

/**
 * Writes a value without waiting: `AIMDB_FULL` if there is no room now.
 *
 * Otherwise as `aimdb_set`.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_try_set(const aimdb_producer *producer, const void *value, size_t size);

/**
 * Writes a value and waits for room at most `timeout_us` microseconds: then `AIMDB_TIMEOUT`.
 *
 * A timeout of 0 tries once. Otherwise as `aimdb_set`.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_set_timeout(const aimdb_producer *producer, const void *value, size_t size, uint64_t timeout_us);

/**
 * Writes the array of `count` values of `size` bytes each at `values`, in order.
 *
 * The call waits for room at most `timeout_us` microseconds for all values together (`AIMDB_FOREVER` for no limit).
 * `*accepted`, unless it is NULL, is the number of values written, which are the first ones; also if the call does not return
 * `AIMDB_OK`.
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
 * Writes a JSON string to a JSON record, and waits for room on a full queue.
 *
 * `AIMDB_NOT_JSON` if the string is not JSON: the message has the line and the column. `AIMDB_WRONG_TYPE` if the record does
 * not hold JSON.
 *
 * Ownership: the string is copied.
 * Thread safety: any thread.
 */
aimdb_status aimdb_set_json(const aimdb_producer *producer,
                            const char *json);

/**
 * Writes a JSON string without waiting: `AIMDB_FULL` if there is no room now.
 *
 * Otherwise as `aimdb_set_json`.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_try_set_json(const aimdb_producer *producer, const char *json);

/**
 * Writes a JSON string and waits for room at most `timeout_us` microseconds: then `AIMDB_TIMEOUT`.
 *
 * A timeout of 0 tries once. Otherwise as `aimdb_set_json`.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_set_json_timeout(const aimdb_producer *producer, const char *json, uint64_t timeout_us);

/**
 * Writes the size of the record's values in bytes to `*size`; 0 for JSON.
 *
 * Thread safety: any thread.
 */
aimdb_status aimdb_producer_size(const aimdb_producer *producer, size_t *size);

/**
 * Ends the waits of all calls with this producer, now and until `aimdb_producer_resume`: they return `AIMDB_CANCELLED`.
 *
 * A call for which there is room writes its value all the same.
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
 * Returns the version of the library, for instance `0.1.0`. The string is static.
 *
 * Thread safety: any thread.
 */
const char *aimdb_version(void);

/**
 * Returns the description of a status. The string is static. A number that is no status has a description that says so.
 *
 * Thread safety: any thread.
 */
const char *aimdb_status_text(int32_t status);

/**
 * Returns the message of the last call on this thread that did not return `AIMDB_OK`.
 *
 * The message of an error names the record, the expected and the actual, and the remedy. For the statuses that are no
 * errors (`AIMDB_EMPTY` to `AIMDB_CANCELLED`) it is the description of the status. It is empty if every call has returned
 * `AIMDB_OK`.
 *
 * Ownership: the library owns the string; it is valid until the next call on this thread that does not return `AIMDB_OK`.
 * Thread safety: any thread; each thread has its own message.
 */
const char *aimdb_last_error(void);

/**
 * Sets the error message of a tap, from inside its callback, which is about to return a number other than 0.
 *
 * The message appears in the log and in `aimdb_health_json`. `AIMDB_BAD_ARGUMENT` outside of a callback.
 *
 * Ownership: the string is copied.
 * Thread safety: the thread of the callback.
 */
aimdb_status aimdb_tap_set_error(const char *message);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* AIMDB_H */

/*
 * AimDB for C++17: aimdb.h with handles that free themselves, types, std::optional, std::chrono and exceptions.
 *
 *   aimdb::builder builder;
 *   builder.record<float>("sensor.temperature", aimdb::ring(16));
 *   aimdb::database db = std::move(builder).attach();
 *   auto consumer = db.consumer<float>("sensor.temperature");
 *   db.producer<float>("sensor.temperature").set(21.5f);
 *   float celsius = consumer.get();
 *
 * Types of records
 *
 *   T              any type that can be copied byte by byte, as sizeof(T) bytes. Opening a handle checks the size but not the
 *                  type: use the same type everywhere
 *   aimdb::json    JSON, as a std::string
 *   a Rust type    from `export_record!`; after AIMDB_EXPORTED(Reading, reading) opening a handle checks the type itself
 *
 * Results of calls
 *
 *   call                                         success                 no new value, no room      closed, cancelled
 *   get()                                        T                       waits                      throws
 *   try_get()                                    std::optional<T>        empty                      closed: throws
 *   get_for(timeout), get_until(time)            std::optional<T>        waits, then empty          throws
 *   latest()                                     std::optional<T>        empty                      the last value
 *   get_many(to, max, timeout)                   the count, at least 1   waits, then 0              throws
 *   for (auto &value : consumer)                 T                       waits                      closed: the loop ends
 *   set(value)                                                           waits                      throws
 *   try_set(value)                               true                    false                      closed: throws
 *   set_for(value, timeout), set_until(…, time)  true                    waits, then false          throws
 *   set_many(values, count, timeout)             the count written       waits, then fewer          fewer; throws if none was
 *   wait_any(timeout, consumers...)              the ready one's index   waits, then empty          cancelled: throws
 *   observer: see(), try_see(), see_for(…)       seen<T>                 as get(), try_get(), …     closed, cancelled: throws
 *
 * Exceptions
 *
 *   aimdb::closed       the database has been detached; a consumer throws it only once its record is drained
 *   aimdb::cancelled    cancel() ended the wait; a call that need not wait succeeds all the same
 *   aimdb::error        the base of both, and every other failure, with code() as in aimdb.h: a graph that is not valid (with
 *                       all findings), no such record, a wrong size or type, a moved-from handle (AIMDB_NULL), …
 *
 * A function that is not noexcept may throw aimdb::error and std::bad_alloc. Destructors, moves, cancel() and resume() do not
 * throw.
 *
 * Handles (`builder`, `database`, `producer<T>`, `consumer<T>`, `observer<T>`) are movable and not copyable. Several threads may
 * make const calls at once; with an `observer<T>` one thread at a time may look. No thread may be in a call while its handle is
 * moved from or destroyed: end the waits with cancel() and join the threads. Producers, consumers and observers may outlive the
 * database, whose destructor detaches it.
 */

#ifndef AIMDB_HPP
#define AIMDB_HPP

#include "aimdb.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace aimdb {

/** The failure of a call. what() names the record, the expected and the actual, and the remedy. */
class error : public std::runtime_error {
public:
  error(aimdb_status code, const std::string &what) : std::runtime_error(what), code_(code) {}

  aimdb_status code() const noexcept { return code_; }

private:
  aimdb_status code_;
};

/** The database has been detached or shut down. A consumer throws it only once its record is drained. */
class closed : public error {
  using error::error;
};

/** cancel() ended the wait. */
class cancelled : public error {
  using error::error;
};

namespace detail {

/** Throws the exception of a status, with the message of the last call on this thread. */
[[noreturn]] inline void fail(aimdb_status code) {
  std::string what = aimdb_last_error();
  if (what.empty()) {
    what = aimdb_status_text(code);
  }
  switch (code) {
  case AIMDB_CLOSED:
    throw closed(code, what);
  case AIMDB_CANCELLED:
    throw cancelled(code, what);
  default:
    throw error(code, what);
  }
}

inline void check(aimdb_status code) {
  if (code != AIMDB_OK) {
    fail(code);
  }
}

/** Returns true for AIMDB_OK and false for `other`; throws for every other status. */
inline bool ok_or(aimdb_status other, aimdb_status code) {
  if (code == other) {
    return false;
  }
  check(code);
  return true;
}

struct deleter {
  void operator()(aimdb_builder *it) const noexcept { aimdb_builder_free(it); }
  void operator()(aimdb_db *it) const noexcept { aimdb_db_free(it); }
  void operator()(aimdb_producer *it) const noexcept { aimdb_producer_free(it); }
  void operator()(aimdb_consumer *it) const noexcept { aimdb_consumer_free(it); }
  void operator()(aimdb_observer *it) const noexcept { aimdb_observer_free(it); }
  void operator()(char *it) const noexcept { aimdb_string_free(it); }
};

inline std::string take_string(char *text) {
  std::unique_ptr<char, deleter> owner(text);
  return text;
}

inline std::string read_string(const aimdb_db *db, aimdb_status (*call)(const aimdb_db *, char **)) {
  char *text = nullptr;
  check(call(db, &text));
  return take_string(text);
}

} // namespace detail

/** Owns a handle of aimdb.h. It is movable; a moved-from or default-constructed one is empty. */
template <class Raw> class handle {
public:
  handle() = default;
  /** Takes ownership of a handle of aimdb.h. */
  explicit handle(Raw *raw) noexcept : raw_(raw) {}

  /** The handle for calls of aimdb.h; this object keeps the ownership. */
  Raw *native_handle() const noexcept { return raw_.get(); }
  /** Gives up the ownership: the caller frees the handle. */
  Raw *release() noexcept { return raw_.release(); }
  explicit operator bool() const noexcept { return static_cast<bool>(raw_); }

  friend bool operator==(const handle &a, const handle &b) noexcept { return a.raw_ == b.raw_; }
  friend bool operator!=(const handle &a, const handle &b) noexcept { return a.raw_ != b.raw_; }

private:
  std::unique_ptr<Raw, detail::deleter> raw_;
};

/** How long a call may wait: any std::chrono::duration, or `forever`. A negative duration is zero. */
class timeout {
public:
  template <class Rep, class Period>
  constexpr timeout(std::chrono::duration<Rep, Period> limit) : us_(microseconds(limit)) {}

  /** In microseconds, rounded up; AIMDB_FOREVER for no limit. */
  constexpr std::uint64_t us() const noexcept { return us_; }

  static constexpr timeout none() noexcept { return timeout(); }

  template <class Clock, class Duration> static timeout until(std::chrono::time_point<Clock, Duration> time) {
    const auto now = Clock::now();
    // The difference of a time in the past could overflow the duration.
    return time > now ? timeout(time - now) : timeout(std::chrono::seconds(0));
  }

private:
  constexpr timeout() noexcept : us_(AIMDB_FOREVER) {}

  template <class Rep, class Period> static constexpr std::uint64_t microseconds(std::chrono::duration<Rep, Period> limit) {
    using micros = std::chrono::duration<std::uint64_t, std::micro>;
    if (!(limit > limit.zero())) {
      return 0;
    }
    if (std::chrono::duration<double, std::micro>(limit).count() >= 1.8e19) {
      return AIMDB_FOREVER;
    }
    return std::chrono::ceil<micros>(limit).count();
  }

  std::uint64_t us_;
};

/** No limit in time. */
inline constexpr timeout forever = timeout::none();

/** The buffer of a record: its kind, and its capacity. Made by ring(), queue(), latest() and mailbox(). */
struct buffer {
  aimdb_buffer_kind kind;
  std::size_t capacity;
};

/** Keeps the last `capacity` values. A slow reader loses the oldest ones, and its lag counts them. */
constexpr buffer ring(std::size_t capacity) noexcept { return {AIMDB_RING, capacity}; }
/** Keeps each value until every reader has taken it. A full queue makes its writers wait. */
constexpr buffer queue(std::size_t capacity) noexcept { return {AIMDB_QUEUE, capacity}; }
/** Keeps the current value; readers skip to the newest. */
constexpr buffer latest() noexcept { return {AIMDB_LATEST, 0}; }
/** Keeps one pending command; the newest replaces it, and one taker takes it. */
constexpr buffer mailbox() noexcept { return {AIMDB_MAILBOX, 0}; }

/** The type argument of JSON records. Their values are std::string, and each write is checked. */
struct json {};

/** The functions of aimdb.h for records of T; AIMDB_EXPORTED specialises it for a Rust type. */
template <class T> struct functions {
  static_assert(std::is_trivially_copyable_v<T>, "a record's values are copied byte by byte: no std::string, no vector");
  static_assert(std::is_default_constructible_v<T>, "a consumer reads into a default-constructed value");

  using value_type = T;
  /** The alignment of a value that the library passes to a tap. */
  static constexpr std::size_t alignment = 8;

  static aimdb_status configure(const aimdb_builder *to, const char *key, aimdb_buffer_kind kind, std::size_t capacity) {
    return aimdb_configure_bytes(to, key, sizeof(T), kind, capacity);
  }
  static aimdb_status set(const aimdb_producer *to, const T &value) { return aimdb_set(to, &value, sizeof(T)); }
  static aimdb_status try_set(const aimdb_producer *to, const T &value) { return aimdb_try_set(to, &value, sizeof(T)); }
  static aimdb_status set_timeout(const aimdb_producer *to, const T &value, std::uint64_t us) {
    return aimdb_set_timeout(to, &value, sizeof(T), us);
  }
  static aimdb_status set_many(const aimdb_producer *to, const T *values, std::size_t count, std::uint64_t us,
                               std::size_t *accepted) {
    return aimdb_set_many(to, values, sizeof(T), count, us, accepted);
  }
  static aimdb_status get(const aimdb_consumer *from, T *value) { return aimdb_get(from, value, sizeof(T)); }
  static aimdb_status try_get(const aimdb_consumer *from, T *value) { return aimdb_try_get(from, value, sizeof(T)); }
  static aimdb_status get_timeout(const aimdb_consumer *from, T *value, std::uint64_t us) {
    return aimdb_get_timeout(from, value, sizeof(T), us);
  }
  static aimdb_status get_many(const aimdb_consumer *from, T *values, std::size_t max, std::uint64_t us,
                               std::size_t *count) {
    return aimdb_get_many(from, values, sizeof(T), max, us, count);
  }
  static aimdb_status latest(const aimdb_consumer *from, T *value) { return aimdb_latest(from, value, sizeof(T)); }
};

} // namespace aimdb

/**
 * Declares to C++ that Rust's `export_record!` exports `Type`, with functions whose names begin with `prefix`. Write it outside
 * every namespace, after the generated header and before the first use of `Type` as a record:
 *
 *   #include "workshop.h"
 *   AIMDB_EXPORTED(Reading, reading);
 *
 * Without it a record of `Reading` is a record of bytes, which Rust stages and JSON links cannot use as a `Reading`.
 */
#define AIMDB_EXPORTED(Type, prefix)                                                                                   \
  template <> struct aimdb::functions<Type> {                                                                          \
    using value_type = Type;                                                                                           \
    static constexpr std::size_t alignment = alignof(Type);                                                            \
    static constexpr auto configure = &prefix##_configure;                                                             \
    static constexpr auto set = &prefix##_set;                                                                         \
    static constexpr auto try_set = &prefix##_try_set;                                                                 \
    static constexpr auto set_timeout = &prefix##_set_timeout;                                                         \
    static constexpr auto set_many = &prefix##_set_many;                                                               \
    static constexpr auto get = &prefix##_get;                                                                         \
    static constexpr auto try_get = &prefix##_try_get;                                                                 \
    static constexpr auto get_timeout = &prefix##_get_timeout;                                                         \
    static constexpr auto get_many = &prefix##_get_many;                                                               \
    static constexpr auto latest = &prefix##_latest;                                                                   \
  }

namespace aimdb {

template <> struct functions<json> {
  using value_type = std::string;
  static constexpr std::size_t alignment = 1;

  static constexpr auto configure = &aimdb_configure_json;

  static aimdb_status set(const aimdb_producer *to, const std::string &value) { return aimdb_set_json(to, text(value)); }
  static aimdb_status try_set(const aimdb_producer *to, const std::string &value) {
    return aimdb_try_set_json(to, text(value));
  }
  static aimdb_status set_timeout(const aimdb_producer *to, const std::string &value, std::uint64_t us) {
    return aimdb_set_json_timeout(to, text(value), us);
  }
  static aimdb_status get(const aimdb_consumer *from, std::string *value) {
    return read_into(value, [&](char **text) { return aimdb_get_json(from, text); });
  }
  static aimdb_status try_get(const aimdb_consumer *from, std::string *value) {
    return read_into(value, [&](char **text) { return aimdb_try_get_json(from, text); });
  }
  static aimdb_status get_timeout(const aimdb_consumer *from, std::string *value, std::uint64_t us) {
    return read_into(value, [&](char **text) { return aimdb_get_json_timeout(from, text, us); });
  }
  static aimdb_status latest(const aimdb_consumer *from, std::string *value) {
    return read_into(value, [&](char **text) { return aimdb_latest_json(from, text); });
  }

private:
  static const char *text(const std::string &value) {
    // A C string ends at its first NUL.
    if (value.find('\0') != std::string::npos) {
      throw error(AIMDB_NOT_JSON, "the string contains a NUL, which JSON never does");
    }
    return value.c_str();
  }

  template <class Call> static aimdb_status read_into(std::string *value, Call call) {
    char *text = nullptr;
    const aimdb_status status = call(&text);
    if (status == AIMDB_OK) {
      *value = detail::take_string(text);
    }
    return status;
  }
};

namespace detail {

/** Throws if the record does not hold T: a call for zero values checks the type and has no other effect. */
template <class T> void check_type(const aimdb_producer *producer, const std::string &) {
  alignas(T) const char nothing = 0;
  const aimdb_status status =
      functions<T>::set_many(producer, reinterpret_cast<const T *>(&nothing), 0, 0, nullptr);
  if (status == AIMDB_WRONG_SIZE || status == AIMDB_WRONG_TYPE) {
    fail(status);
  }
}

template <class T> void check_type(const aimdb_consumer *consumer, const std::string &) {
  alignas(T) char nothing = 0;
  std::size_t count = 0;
  const aimdb_status status = functions<T>::get_many(consumer, reinterpret_cast<T *>(&nothing), 0, 0, &count);
  if (status == AIMDB_WRONG_SIZE || status == AIMDB_WRONG_TYPE) {
    fail(status);
  }
}

inline void check_json(std::size_t size, const std::string &key) {
  if (size != 0) {
    throw error(AIMDB_WRONG_TYPE, "record `" + key + "` holds " + std::to_string(size) + " bytes, not JSON");
  }
}

template <> inline void check_type<json>(const aimdb_producer *producer, const std::string &key) {
  std::size_t size = 0;
  check(aimdb_producer_size(producer, &size));
  check_json(size, key);
}

template <> inline void check_type<json>(const aimdb_consumer *consumer, const std::string &key) {
  std::size_t size = 0;
  check(aimdb_consumer_size(consumer, &size));
  check_json(size, key);
}

} // namespace detail

/** A producer of any type. */
class any_producer : public handle<aimdb_producer> {
public:
  using handle::handle;

  /** Ends the waits of all calls with this producer, now and until resume(). */
  void cancel() const noexcept { aimdb_producer_cancel(native_handle()); }
  /** Lets calls with this producer wait again. */
  void resume() const noexcept { aimdb_producer_resume(native_handle()); }
};

/** Writes a record. `database::producer` makes it. */
template <class T> class producer : public any_producer {
  using calls = functions<T>;

public:
  using value_type = typename calls::value_type;
  using any_producer::any_producer;

  /** Writes a value, and waits for room on a full queue. */
  void set(const value_type &value) const { detail::check(calls::set(native_handle(), value)); }

  /** Writes a value without waiting: false if there is no room now. */
  [[nodiscard]] bool try_set(const value_type &value) const {
    return detail::ok_or(AIMDB_FULL, calls::try_set(native_handle(), value));
  }

  /** Writes a value and waits for room at most `limit`: false if there was none. Zero tries once. */
  [[nodiscard]] bool set_for(const value_type &value, timeout limit) const {
    return detail::ok_or(AIMDB_TIMEOUT, calls::set_timeout(native_handle(), value, limit.us()));
  }

  /** Writes a value and waits until a point in time of any clock, which is read once, at the call. */
  template <class Clock, class Duration>
  [[nodiscard]] bool set_until(const value_type &value, std::chrono::time_point<Clock, Duration> time) const {
    return set_for(value, timeout::until(time));
  }

  /**
   * Writes `count` values in order, and waits for room at most `limit` for all together. Returns the number of values
   * written, which are the first ones. Fewer than `count` means that the limit has passed, or that the database was closed or
   * the producer cancelled meanwhile: then the next call throws. Not for JSON.
   */
  std::size_t set_many(const value_type *values, std::size_t count, timeout limit = forever) const {
    if (count == 0) {
      return 0;
    }
    std::size_t accepted = 0;
    const aimdb_status status = calls::set_many(native_handle(), values, count, limit.us(), &accepted);
    if (accepted == 0) {
      detail::ok_or(AIMDB_TIMEOUT, status);
    }
    return accepted;
  }

  /** Writes the values of a vector, an array, a span: of any type with std::data and std::size. */
  template <class Values> auto set_many(const Values &values, timeout limit = forever) const
      -> decltype(static_cast<const value_type *>(std::data(values)), std::size(values), std::size_t()) {
    return set_many(std::data(values), std::size(values), limit);
  }
};

/** A consumer of any type. */
class any_consumer : public handle<aimdb_consumer> {
public:
  using handle::handle;

  /** The number of values this consumer has lost so far. On a mailbox: the commands replaced by those it took. */
  std::uint64_t lagged() const {
    std::uint64_t count = 0;
    detail::check(aimdb_lagged(native_handle(), &count));
    return count;
  }

  /** Ends the waits of all calls with this consumer, now and until resume(). */
  void cancel() const noexcept { aimdb_consumer_cancel(native_handle()); }
  /** Lets calls with this consumer wait again. */
  void resume() const noexcept { aimdb_consumer_resume(native_handle()); }

  /**
   * A descriptor for poll, select and epoll, readable while there is a value to take or the record is drained. Take values
   * until try_get() is empty: only that makes it unreadable again. The consumer owns it: neither read from it nor close it.
   */
  int fd() const {
    int fd = -1;
    detail::check(aimdb_consumer_fd(native_handle(), &fd));
    return fd;
  }
};

/** Reads a record, with a position of its own. Threads that share it divide the values. `database::consumer` makes it. */
template <class T> class consumer : public any_consumer {
  using calls = functions<T>;

public:
  using value_type = typename calls::value_type;
  using any_consumer::any_consumer;

  /** Takes the next value, and waits for it. */
  value_type get() const {
    value_type value;
    detail::check(calls::get(native_handle(), &value));
    return value;
  }

  /** Takes the next value without waiting: empty if there is none. */
  std::optional<value_type> try_get() const {
    value_type value;
    return optional_if(detail::ok_or(AIMDB_EMPTY, calls::try_get(native_handle(), &value)), value);
  }

  /** Takes the next value and waits for it at most `limit`: empty if there was none. Zero tries once. */
  std::optional<value_type> get_for(timeout limit) const {
    value_type value;
    return optional_if(detail::ok_or(AIMDB_TIMEOUT, calls::get_timeout(native_handle(), &value, limit.us())), value);
  }

  /** Takes the next value and waits until a point in time of any clock, which is read once, at the call. */
  template <class Clock, class Duration>
  std::optional<value_type> get_until(std::chrono::time_point<Clock, Duration> time) const {
    return get_for(timeout::until(time));
  }

  /**
   * Takes up to `max` values into the array at `values`, and waits for the first at most `limit`. Returns the number of values
   * taken: 0 if the limit has passed. Not for JSON.
   */
  std::size_t get_many(value_type *values, std::size_t max, timeout limit = forever) const {
    std::size_t count = 0;
    detail::ok_or(AIMDB_TIMEOUT, calls::get_many(native_handle(), values, max, limit.us(), &count));
    return count;
  }

  /** Replaces the contents of the vector with up to `max` values, and reuses its memory. */
  std::size_t get_many(std::vector<value_type> &values, std::size_t max, timeout limit = forever) const {
    values.resize(max);
    // The data pointer of an empty vector may be NULL.
    const std::size_t count = max == 0 ? 0 : get_many(values.data(), max, limit);
    values.resize(count);
    return count;
  }

  /** Copies the newest value, without taking it; empty if there is none. */
  std::optional<value_type> latest() const {
    value_type value;
    return optional_if(detail::ok_or(AIMDB_EMPTY, calls::latest(native_handle(), &value)), value);
  }

  /** An input iterator: an increment takes the next value and waits for it. It ends when the record is drained. */
  class iterator {
  public:
    using iterator_category = std::input_iterator_tag;
    using value_type = typename consumer::value_type;
    using difference_type = std::ptrdiff_t;
    using pointer = const value_type *;
    using reference = const value_type &;

    iterator() = default;
    explicit iterator(const consumer &from) : from_(&from) { ++*this; }

    reference operator*() const noexcept { return value_; }
    pointer operator->() const noexcept { return &value_; }

    iterator &operator++() {
      const aimdb_status status = calls::get(from_->native_handle(), &value_);
      if (!detail::ok_or(AIMDB_CLOSED, status)) {
        from_ = nullptr;
      }
      return *this;
    }
    iterator operator++(int) {
      iterator before = *this;
      ++*this;
      return before;
    }

    friend bool operator==(const iterator &a, const iterator &b) noexcept { return a.from_ == b.from_; }
    friend bool operator!=(const iterator &a, const iterator &b) noexcept { return a.from_ != b.from_; }

  private:
    const consumer *from_ = nullptr;
    value_type value_{};
  };

  iterator begin() const { return iterator(*this); }
  iterator end() const noexcept { return iterator(); }

private:
  static std::optional<value_type> optional_if(bool there, value_type &value) {
    return there ? std::optional<value_type>(std::move(value)) : std::nullopt;
  }
};

/** A value that an observer has seen. */
template <class T> struct seen {
  /** The number of the value among those that the record accepted, from one. */
  std::uint64_t number = 0;
  /** Values between this one and the one before that the observer did not see, or since it came. */
  std::uint64_t missed = 0;
  typename functions<T>::value_type value{};
};

namespace detail {

template <class T> aimdb_status see(const aimdb_observer *from, T *value, std::uint64_t us, aimdb_seen *which) {
  return aimdb_see(from, value, sizeof(T), us, which);
}

inline aimdb_status see(const aimdb_observer *from, std::string *value, std::uint64_t us, aimdb_seen *which) {
  char *text = nullptr;
  const aimdb_status status = aimdb_see_json(from, &text, us, which);
  if (status == AIMDB_OK) {
    *value = take_string(text);
  }
  return status;
}

} // namespace detail

/**
 * Looks at a record, and changes nothing: no writer waits for it, and it takes no command. `database::observe` makes it. One
 * thread at a time looks through an observer: another one gets an aimdb::error, AIMDB_TAKEN.
 */
template <class T> class observer : public handle<aimdb_observer> {
public:
  using handle::handle;

  /** Ends the wait of the call with this observer, now and until resume(). */
  void cancel() const noexcept { aimdb_observer_cancel(native_handle()); }
  /** Lets calls with this observer wait again. */
  void resume() const noexcept { aimdb_observer_resume(native_handle()); }

  /** Returns the next value, and waits for it. */
  aimdb::seen<T> see() const {
    aimdb::seen<T> seen;
    detail::check(look(forever, seen));
    return seen;
  }

  /** Returns the next value and waits for it at most `limit`: empty if there was none. Zero tries once. */
  std::optional<aimdb::seen<T>> see_for(timeout limit) const {
    aimdb::seen<T> seen;
    if (!detail::ok_or(AIMDB_TIMEOUT, look(limit, seen))) {
      return std::nullopt;
    }
    return seen;
  }

  /** Returns the next value without waiting: empty if there is none. */
  std::optional<aimdb::seen<T>> try_see() const { return see_for(std::chrono::seconds(0)); }

private:
  aimdb_status look(timeout limit, aimdb::seen<T> &seen) const {
    aimdb_seen which{};
    const aimdb_status status = detail::see(native_handle(), &seen.value, limit.us(), &which);
    seen.number = which.number;
    seen.missed = which.missed;
    return status;
  }
};

/** Waits until one consumer has a value or a drained record: its index in the array; empty if the limit has passed. */
inline std::optional<std::size_t> wait_any(timeout limit, aimdb_consumer *const *consumers, std::size_t count) {
  std::size_t index = 0;
  if (!detail::ok_or(AIMDB_TIMEOUT, aimdb_wait_any(consumers, count, limit.us(), &index))) {
    return std::nullopt;
  }
  return index;
}

/** Waits for consumers of any types and databases. It takes no value: call try_get() next. */
template <class... T> std::optional<std::size_t> wait_any(timeout limit, const consumer<T> &...consumers) {
  static_assert(sizeof...(T) > 0, "there are no consumers to wait for");
  aimdb_consumer *const all[] = {consumers.native_handle()...};
  return wait_any(limit, all, sizeof...(T));
}

/** The number that a tap which threw returns to the library: `database::health_json` names it. */
inline constexpr std::int32_t tap_threw = -1;
/**
 * The number that a tap returns when the record, declared through aimdb.h, has values of another size than the tap's type, or
 * a value that is not aligned for it: an exported struct can have less alignment than another type of its size.
 */
inline constexpr std::int32_t tap_wrong_size = -2;

namespace detail {

/** The size of a record's values for the library: 0 for JSON. */
template <class T> inline constexpr std::size_t size_of = sizeof(T);
template <> inline constexpr std::size_t size_of<json> = 0;

/** Converts the value that the library passes to the parameter of a tap's function. */
template <class T> struct tap_value {
  static_assert(alignof(T) <= functions<T>::alignment, "the library aligns values of bytes to 8 bytes, and no more");
  using type = const T &;
  static bool fits(const void *value, std::size_t size) noexcept {
    return size == sizeof(T) && reinterpret_cast<std::uintptr_t>(value) % alignof(T) == 0;
  }
  static type from(const void *value, std::size_t) noexcept { return *static_cast<const T *>(value); }
};

template <> struct tap_value<json> {
  using type = std::string_view;
  static bool fits(const void *, std::size_t) noexcept { return true; }
  static type from(const void *value, std::size_t size) noexcept { return {static_cast<const char *>(value), size}; }
};

/** The function of a tap, on the heap, and the callbacks for C. */
template <class T, class Function> struct tap_state {
  Function function;

  static std::int32_t call(void *user_data, const void *value, std::size_t size, std::uint64_t lagged) noexcept {
    if (!tap_value<T>::fits(value, size)) {
      aimdb_tap_set_error("the record's values have another size than the tap's type, or less alignment");
      return tap_wrong_size;
    }
    try {
      static_cast<tap_state *>(user_data)->run(tap_value<T>::from(value, size), lagged);
      return 0;
    } catch (const std::exception &exception) {
      aimdb_tap_set_error(exception.what());
    } catch (...) {
      aimdb_tap_set_error("it threw an object that is no std::exception");
    }
    return tap_threw;
  }
  static void drop(void *user_data) noexcept { delete static_cast<tap_state *>(user_data); }

private:
  void run(typename tap_value<T>::type value, std::uint64_t lagged) {
    if constexpr (std::is_invocable_v<Function &, typename tap_value<T>::type, std::uint64_t>) {
      function(value, lagged);
    } else {
      function(value);
    }
  }
};

} // namespace detail

/** How a database runs. */
struct options {
  /** Worker threads for the stages of the graph; 0 runs them on the runtime thread itself. */
  std::uint32_t workers = 0;
  /** How long the database's destructor may take to drain; zero for the default, 2 s. */
  std::chrono::microseconds drop_deadline{0};
  /** The runtime thread's name; empty for the default. */
  std::string thread_name;
};

/** A running database. Its destructor detaches it, except in a tap of the database, where it leaves it running. */
class database : public handle<aimdb_db> {
public:
  database() = default;
  explicit database(aimdb_db *raw) : handle(raw) {}

  /** Makes a producer of the record `key`. Throws if the record does not hold T. */
  template <class T> aimdb::producer<T> producer(const std::string &key) const {
    aimdb_producer *raw = nullptr;
    detail::check(aimdb_producer_new(native_handle(), key.c_str(), &raw));
    return checked_handle<T, aimdb::producer<T>>(raw, key);
  }

  /** Makes a producer with a queue of `capacity` values between the caller and the record: a burst waits there. */
  template <class T> aimdb::producer<T> producer_with_capacity(const std::string &key, std::size_t capacity) const {
    aimdb_producer *raw = nullptr;
    detail::check(aimdb_producer_with_capacity(native_handle(), key.c_str(), capacity, &raw));
    return checked_handle<T, aimdb::producer<T>>(raw, key);
  }

  /** Makes a consumer of the record `key`, which reads from now on. Throws if the record does not hold T. */
  template <class T> aimdb::consumer<T> consumer(const std::string &key) const {
    aimdb_consumer *raw = nullptr;
    detail::check(aimdb_consumer_new(native_handle(), key.c_str(), &raw));
    return checked_handle<T, aimdb::consumer<T>>(raw, key);
  }

  /** Makes a consumer with a queue of `capacity` values between the record and the caller. */
  template <class T> aimdb::consumer<T> consumer_with_capacity(const std::string &key, std::size_t capacity) const {
    aimdb_consumer *raw = nullptr;
    detail::check(aimdb_consumer_with_capacity(native_handle(), key.c_str(), capacity, &raw));
    return checked_handle<T, aimdb::consumer<T>>(raw, key);
  }

  /**
   * Observes the record `key` from now on, under a `name` that is shown where the record's observers are. Throws if the record
   * does not hold T.
   */
  template <class T> aimdb::observer<T> observe(const std::string &key, const std::string &name) const {
    // It checks the type, and has no other effect.
    producer<T>(key);
    aimdb_observer *raw = nullptr;
    detail::check(aimdb_observe(native_handle(), key.c_str(), name.c_str(), &raw));
    return aimdb::observer<T>(raw);
  }

  /** The newest value of a record of JSON, or of a struct that was exported with JSON; empty if it holds none. */
  std::optional<std::string> record_json(const std::string &key) const {
    char *text = nullptr;
    if (!detail::ok_or(AIMDB_EMPTY, aimdb_record_json(native_handle(), key.c_str(), &text))) {
      return std::nullopt;
    }
    return detail::take_string(text);
  }

  /**
   * Shuts the database down in order, see aimdb_detach. Stages that are not done within `deadline` are aborted, and the report
   * counts them. Throws AIMDB_WOULD_DEADLOCK in a tap of this database, and AIMDB_UNRESPONSIVE if stages cannot be aborted.
   */
  aimdb_report detach(timeout deadline = std::chrono::seconds(10)) const {
    aimdb_report report{};
    detail::check(aimdb_detach(native_handle(), deadline.us(), &report));
    return report;
  }

  /** Begins a shutdown and does not wait for it, so that a tap can call it. */
  void request_shutdown() const { detail::check(aimdb_request_shutdown(native_handle())); }

  /** Whether every stage and link is healthy and no shutdown has begun. */
  bool healthy() const {
    bool healthy = false;
    detail::check(aimdb_is_healthy(native_handle(), &healthy));
    return healthy;
  }

  /** The current health of every stage, link and blocked writer. */
  std::string health_json() const { return detail::read_string(native_handle(), aimdb_health_json); }
  /** The counters of every record and reader. */
  std::string metrics_json() const { return detail::read_string(native_handle(), aimdb_metrics_json); }
  /** The graph, as JSON. */
  std::string graph_json() const { return detail::read_string(native_handle(), aimdb_graph_json); }
  /** The graph, as text for people. */
  std::string graph_text() const { return detail::read_string(native_handle(), aimdb_graph_text); }

  /** The whole report of the last detach(); empty if there is none yet. */
  std::optional<std::string> report_json() const {
    char *text = nullptr;
    if (!detail::ok_or(AIMDB_EMPTY, aimdb_report_json(native_handle(), &text))) {
      return std::nullopt;
    }
    return detail::take_string(text);
  }

private:
  friend class builder;

  template <class T, class Handle, class Raw> static Handle checked_handle(Raw *raw, const std::string &key) {
    Handle opened(raw);
    detail::check_type<T>(raw, key);
    return opened;
  }
};

/** A graph that is being declared; attach() checks and starts it. */
class builder : public handle<aimdb_builder> {
public:
  builder() : handle(make()) {}

  /** Declares a record of T; the top of this file lists the types. */
  template <class T> builder &record(const std::string &key, buffer cfg) {
    detail::check(functions<T>::configure(native_handle(), key.c_str(), cfg.kind, cfg.capacity));
    records_[key] = {detail::size_of<T>, functions<T>::alignment};
    return *this;
  }

  /** Lets several takers divide the commands of a mailbox. */
  builder &shared(const std::string &key) {
    detail::check(aimdb_shared(native_handle(), key.c_str()));
    return *this;
  }

  /**
   * Adds a tap: `function` is called with every value of the record `key`, on a thread of its own, as `function(value)` or as
   * `function(value, lagged)`. `lagged` is the number of values lost since the previous one. The value is a `const T &`, or a
   * std::string_view for JSON, which is valid until the function returns. The function may block.
   *
   * If the function throws, the tap ends as failed, with what() of a std::exception as the message (`database::health_json`).
   * The function is destroyed when the tap has ended.
   */
  template <class T, class Function> builder &tap(const std::string &key, Function &&function) {
    check_tap_type(key, detail::size_of<T>, alignof(T));
    using state = detail::tap_state<T, std::decay_t<Function>>;
    std::unique_ptr<state> user_data(new state{std::forward<Function>(function)});
    // The library frees it, also if the call fails.
    detail::check(aimdb_tap(native_handle(), key.c_str(), &state::call, user_data.release(), &state::drop));
    return *this;
  }

  /** Adds a connection to an MQTT broker, `mqtt://host:port`; `name` is the scheme of the links that use it. */
  builder &mqtt(const std::string &url, const std::string &name = "mqtt") {
    detail::check(aimdb_mqtt(native_handle(), name.c_str(), url.c_str()));
    return *this;
  }

  /** Sends the values of the record `key` to `address`, see aimdb_link_to. */
  builder &link_to(const std::string &key, const std::string &address) {
    detail::check(aimdb_link_to(native_handle(), key.c_str(), address.c_str()));
    return *this;
  }

  /** Fills the record `key` with the messages from `address`, see aimdb_link_from. */
  builder &link_from(const std::string &key, const std::string &address) {
    detail::check(aimdb_link_from(native_handle(), key.c_str(), address.c_str()));
    return *this;
  }

  /** Checks the whole graph and starts it; the builder is empty afterwards. Throws AIMDB_BAD_GRAPH with all findings. */
  database attach(const options &chosen = {}) && {
    aimdb_options raw{};
    raw.workers = chosen.workers;
    raw.drop_deadline_us = timeout(chosen.drop_deadline).us();
    raw.thread_name = chosen.thread_name.empty() ? nullptr : chosen.thread_name.c_str();
    aimdb_db *db = nullptr;
    // The library takes the builder, also when it fails.
    detail::check(aimdb_attach(release(), &raw, &db));
    return database(db);
  }

private:
  static aimdb_builder *make() {
    aimdb_builder *raw = nullptr;
    detail::check(aimdb_builder_new(&raw));
    return raw;
  }

  /** Throws if the tap is for another type: the library passes any value to any tap. */
  void check_tap_type(const std::string &key, std::size_t size, std::size_t alignment) const {
    const auto found = records_.find(key);
    if (found == records_.end()) {
      return;
    }
    const values &record = found->second;
    if (record.size != size) {
      throw error(AIMDB_WRONG_SIZE, "record `" + key + "` holds " + describe(record.size) + ", but its tap is for " +
                                        describe(size));
    }
    if (record.alignment < alignment) {
      throw error(AIMDB_WRONG_TYPE, "record `" + key + "` holds values that are aligned to " +
                                        std::to_string(record.alignment) + " bytes, but its tap is for a type that needs " +
                                        std::to_string(alignment) + "; use the record's own type");
    }
  }
  static std::string describe(std::size_t size) { return size == 0 ? "JSON" : std::to_string(size) + " bytes"; }

  /** Size of a record's values, 0 for JSON, and their alignment when the library passes them to a tap. */
  struct values {
    std::size_t size;
    std::size_t alignment;
  };
  std::map<std::string, values> records_;
};

/** The severity of a log line. */
enum class log_level : std::uint32_t {
  error = AIMDB_LOG_ERROR,
  warn = AIMDB_LOG_WARN,
  info = AIMDB_LOG_INFO,
  debug = AIMDB_LOG_DEBUG,
  trace = AIMDB_LOG_TRACE,
};

/**
 * Sets the log callback of the process: `function(log_level, std::string_view line)` is called with every line up to
 * `max_level`. It replaces the previous callback. Several threads may call it at once. Its exceptions are ignored.
 */
template <class Function> void set_log(log_level max_level, Function &&function) {
  using state = std::decay_t<Function>;
  struct hook {
    static void call(void *user_data, aimdb_log_level level, const char *line) noexcept {
      try {
        (*static_cast<state *>(user_data))(static_cast<log_level>(level), std::string_view(line));
      } catch (...) {
        // The exception must not reach C, and the code that logs has no use for it.
      }
    }
    static void drop(void *user_data) noexcept { delete static_cast<state *>(user_data); }
  };
  auto user_data = std::make_unique<state>(std::forward<Function>(function));
  // The library frees it, also if it refuses it.
  detail::check(aimdb_set_log(&hook::call, static_cast<aimdb_log_level>(max_level), user_data.release(), &hook::drop));
}

/** Removes the log callback. */
inline void clear_log() { detail::check(aimdb_set_log(nullptr, AIMDB_LOG_ERROR, nullptr, nullptr)); }

} // namespace aimdb

#endif // AIMDB_HPP

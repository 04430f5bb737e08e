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
 * What a record holds
 *
 *   T              any type that can be copied byte by byte: sizeof(T) bytes, whatever they mean. The size is checked when
 *                  a handle is opened, the type is not: use the same one everywhere
 *   aimdb::json    a text of JSON, a std::string
 *   a Rust type    from `export_record!`; after AIMDB_EXPORTED(Reading, reading) the type itself is checked
 *
 * What calls answer
 *
 *   call                                         the value               nothing new, no room       closed, cancelled
 *   get()                                        T                       waits                      throws
 *   try_get()                                    std::optional<T>        empty                      closed: throws
 *   get_for(timeout), get_until(time)            std::optional<T>        waits, then empty          throws
 *   latest()                                     std::optional<T>        empty                      the last value
 *   get_many(to, max, timeout)                   how many, at least 1    waits, then 0              throws
 *   for (auto &value : consumer)                 T                       waits                      closed: the loop ends
 *   set(value)                                                           waits                      throws
 *   try_set(value)                               true                    false                      closed: throws
 *   set_for(value, timeout), set_until(…, time)  true                    waits, then false          throws
 *   set_many(values, count, timeout)             how many were written   waits, then fewer          fewer; throws if none was
 *   wait_any(timeout, consumers...)              whose turn it is        waits, then empty          cancelled: throws
 *
 * Exceptions
 *
 *   aimdb::closed       the database has been detached, and for a consumer: everything has been read
 *   aimdb::cancelled    cancel() was called; a call that need not wait does its work all the same
 *   aimdb::error        the base of both, and everything else, with code() as in aimdb.h: a graph that is not valid (with all
 *                       findings), no such record, a wrong size or type, a handle that was moved from (AIMDB_NULL), …
 *
 * Whatever is not noexcept may throw aimdb::error, and std::bad_alloc. Destructors, moves, cancel() and resume() do not
 * throw.
 *
 * Handles (`builder`, `database`, `producer<T>`, `consumer<T>`) move and are not copied. The const calls may be made by
 * several threads at once; nobody may be in one while its handle is moved from or destroyed: end the waits with cancel()
 * and join the threads. Producers and consumers may outlive the database, whose destructor detaches it.
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

/** A call that failed. what() has the record, expected and actual, and the remedy. */
class error : public std::runtime_error {
public:
  error(aimdb_status code, const std::string &what) : std::runtime_error(what), code_(code) {}

  aimdb_status code() const noexcept { return code_; }

private:
  aimdb_status code_;
};

/** The database has been detached or shut down, and for a consumer: everything has been read. */
class closed : public error {
  using error::error;
};

/** The wait was ended by cancel(). */
class cancelled : public error {
  using error::error;
};

namespace detail {

/** Throws what the last call on this thread had to say. */
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

/** True if it was done, false if the answer was `no`; throws everything else. */
inline bool unless(aimdb_status no, aimdb_status code) {
  if (code == no) {
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
  void operator()(char *it) const noexcept { aimdb_string_free(it); }
};

inline std::string take(char *text) {
  std::unique_ptr<char, deleter> owner(text);
  return text;
}

inline std::string text_of(const aimdb_db *db, aimdb_status (*call)(const aimdb_db *, char **)) {
  char *text = nullptr;
  check(call(db, &text));
  return take(text);
}

} // namespace detail

/** The owner of one of C's handles. It moves; what was moved from, or made by `handle()`, is empty. */
template <class Raw> class handle {
public:
  handle() = default;
  /** Takes over a handle of aimdb.h. */
  explicit handle(Raw *raw) noexcept : raw_(raw) {}

  /** For calls of aimdb.h; it stays this object's. */
  Raw *native_handle() const noexcept { return raw_.get(); }
  /** Gives the handle away: whoever gets it frees it. */
  Raw *release() noexcept { return raw_.release(); }
  explicit operator bool() const noexcept { return static_cast<bool>(raw_); }

  friend bool operator==(const handle &a, const handle &b) noexcept { return a.raw_ == b.raw_; }
  friend bool operator!=(const handle &a, const handle &b) noexcept { return a.raw_ != b.raw_; }

private:
  std::unique_ptr<Raw, detail::deleter> raw_;
};

/** How long a call may wait: any std::chrono::duration, or `forever`. Less than nothing is nothing. */
class timeout {
public:
  template <class Rep, class Period>
  constexpr timeout(std::chrono::duration<Rep, Period> limit) : us_(microseconds(limit)) {}

  /** In microseconds, rounded up; AIMDB_FOREVER for no limit. */
  constexpr std::uint64_t us() const noexcept { return us_; }

  static constexpr timeout none() noexcept { return timeout(); }

  template <class Clock, class Duration> static timeout until(std::chrono::time_point<Clock, Duration> time) {
    const auto now = Clock::now();
    // So that the difference is no smaller than a duration can be.
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

/** The kind of a record's buffer. */
struct buffer {
  aimdb_buffer kind;
  std::size_t capacity;
};

/** Keeps the last `capacity` values; a slow reader loses the oldest, and they are counted. */
constexpr buffer ring(std::size_t capacity) noexcept { return {AIMDB_RING, capacity}; }
/** Keeps every value until every reader has it; a full queue holds its writers back. */
constexpr buffer queue(std::size_t capacity) noexcept { return {AIMDB_QUEUE, capacity}; }
/** Keeps the current value; readers skip to the newest. */
constexpr buffer latest() noexcept { return {AIMDB_LATEST, 0}; }
/** Keeps one pending command; the newest wins and is taken once. */
constexpr buffer mailbox() noexcept { return {AIMDB_MAILBOX, 0}; }

/** What a record of JSON holds, in the place of T. Its values are std::string; what is written is checked. */
struct json {};

/** The functions of aimdb.h for records of T; AIMDB_EXPORTED puts those of a Rust type in their place. */
template <class T> struct functions {
  static_assert(std::is_trivially_copyable_v<T>, "a record's values are copied byte by byte: no std::string, no vector");
  static_assert(std::is_default_constructible_v<T>, "a value is read into one that is there already");

  using value_type = T;
  /** What the library aligns a value to that it lends to a tap. */
  static constexpr std::size_t alignment = 8;

  static aimdb_status configure(const aimdb_builder *to, const char *key, aimdb_buffer kind, std::size_t capacity) {
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
 * Tells C++ that `Type` is exported by Rust's `export_record!` with functions that begin with `prefix`. Write it outside
 * every namespace, after the generated header and before `Type` is used as a record:
 *
 *   #include "workshop.h"
 *   AIMDB_EXPORTED(Reading, reading);
 *
 * Without it a `Reading` is a record of so many bytes: Rust stages and links would not know it.
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
    return into(value, [&](char **text) { return aimdb_get_json(from, text); });
  }
  static aimdb_status try_get(const aimdb_consumer *from, std::string *value) {
    return into(value, [&](char **text) { return aimdb_try_get_json(from, text); });
  }
  static aimdb_status get_timeout(const aimdb_consumer *from, std::string *value, std::uint64_t us) {
    return into(value, [&](char **text) { return aimdb_get_json_timeout(from, text, us); });
  }
  static aimdb_status latest(const aimdb_consumer *from, std::string *value) {
    return into(value, [&](char **text) { return aimdb_latest_json(from, text); });
  }

private:
  static const char *text(const std::string &value) {
    // C would see the text's first part only.
    if (value.find('\0') != std::string::npos) {
      throw error(AIMDB_NOT_JSON, "the text has a NUL in it, which JSON never has");
    }
    return value.c_str();
  }

  template <class Call> static aimdb_status into(std::string *value, Call call) {
    char *text = nullptr;
    const aimdb_status answer = call(&text);
    if (answer == AIMDB_OK) {
      *value = detail::take(text);
    }
    return answer;
  }
};

namespace detail {

/** Refuses a handle whose record holds something else, with what the library says of it: by asking for no values. */
template <class T> void check_type(const aimdb_producer *producer, const std::string &) {
  alignas(T) const char nothing = 0;
  const aimdb_status answer =
      functions<T>::set_many(producer, reinterpret_cast<const T *>(&nothing), 0, 0, nullptr);
  if (answer == AIMDB_WRONG_SIZE || answer == AIMDB_WRONG_TYPE) {
    fail(answer);
  }
}

template <class T> void check_type(const aimdb_consumer *consumer, const std::string &) {
  alignas(T) char nothing = 0;
  std::size_t count = 0;
  const aimdb_status answer = functions<T>::get_many(consumer, reinterpret_cast<T *>(&nothing), 0, 0, &count);
  if (answer == AIMDB_WRONG_SIZE || answer == AIMDB_WRONG_TYPE) {
    fail(answer);
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

/** A producer of whichever type. */
class any_producer : public handle<aimdb_producer> {
public:
  using handle::handle;

  /** Ends the waits of all calls with this producer, and of all that would have to wait, until resume(). */
  void cancel() const noexcept { aimdb_producer_cancel(native_handle()); }
  /** Lets calls with this producer wait again. */
  void resume() const noexcept { aimdb_producer_resume(native_handle()); }
};

/** Writes a record. From `database::producer`. */
template <class T> class producer : public any_producer {
  using calls = functions<T>;

public:
  using value_type = typename calls::value_type;
  using any_producer::any_producer;

  /** Writes a value, waiting for room where there is none: on a queue. */
  void set(const value_type &value) const { detail::check(calls::set(native_handle(), value)); }

  /** set() without waiting: false if there is no room now. */
  [[nodiscard]] bool try_set(const value_type &value) const {
    return detail::unless(AIMDB_FULL, calls::try_set(native_handle(), value));
  }

  /** set(), waiting no longer than `limit`: false if there was no room in time. Zero tries once. */
  [[nodiscard]] bool set_for(const value_type &value, timeout limit) const {
    return detail::unless(AIMDB_TIMEOUT, calls::set_timeout(native_handle(), value, limit.us()));
  }

  /** set_for() until a point in time of any clock, which is read once, at the call. */
  template <class Clock, class Duration>
  [[nodiscard]] bool set_until(const value_type &value, std::chrono::time_point<Clock, Duration> time) const {
    return set_for(value, timeout::until(time));
  }

  /**
   * Writes `count` values in order, waiting for room no longer than `limit` for all together. How many were written: they
   * were the first ones. Fewer than `count` means that time was up, or that the producer was closed or cancelled on the
   * way, which the next call tells. Not for JSON.
   */
  std::size_t set_many(const value_type *values, std::size_t count, timeout limit = forever) const {
    if (count == 0) {
      return 0;
    }
    std::size_t accepted = 0;
    const aimdb_status answer = calls::set_many(native_handle(), values, count, limit.us(), &accepted);
    if (accepted == 0) {
      detail::unless(AIMDB_TIMEOUT, answer);
    }
    return accepted;
  }

  /** set_many() of what stands in a vector, an array, a span: whatever has std::data and std::size. */
  template <class Values> auto set_many(const Values &values, timeout limit = forever) const
      -> decltype(static_cast<const value_type *>(std::data(values)), std::size(values), std::size_t()) {
    return set_many(std::data(values), std::size(values), limit);
  }
};

/** A consumer of whichever type: what `wait_any` waits for. */
class any_consumer : public handle<aimdb_consumer> {
public:
  using handle::handle;

  /** How many values this consumer has lost so far. On a mailbox: how many commands were replaced by those it took. */
  std::uint64_t lagged() const {
    std::uint64_t count = 0;
    detail::check(aimdb_lagged(native_handle(), &count));
    return count;
  }

  /** Ends the waits of all calls with this consumer, and of all that would have to wait, until resume(). */
  void cancel() const noexcept { aimdb_consumer_cancel(native_handle()); }
  /** Lets calls with this consumer wait again. */
  void resume() const noexcept { aimdb_consumer_resume(native_handle()); }

  /**
   * A descriptor for poll, select and epoll, readable while there is something to take or the record has ended. Take until
   * try_get() is empty: only that makes it unreadable again. It is the consumer's: neither read from it nor close it.
   */
  int fd() const {
    int fd = -1;
    detail::check(aimdb_consumer_fd(native_handle(), &fd));
    return fd;
  }
};

/** Reads a record, with a position of its own; threads that share it divide the values. From `database::consumer`. */
template <class T> class consumer : public any_consumer {
  using calls = functions<T>;

public:
  using value_type = typename calls::value_type;
  using any_consumer::any_consumer;

  /** Takes the next value, waiting for it. */
  value_type get() const {
    value_type value;
    detail::check(calls::get(native_handle(), &value));
    return value;
  }

  /** get() without waiting: empty if there is nothing new. */
  std::optional<value_type> try_get() const {
    value_type value;
    return given(detail::unless(AIMDB_EMPTY, calls::try_get(native_handle(), &value)), value);
  }

  /** get(), waiting no longer than `limit`: empty if nothing came in time. Zero tries once. */
  std::optional<value_type> get_for(timeout limit) const {
    value_type value;
    return given(detail::unless(AIMDB_TIMEOUT, calls::get_timeout(native_handle(), &value, limit.us())), value);
  }

  /** get_for() until a point in time of any clock, which is read once, at the call. */
  template <class Clock, class Duration>
  std::optional<value_type> get_until(std::chrono::time_point<Clock, Duration> time) const {
    return get_for(timeout::until(time));
  }

  /**
   * Takes up to `max` values into the array at `values`, waiting for the first no longer than `limit`. How many were taken:
   * 0 if none came in time. Not for JSON.
   */
  std::size_t get_many(value_type *values, std::size_t max, timeout limit = forever) const {
    std::size_t count = 0;
    detail::unless(AIMDB_TIMEOUT, calls::get_many(native_handle(), values, max, limit.us(), &count));
    return count;
  }

  /** get_many() in place of what the vector held; its memory is used again. */
  std::size_t get_many(std::vector<value_type> &values, std::size_t max, timeout limit = forever) const {
    values.resize(max);
    // An empty vector may have no memory to point to.
    const std::size_t count = max == 0 ? 0 : get_many(values.data(), max, limit);
    values.resize(count);
    return count;
  }

  /** The newest value, without taking it; empty if there is none. */
  std::optional<value_type> latest() const {
    value_type value;
    return given(detail::unless(AIMDB_EMPTY, calls::latest(native_handle(), &value)), value);
  }

  /** An input iterator: going on takes the next value and waits for it. The end is where the record is closed. */
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
      const aimdb_status answer = calls::get(from_->native_handle(), &value_);
      if (!detail::unless(AIMDB_CLOSED, answer)) {
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
  static std::optional<value_type> given(bool there, value_type &value) {
    return there ? std::optional<value_type>(std::move(value)) : std::nullopt;
  }
};

/** Waits until one of these consumers has something to take or has ended: its place in the array; empty if time is up. */
inline std::optional<std::size_t> wait_any(timeout limit, aimdb_consumer *const *consumers, std::size_t count) {
  std::size_t index = 0;
  if (!detail::unless(AIMDB_TIMEOUT, aimdb_wait_any(consumers, count, limit.us(), &index))) {
    return std::nullopt;
  }
  return index;
}

/** wait_any() of consumers of any types and databases. Nothing is taken yet: go on with try_get(). */
template <class... T> std::optional<std::size_t> wait_any(timeout limit, const consumer<T> &...consumers) {
  static_assert(sizeof...(T) > 0, "there are no consumers to wait for");
  aimdb_consumer *const all[] = {consumers.native_handle()...};
  return wait_any(limit, all, sizeof...(T));
}

/** What a tap that threw returned to the library: `database::health_json` names it. */
inline constexpr std::int32_t tap_threw = -1;
/**
 * What it returned when the record, declared through aimdb.h, has values of another size than the tap's type, or one that is
 * not aligned for it: an exported struct can be aligned to less than another type of its size.
 */
inline constexpr std::int32_t tap_wrong_size = -2;

namespace detail {

/** The size of a record's values as the library has it: 0 for JSON. */
template <class T> inline constexpr std::size_t size_of = sizeof(T);
template <> inline constexpr std::size_t size_of<json> = 0;

/** A tap's value as its function gets it. */
template <class T> struct lent {
  static_assert(alignof(T) <= functions<T>::alignment, "the library aligns values of bytes to 8 bytes, and no more");
  using type = const T &;
  static bool fits(const void *value, std::size_t size) noexcept {
    return size == sizeof(T) && reinterpret_cast<std::uintptr_t>(value) % alignof(T) == 0;
  }
  static type from(const void *value, std::size_t) noexcept { return *static_cast<const T *>(value); }
};

template <> struct lent<json> {
  using type = std::string_view;
  static bool fits(const void *, std::size_t) noexcept { return true; }
  static type from(const void *value, std::size_t size) noexcept { return {static_cast<const char *>(value), size}; }
};

/** A tap's function on the heap, and what C calls for it. */
template <class T, class Function> struct tap_state {
  Function function;

  static std::int32_t call(void *user, const void *value, std::size_t size, std::uint64_t missed) noexcept {
    if (!lent<T>::fits(value, size)) {
      aimdb_tap_failed("the record's values have another size than the tap's type, or are aligned to less");
      return tap_wrong_size;
    }
    try {
      static_cast<tap_state *>(user)->run(lent<T>::from(value, size), missed);
      return 0;
    } catch (const std::exception &exception) {
      aimdb_tap_failed(exception.what());
    } catch (...) {
      aimdb_tap_failed("it threw something that is no std::exception");
    }
    return tap_threw;
  }
  static void drop(void *user) noexcept { delete static_cast<tap_state *>(user); }

private:
  void run(typename lent<T>::type value, std::uint64_t missed) {
    if constexpr (std::is_invocable_v<Function &, typename lent<T>::type, std::uint64_t>) {
      function(value, missed);
    } else {
      function(value);
    }
  }
};

} // namespace detail

/** How the database runs. */
struct options {
  /** Worker threads for the stages of the graph; 0 runs them on the runtime thread itself. */
  std::uint32_t workers = 0;
  /** How long the database's destructor may take to drain; zero for the default, 2 s. */
  std::chrono::microseconds drop_deadline{0};
  /** The runtime thread's name; empty for the default. */
  std::string thread_name;
};

/** A running database. Its destructor detaches it; in a tap of its own it cannot, and leaves it running. */
class database : public handle<aimdb_db> {
public:
  database() = default;
  explicit database(aimdb_db *raw) : handle(raw) {}

  /** A handle that writes the record `key`. Throws if that holds something else. */
  template <class T> aimdb::producer<T> producer(const std::string &key) const {
    aimdb_producer *raw = nullptr;
    detail::check(aimdb_producer_new(native_handle(), key.c_str(), &raw));
    return checked<T, aimdb::producer<T>>(raw, key);
  }

  /** producer() with a queue of `capacity` values between the caller and the record: a burst waits there. */
  template <class T> aimdb::producer<T> producer_with_capacity(const std::string &key, std::size_t capacity) const {
    aimdb_producer *raw = nullptr;
    detail::check(aimdb_producer_with_capacity(native_handle(), key.c_str(), capacity, &raw));
    return checked<T, aimdb::producer<T>>(raw, key);
  }

  /** A handle that reads the record `key` from now on. Throws if that holds something else. */
  template <class T> aimdb::consumer<T> consumer(const std::string &key) const {
    aimdb_consumer *raw = nullptr;
    detail::check(aimdb_consumer_new(native_handle(), key.c_str(), &raw));
    return checked<T, aimdb::consumer<T>>(raw, key);
  }

  /** consumer() with a queue of `capacity` values between the record and the caller. */
  template <class T> aimdb::consumer<T> consumer_with_capacity(const std::string &key, std::size_t capacity) const {
    aimdb_consumer *raw = nullptr;
    detail::check(aimdb_consumer_with_capacity(native_handle(), key.c_str(), capacity, &raw));
    return checked<T, aimdb::consumer<T>>(raw, key);
  }

  /**
   * Shuts down in order, see aimdb_detach. What is not done within `deadline` is cut off and reported. Throws
   * AIMDB_WOULD_DEADLOCK in a tap of this database, and AIMDB_UNRESPONSIVE if stages cannot even be cut off.
   */
  aimdb_report detach(timeout deadline = std::chrono::seconds(10)) const {
    aimdb_report report{};
    detail::check(aimdb_detach(native_handle(), deadline.us(), &report));
    return report;
  }

  /** Asks for a shutdown and does not wait for it: what a tap can do. */
  void request_shutdown() const { detail::check(aimdb_request_shutdown(native_handle())); }

  /** Whether every stage and link is well and no shutdown has begun. */
  bool healthy() const {
    bool healthy = false;
    detail::check(aimdb_is_healthy(native_handle(), &healthy));
    return healthy;
  }

  /** How every stage, link and blocked writer is now. */
  std::string health_json() const { return detail::text_of(native_handle(), aimdb_health_json); }
  /** What was counted so far, record by record and reader by reader. */
  std::string metrics_json() const { return detail::text_of(native_handle(), aimdb_metrics_json); }
  std::string graph_json() const { return detail::text_of(native_handle(), aimdb_graph_json); }
  /** The graph, for people. */
  std::string graph_text() const { return detail::text_of(native_handle(), aimdb_graph_text); }

  /** The whole report of the last detach(); empty before there is one. */
  std::optional<std::string> report_json() const {
    char *text = nullptr;
    if (!detail::unless(AIMDB_EMPTY, aimdb_report_json(native_handle(), &text))) {
      return std::nullopt;
    }
    return detail::take(text);
  }

private:
  friend class builder;

  template <class T, class Handle, class Raw> static Handle checked(Raw *raw, const std::string &key) {
    Handle opened(raw);
    detail::check_type<T>(raw, key);
    return opened;
  }
};

/** A graph that is being declared; attach() checks and starts it. */
class builder : public handle<aimdb_builder> {
public:
  builder() : handle(make()) {}

  /** Declares a record of T, see the top of this file. */
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
   * Has `function` called with every value of the record `key`, on a thread of its own: as `function(value)`, or as
   * `function(value, missed)` with how many values were lost since the one before. The value is a `const T &`, of JSON a
   * std::string_view, to be read until it returns. It may block.
   *
   * If it throws, the tap ends as failed, with what() of a std::exception as the reason (`database::health_json`). The
   * function is destroyed when the tap has ended.
   */
  template <class T, class Function> builder &tap(const std::string &key, Function &&function) {
    check_lent(key, detail::size_of<T>, alignof(T));
    using state = detail::tap_state<T, std::decay_t<Function>>;
    std::unique_ptr<state> user(new state{std::forward<Function>(function)});
    // The library frees it, also if it refuses it.
    detail::check(aimdb_tap(native_handle(), key.c_str(), &state::call, user.release(), &state::drop));
    return *this;
  }

  /** Adds a connection to an MQTT broker, `mqtt://host:port`; `name` is the scheme of the links that use it. */
  builder &mqtt(const std::string &url, const std::string &name = "mqtt") {
    detail::check(aimdb_mqtt(native_handle(), name.c_str(), url.c_str()));
    return *this;
  }

  /** Sends the record's values to `address`, see aimdb_link_to. */
  builder &link_to(const std::string &key, const std::string &address) {
    detail::check(aimdb_link_to(native_handle(), key.c_str(), address.c_str()));
    return *this;
  }

  /** Fills the record with what comes from `address`, see aimdb_link_from. */
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

  /** The library would hand a tap whatever the record holds. */
  void check_lent(const std::string &key, std::size_t size, std::size_t alignment) const {
    const auto found = records_.find(key);
    if (found == records_.end()) {
      return;
    }
    const values &record = found->second;
    if (record.size != size) {
      throw error(AIMDB_WRONG_SIZE, "record `" + key + "` holds " + in_words(record.size) + ", but its tap is for " +
                                        in_words(size));
    }
    if (record.alignment < alignment) {
      throw error(AIMDB_WRONG_TYPE, "record `" + key + "` holds values that are aligned to " +
                                        std::to_string(record.alignment) + " bytes, but its tap is for a type that needs " +
                                        std::to_string(alignment) + "; use the record's own type");
    }
  }
  static std::string in_words(std::size_t size) { return size == 0 ? "JSON" : std::to_string(size) + " bytes"; }

  /** How large a record's values are, 0 for JSON, and how they are aligned when they are lent. */
  struct values {
    std::size_t size;
    std::size_t alignment;
  };
  std::map<std::string, values> records_;
};

/** How grave a line of the log is. */
enum class log_level : std::uint32_t {
  error = AIMDB_LOG_ERROR,
  warn = AIMDB_LOG_WARN,
  info = AIMDB_LOG_INFO,
  debug = AIMDB_LOG_DEBUG,
  trace = AIMDB_LOG_TRACE,
};

/**
 * Has `function(log_level, std::string_view line)` called with every line of the log up to `finest`, in the whole process,
 * in place of the one before. Several threads may call it at once. What it throws is lost.
 */
template <class Function> void set_log(log_level finest, Function &&function) {
  using state = std::decay_t<Function>;
  struct hook {
    static void call(void *user, aimdb_log_level level, const char *line) noexcept {
      try {
        (*static_cast<state *>(user))(static_cast<log_level>(level), std::string_view(line));
      } catch (...) {
        // Whoever logs cannot be told, and C must not be.
      }
    }
    static void drop(void *user) noexcept { delete static_cast<state *>(user); }
  };
  auto user = std::make_unique<state>(std::forward<Function>(function));
  // The library frees it, also if it refuses it.
  detail::check(aimdb_set_log(&hook::call, static_cast<aimdb_log_level>(finest), user.release(), &hook::drop));
}

/** No log any more. */
inline void clear_log() { detail::check(aimdb_set_log(nullptr, AIMDB_LOG_ERROR, nullptr, nullptr)); }

} // namespace aimdb

#endif // AIMDB_HPP

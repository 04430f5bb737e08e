// C++ functions that the library calls: taps and the log.
#include "check.hpp"

#include <workshop.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <thread>

AIMDB_EXPORTED(Reading, reading);

using namespace std::chrono_literals;

static void values() {
  test("a tap receives every value in order, and its lag", [] {
    aimdb::builder builder;
    std::vector<int> seen;
    std::uint64_t lagged = 0;
    builder.record<int>("it", aimdb::queue(4)).tap<int>("it", [&](const int &value, std::uint64_t lost) {
      seen.push_back(value);
      lagged += lost;
    });
    const aimdb::database db = std::move(builder).attach();
    db.producer<int>("it").set_many(std::vector{1, 2, 3, 4, 5, 6, 7, 8});
    CHECK(db.detach().clean);
    CHECK((seen == std::vector{1, 2, 3, 4, 5, 6, 7, 8}) && lagged == 0);
  });

  test("a slow tap on a ring receives the number of values it lost", [] {
    aimdb::builder builder;
    std::uint64_t got = 0, lagged = 0;
    builder.record<int>("it", aimdb::ring(2)).tap<int>("it", [&](int, std::uint64_t lost) {
      ++got;
      lagged += lost;
    });
    const aimdb::database db = std::move(builder).attach();
    const auto writer = db.producer<int>("it");
    for (int value = 0; value < 10'000; ++value) {
      writer.set(value);
    }
    db.detach();
    CHECK(got + lagged == 10'000);
  });

  test("a tap of JSON receives the string", [] {
    aimdb::builder builder;
    std::string seen;
    builder.record<aimdb::json>("it", aimdb::queue(4));
    builder.tap<aimdb::json>("it", [&](std::string_view text) { seen = text; });
    const aimdb::database db = std::move(builder).attach();
    db.producer<aimdb::json>("it").set("{\"a\":1}");
    db.detach();
    CHECK(seen == "{\"a\":1}");
  });

  test("a tap for another size is refused at once, with both sizes", [] {
    aimdb::builder builder;
    builder.record<int>("it", aimdb::ring(4));
    fails(AIMDB_WRONG_SIZE, [&] { builder.tap<double>("it", [](double) {}); }, "`it`", "4 bytes", "8 bytes");
    fails(AIMDB_WRONG_SIZE, [&] { builder.tap<aimdb::json>("it", [](std::string_view) {}); }, "`it`", "JSON");
  });

  test("a tap for another size fails at its first value if only the library knows the size", [] {
    aimdb::builder builder;
    CHECK(aimdb_configure_bytes(builder.native_handle(), "it", 4, AIMDB_QUEUE, 4) == AIMDB_OK);
    builder.tap<double>("it", [](double) {});
    const aimdb::database db = std::move(builder).attach();
    db.producer<int>("it").set(1);
    CHECK(db.detach().failures == 1);
    CHECK(contains(db.health_json(), "its callback returned -2: the record's values have another size"));
  });
}

// Whether a tap receives every value of T, and each value is aligned for T.
template <class T> bool aligned(const T &value) {
  aimdb::builder builder;
  int seen = 0, misaligned = 0;
  builder.record<T>("it", aimdb::queue(4)).template tap<T>("it", [&](const T &lent) {
    ++seen;
    misaligned += reinterpret_cast<std::uintptr_t>(&lent) % alignof(T) != 0;
  });
  const aimdb::database db = std::move(builder).attach();
  db.producer<T>("it").set_many(std::vector<T>(16, value));
  return db.detach().clean && seen == 16 && misaligned == 0;
}

static void alignment() {
  test("the values of a tap are aligned for its type, exported or bytes, small or large", [] {
    static_assert(alignof(Reading) == 4 && sizeof(Reading) == sizeof(double));
    CHECK(aligned<char>('a') && aligned<int>(7) && aligned<double>(0.5));
    CHECK(aligned(std::array<double, 128>{}) && aligned(std::array<double, 129>{}));
    CHECK(aligned(std::array<std::uint64_t, 4096>{}));
    CHECK(aligned(Reading{1, 20.5f}));
  });

  test("a tap of an exported record for a type that needs more alignment is refused at once", [] {
    aimdb::builder builder;
    builder.record<Reading>("it", aimdb::ring(4));
    fails(AIMDB_WRONG_TYPE, [&] { builder.tap<double>("it", [](double) {}); }, "`it`", "4 bytes", "needs 8");
    builder.tap<std::array<float, 2>>("it", [](const std::array<float, 2> &) {});
  });

  test("a tap receives no misaligned value if only the library knows the alignment", [] {
    aimdb::builder builder;
    CHECK(reading_configure(builder.native_handle(), "it", AIMDB_QUEUE, 4) == AIMDB_OK);
    std::size_t seen = 0;
    builder.tap<double>("it", [&](const double &) { ++seen; });
    const aimdb::database db = std::move(builder).attach();
    db.producer<Reading>("it").set({1, 20.5f});
    // The address of the value may or may not be aligned by chance.
    CHECK(db.detach().failures + seen == 1);
  });
}

// Counts how often the data of a function was destroyed. It is movable only, as std::unique_ptr is.
struct counted {
  explicit counted(int &freed) : freed_(&freed, [](int *count) { ++*count; }) {}
  void operator()(int) const {}
  std::unique_ptr<int, void (*)(int *)> freed_;
};

static void ends() {
  test("a tap that throws ends as failed, with the message of the exception", [] {
    aimdb::builder builder;
    int calls = 0;
    builder.record<int>("it", aimdb::queue(4)).tap<int>("it", [&](int value) {
      ++calls;
      if (value == 2) {
        throw std::runtime_error("two is too much");
      }
    });
    const aimdb::database db = std::move(builder).attach();
    // The tap does not read the third value.
    const auto writer = db.producer<int>("it");
    writer.set_many(std::vector{1, 2, 3});
    while (db.healthy()) {
      std::this_thread::sleep_for(1ms);
    }
    CHECK(contains(db.health_json(), "its callback returned -1: two is too much"));
    CHECK(db.detach().failures == 1 && calls == 2);
  });

  test("the function of a tap is destroyed once: at the detach, with the builder, or when the tap is refused", [] {
    int freed = 0;
    {
      aimdb::builder builder;
      builder.record<int>("it", aimdb::ring(4)).tap<int>("it", counted(freed));
      const aimdb::database db = std::move(builder).attach();
      CHECK(freed == 0);
      db.detach();
      CHECK(freed == 1);
    }
    {
      aimdb::builder builder;
      builder.record<int>("it", aimdb::ring(4)).tap<int>("it", counted(freed));
      CHECK(freed == 1);
    }
    CHECK(freed == 2);
    {
      aimdb::builder builder;
      fails(AIMDB_NO_SUCH_RECORD, [&] { builder.tap<int>("it", counted(freed)); }, "`it`");
      CHECK(freed == 3);
    }
    CHECK(freed == 3);
  });

  test("a tap can request a shutdown, but not wait for it", [] {
    aimdb::builder builder;
    std::atomic<const aimdb::database *> its{nullptr};
    std::atomic<bool> refused{false};
    builder.record<int>("it", aimdb::queue(4)).tap<int>("it", [&](int) {
      const aimdb::database &db = *its;
      fails(AIMDB_WOULD_DEADLOCK, [&] { db.detach(); }, "aimdb_request_shutdown");
      refused = true;
      db.request_shutdown();
    });
    const aimdb::database db = std::move(builder).attach();
    its = &db;
    const auto reader = db.consumer<int>("it");
    db.producer<int>("it").set(1);
    int seen = 0;
    for (const int value : reader) {
      seen += value;
    }
    CHECK(seen == 1 && db.detach().clean && refused);
  });
}

// The lines of the log. Several threads of the process may call the callback at once, so each access takes the lock.
struct lines_of_a_log {
  void add(std::string_view line) {
    const std::lock_guard<std::mutex> guard(lock_);
    lines_.emplace_back(line);
  }
  std::size_t count() const {
    const std::lock_guard<std::mutex> guard(lock_);
    return lines_.size();
  }
  bool has(const std::string &part) const {
    const std::lock_guard<std::mutex> guard(lock_);
    return std::any_of(lines_.begin(), lines_.end(), [&](const std::string &line) { return contains(line, part); });
  }

private:
  mutable std::mutex lock_;
  std::vector<std::string> lines_;
};

static void logging() {
  test("the log callback receives each line, its exceptions do not reach C, and it can be removed", [] {
    auto lines = std::make_shared<lines_of_a_log>();
    aimdb::set_log(aimdb::log_level::info, [lines](aimdb::log_level level, std::string_view line) {
      CHECK(level <= aimdb::log_level::info);
      lines->add(line);
      throw std::runtime_error("ignored");
    });
    with<int>(aimdb::ring(4)).detach();
    aimdb::clear_log();
    // The function is destroyed when its last call, perhaps on another thread, has returned.
    while (lines.use_count() != 1) {
      std::this_thread::sleep_for(1ms);
    }
    CHECK(lines->has("shut down"));
    const auto count = lines->count();
    with<int>(aimdb::ring(4)).detach();
    CHECK(lines->count() == count);
  });
}

int main() {
  values();
  alignment();
  ends();
  logging();
}

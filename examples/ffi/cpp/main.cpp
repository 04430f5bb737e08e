// Run with `examples/ffi/run cpp`.
//
// A tutorial of the C++ header: `examples/sync-api-demo` in C++, line by line, with the same output. A workshop has one record
// of each buffer kind. A reading is a struct that Rust defines (`workshop.h`, from `examples/ffi/records`); C++ defines the
// types of the other records.
//
// 1. build() declares the graph, and attaches.
// 2. readings(): several producers, three ways of reading, a ring.
// 3. orders(): a queue holds a fast writer back; nothing is lost.
// 4. setpoint(): latest shows the newest, a mailbox gives each command to one taker.
// 5. burst(): a queued bridge, where a burst waits in its own queue.
// 6. main() detaches: the accepted values are drained, and a report counts them.

#include <aimdb.hpp>
#include <workshop.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>
#include <thread>
#include <vector>

AIMDB_EXPORTED(Reading, reading);

using namespace std::chrono_literals;

namespace {

// A command is a string of at most 15 bytes: a record may hold any type that can be copied byte by byte.
using command = std::array<char, 16>;

constexpr std::uint32_t last_order = std::numeric_limits<std::uint32_t>::max();

const char *const nothing_new = aimdb_status_text(AIMDB_EMPTY);

// The tap of the orders. It counts them, and prints the count in its destructor, which runs when the tap has ended.
class counter {
public:
  counter() = default;
  counter(counter &&other) noexcept : total_(other.total_), live_(std::exchange(other.live_, false)) {}
  ~counter() {
    if (live_) {
      std::printf("   (the tap has seen %u orders)\n", total_);
    }
  }
  // One thread of its own calls it, so it needs no lock.
  void operator()(std::uint32_t) { ++total_; }

private:
  unsigned total_ = 0;
  bool live_ = true;
};

// Declares the graph. attach() checks all of it and starts it on a thread of its own.
aimdb::database build() {
  aimdb::builder builder;
  builder.record<Reading>("workshop.reading", aimdb::ring(64));
  builder.record<std::uint32_t>("workshop.order", aimdb::queue(4)).tap<std::uint32_t>("workshop.order", counter());
  builder.record<float>("workshop.setpoint", aimdb::latest());
  builder.record<command>("workshop.command", aimdb::mailbox());
  return std::move(builder).attach();
}

// Three threads write a ring; one reader waits without limit, one does not wait, one waits for a limited time.
void readings(const aimdb::database &db) {
  const auto waiting = db.consumer<Reading>("workshop.reading");
  const auto polling = db.consumer<Reading>("workshop.reading");
  const auto timed = db.consumer<Reading>("workshop.reading");

  const auto before = polling.try_get();
  std::printf("1. before anything was written, try_get says: %s\n", before ? "a reading" : nothing_new);

  const auto producer = db.producer<Reading>("workshop.reading");
  std::vector<std::thread> threads;
  for (std::uint32_t sensor = 0; sensor < 3; ++sensor) {
    threads.emplace_back([&producer, sensor] {
      for (int step = 0; step < 5; ++step) {
        producer.set({sensor, 20.0f + static_cast<float>(sensor) + static_cast<float>(step) / 10.0f});
      }
    });
  }
  for (auto &thread : threads) {
    thread.join();
  }

  // Each consumer has a position of its own and sees all fifteen.
  float warmest = 0.0f;
  for (int nth = 0; nth < 15; ++nth) {
    warmest = std::max(warmest, waiting.get().celsius);
  }
  std::printf("2. get: 15 readings, the warmest %.1f °C\n", warmest);

  int of_sensor_0 = 0;
  while (const auto reading = polling.try_get()) {
    of_sensor_0 += reading->sensor == 0;
  }
  std::printf("   try_get: %d of them from sensor 0\n", of_sensor_0);

  int count = 0;
  while (timed.get_for(50ms)) {
    ++count;
  }
  std::printf("   with a timeout: %d readings, then time is up\n", count);
}

// A queue of four, two threads that share one consumer, and a writer that has to wait for them.
void orders(const aimdb::database &db) {
  const auto producer = db.producer<std::uint32_t>("workshop.order");
  const auto consumer = db.consumer<std::uint32_t>("workshop.order");

  // Threads that share a consumer divide the values: each order is taken once.
  std::array<unsigned, 2> taken{};
  std::vector<std::thread> workers;
  for (auto &mine : taken) {
    workers.emplace_back([&consumer, &mine] {
      while (consumer.get() != last_order) {
        ++mine;
      }
    });
  }
  for (std::uint32_t order = 0; order < 100; ++order) {
    producer.set(order);
  }
  producer.set_many(std::array{last_order, last_order});
  for (auto &worker : workers) {
    worker.join();
  }
  std::printf("3. queue: 100 orders through a queue of 4, taken: %u\n", taken[0] + taken[1]);
}

// Latest and mailbox keep one value: the newest.
void setpoint(const aimdb::database &db) {
  const auto setpoint = db.producer<float>("workshop.setpoint");
  const auto display = db.consumer<float>("workshop.setpoint");
  for (const float celsius : {19.0f, 20.0f, 21.0f}) {
    setpoint.set(celsius);
  }
  const float shown = display.get();
  const auto skipped = static_cast<unsigned>(display.lagged());
  std::printf("4. latest: shows %.1f °C, %u older ones skipped\n", shown, skipped);

  const auto commands = db.producer<command>("workshop.command");
  const auto motor = db.consumer<command>("workshop.command");
  commands.set({"start"});
  commands.set({"stop"});
  const command taken = motor.get();
  const auto then = motor.try_get();
  std::printf("   mailbox: the motor gets \"%s\", and then: %s\n", taken.data(), then ? then->data() : nothing_new);
}

// The queue of the producer takes a burst at once; a task moves the values to the record while the caller continues.
void burst(const aimdb::database &db) {
  const auto queued = db.producer_with_capacity<std::uint32_t>("workshop.order", 1000);
  bool all = true;
  for (std::uint32_t order = 0; order < 500; ++order) {
    // There is room in the queue, so this never waits for the record's own four slots.
    all &= queued.try_set(order);
  }
  std::printf("5. queued bridge: a burst of 500 orders %s at once\n", all ? "accepted" : "not accepted");
}

} // namespace

int main() try {
  const aimdb::database db = build();
  std::fprintf(stderr, "%s\n", db.graph_text().c_str());

  readings(db);
  orders(db);
  setpoint(db);
  burst(db);

  // The taps drain the accepted values, blocked calls throw aimdb::closed, the runtime thread is joined.
  const aimdb_report report = db.detach();
  std::printf("6. detached: %u left, clean: %s\n", static_cast<unsigned>(report.undelivered), report.clean ? "true" : "false");
} catch (const aimdb::error &error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}

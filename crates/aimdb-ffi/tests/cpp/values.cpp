// Results of calls that do not wait, or wait for a short time.
#include "check.hpp"

#include <array>
#include <filesystem>
#include <fstream>
#include <limits>
#include <thread>

using namespace std::chrono_literals;

static void readers() {
  test("try_get is empty before a value is written, and after it was taken", [] {
    const aimdb::database db = with<int>(aimdb::ring(4));
    const auto reader = db.consumer<int>("it");
    CHECK(reader.try_get() == std::nullopt);
    db.producer<int>("it").set(7);
    CHECK(reader.try_get() == 7);
    CHECK(reader.try_get() == std::nullopt);
  });

  test("get_for and get_until are empty when their time has passed", [] {
    const aimdb::database db = with<int>(aimdb::ring(4));
    const auto reader = db.consumer<int>("it");
    const auto before = std::chrono::steady_clock::now();
    CHECK(reader.get_for(20ms) == std::nullopt);
    CHECK(std::chrono::steady_clock::now() - before >= 20ms);
    CHECK(reader.get_for(0s) == std::nullopt);
    CHECK(reader.get_until(before) == std::nullopt);
    CHECK(reader.get_until(std::chrono::system_clock::now() + 20ms) == std::nullopt);
    db.producer<int>("it").set(7);
    CHECK(reader.get_until(std::chrono::steady_clock::time_point::min()) == 7);
  });

  test("latest copies the value, and does not take it", [] {
    const aimdb::database db = with<int>(aimdb::latest());
    const auto reader = db.consumer<int>("it");
    CHECK(reader.latest() == std::nullopt);
    db.producer<int>("it").set(7);
    CHECK(reader.latest() == 7 && reader.latest() == 7 && reader.get() == 7);
  });

  test("a slow reader has an exact lag", [] {
    const aimdb::database db = with<int>(aimdb::ring(2));
    const auto reader = db.consumer<int>("it");
    db.producer<int>("it").set_many(std::array{1, 2, 3, 4, 5});
    CHECK(reader.get() == 4 && reader.lagged() == 3);
  });

  test("get_many takes the values that are ready, up to its limit", [] {
    const aimdb::database db = with<int>(aimdb::queue(8));
    const auto reader = db.consumer<int>("it");
    db.producer<int>("it").set_many(std::array{1, 2, 3, 4, 5});
    std::array<int, 2> two{};
    CHECK(reader.get_many(two.data(), two.size()) == 2 && two[1] == 2);
    std::vector<int> rest{9, 9, 9, 9, 9, 9, 9};
    CHECK(reader.get_many(rest, 5) == 3);
    CHECK((rest == std::vector{3, 4, 5}));
    CHECK(reader.get_many(rest, 5, 1ms) == 0 && rest.empty());
    CHECK(reader.get_many(rest, 0) == 0);
  });
}

static void observers() {
  test("an observer sees what its taker takes, and counts what it missed", [] {
    const aimdb::database db = with<int>(aimdb::mailbox());
    const auto taker = db.consumer<int>("it");
    const auto watching = db.observe<int>("it", "bench");
    CHECK(!watching.try_see());
    for (int n = 1; n <= 100; ++n) {
      db.producer<int>("it").set(n);
    }
    CHECK(taker.get() == 100);
    const aimdb::seen<int> first = watching.see();
    CHECK(first.value == 37 && first.number == 37 && first.missed == 36);
    CHECK(watching.see_for(5s)->value == 38);
    db.detach();
    for (int n = 39; n <= 100; ++n) {
      CHECK(watching.see().value == n);
    }
    thrown<aimdb::closed>([&] { watching.see(); });
    fails(AIMDB_WRONG_SIZE, [&] { db.observe<char>("it", "bench"); }, "`it`");
  });

  test("JSON is seen as text, and read by key", [] {
    const aimdb::database db = with<aimdb::json>(aimdb::queue(8));
    const auto watching = db.observe<aimdb::json>("it", "bench");
    CHECK(db.record_json("it") == std::nullopt);
    db.producer<aimdb::json>("it").set("[1]");
    CHECK(db.record_json("it") == "[1]");
    CHECK(watching.see().value == "[1]");
    fails(AIMDB_WRONG_TYPE, [&] { with<int>(aimdb::latest()).record_json("it"); }, "not JSON");
  });
}

static void writers() {
  test("a full queue refuses try_set, and set_for and set_until in time", [] {
    const aimdb::database db = with<int>(aimdb::queue(1));
    const auto reader = db.consumer<int>("it");
    const auto writer = db.producer<int>("it");
    CHECK(writer.try_set(1));
    CHECK(!writer.try_set(2));
    CHECK(!writer.set_for(2, 5ms));
    CHECK(!writer.set_until(2, std::chrono::steady_clock::now() + 5ms));
    CHECK(reader.get() == 1);
    CHECK(writer.set_for(2, 5s) && reader.get() == 2);
  });

  test("set_many returns how many values it wrote, and throws when it wrote none", [] {
    const aimdb::database db = with<int>(aimdb::queue(3));
    const auto reader = db.consumer<int>("it");
    const auto writer = db.producer<int>("it");
    const std::vector<int> values{1, 2, 3, 4, 5};
    CHECK(writer.set_many(values, 5ms) == 3);
    CHECK(writer.set_many(values, 0s) == 0);
    CHECK(reader.get() == 1);
    writer.cancel();
    CHECK(writer.set_many(values) == 1);
    thrown<aimdb::cancelled>([&] { writer.set_many(values); });
    db.detach();
    thrown<aimdb::closed>([&] { writer.set_many(values); });
    CHECK(writer.set_many(values.data(), 0) == 0);
  });

  test("the queue of a producer with capacity takes a burst", [] {
    const aimdb::database db = with<int>(aimdb::queue(1));
    const auto reader = db.consumer<int>("it");
    const auto writer = db.producer_with_capacity<int>("it", 10);
    for (int value = 0; value < 10; ++value) {
      CHECK(writer.try_set(value));
    }
    for (int value = 0; value < 10; ++value) {
      CHECK(reader.get() == value);
    }
    fails(AIMDB_BAD_ARGUMENT, [&] { db.producer_with_capacity<int>("it", 0); }, "`it`");
    fails(AIMDB_BAD_ARGUMENT, [&] { db.consumer_with_capacity<int>("it", 0); }, "`it`");
    CHECK(db.consumer_with_capacity<int>("it", 4).try_get() == std::nullopt);
  });

  test("a mailbox has several takers only after shared", [] {
    aimdb::builder builder;
    builder.record<int>("one", aimdb::mailbox()).record<int>("many", aimdb::mailbox()).shared("many");
    const aimdb::database db = std::move(builder).attach();
    const auto first = db.consumer<int>("one");
    fails(AIMDB_TAKEN, [&] { db.consumer<int>("one"); }, "`one`");
    CHECK(db.consumer<int>("many") != db.consumer<int>("many"));
  });

  test("JSON is checked when it is written, and read unchanged", [] {
    const aimdb::database db = with<aimdb::json>(aimdb::queue(8));
    const auto reader = db.consumer<aimdb::json>("it");
    const auto writer = db.producer<aimdb::json>("it");
    const std::string text = R"({"celsius": 21.5, "where": "Küche"})";
    writer.set(text);
    CHECK(reader.get() == text);
    CHECK(writer.try_set("1") && writer.set_for("2", 1s) && reader.latest() == "2");
    CHECK(reader.try_get() == "1" && reader.get_for(1s) == "2" && reader.get_for(1ms) == std::nullopt);
    fails(AIMDB_NOT_JSON, [&] { writer.set("{"); });
    fails(AIMDB_NOT_JSON, [&] { writer.set(std::string("1\0 2", 4)); }, "NUL");
    fails(AIMDB_NOT_UTF8, [&] { writer.set("\"\xff\""); });
  });

  test("a value too large for the buffer is shared, and whole", [] {
    using image = std::array<unsigned char, 4096>;
    const aimdb::database db = with<image>(aimdb::ring(2));
    const auto reader = db.consumer<image>("it");
    image sent{};
    sent.back() = 42;
    db.producer<image>("it").set(sent);
    CHECK(reader.get() == sent);
  });
}

static void times() {
  test("durations of every unit are microseconds, rounded up", [] {
    using aimdb::timeout;
    CHECK(timeout(1ns).us() == 1 && timeout(1000ns).us() == 1 && timeout(1001ns).us() == 2);
    CHECK(timeout(3h).us() == 10'800'000'000u);
    CHECK(timeout(std::chrono::duration<double>(0.25)).us() == 250'000);
    CHECK(timeout(-5s).us() == 0 && timeout(0s).us() == 0);
    CHECK(timeout(std::chrono::hours::max()).us() == AIMDB_FOREVER);
    CHECK(timeout(std::chrono::hours::min()).us() == 0);
    CHECK(timeout(std::chrono::nanoseconds::max()).us() == 9'223'372'036'854'776u);
    CHECK(timeout(std::chrono::duration<double>(std::numeric_limits<double>::infinity())).us() == AIMDB_FOREVER);
    CHECK(timeout(std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN())).us() == 0);
    CHECK(aimdb::forever.us() == AIMDB_FOREVER);
  });
}

// The number of threads of this process with this name.
static int threads(const std::string &wanted) {
  int count = 0;
  for (const auto &task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    count += name == wanted;
  }
  return count;
}

static void reports() {
  test("a database has health, graph, metrics and a report", [] {
    const aimdb::database db = with<int>(aimdb::ring(4));
    CHECK(db.healthy() && contains(db.health_json(), "Running"));
    CHECK(contains(db.graph_text(), "it") && contains(db.graph_json(), "\"it\""));
    CHECK(contains(db.metrics_json(), "\"it\""));
    CHECK(db.report_json() == std::nullopt);
    const aimdb_report report = db.detach(1s);
    CHECK(report.clean && report.undelivered == 0);
    CHECK(contains(db.report_json().value(), "\"undelivered\""));
    CHECK(!db.healthy());
  });

  test("options name the runtime thread and give it workers", [] {
    aimdb::builder builder;
    builder.record<int>("it", aimdb::ring(4));
    aimdb::options options;
    options.workers = 2;
    options.drop_deadline = 1s;
    options.thread_name = "workshop";
    const aimdb::database db = std::move(builder).attach(options);
    // The runtime thread and its two workers. A thread sets its name after it has started.
    while (threads("workshop") != 3) {
      std::this_thread::sleep_for(1ms);
    }
  });

  test("the destructor aborts the taps at the drop deadline", [] {
    aimdb::builder builder;
    builder.record<int>("it", aimdb::queue(4)).tap<int>("it", [](int) { std::this_thread::sleep_for(1s); });
    aimdb::options options;
    options.drop_deadline = 10ms;
    const auto before = std::chrono::steady_clock::now();
    {
      const aimdb::database db = std::move(builder).attach(options);
      db.producer<int>("it").set_many(std::vector{1, 2, 3, 4});
    }
    // The tap needs four seconds for all four values, and the default deadline is two seconds.
    CHECK(std::chrono::steady_clock::now() - before < 1900ms);
  });
}

int main() {
  readers();
  observers();
  writers();
  times();
  reports();
}

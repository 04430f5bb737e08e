// Calls that wait: how a wait ends, and waits for several consumers.
#include "check.hpp"

#include <poll.h>
#include <thread>

using namespace std::chrono_literals;

static void loops() {
  test("a loop over a consumer ends when the database is detached, with every value", [] {
    const aimdb::database db = with<int>(aimdb::queue(4));
    const auto reader = db.consumer<int>("it");
    std::thread writer([&] {
      const auto it = db.producer<int>("it");
      for (int value = 1; value <= 100; ++value) {
        it.set(value);
      }
      db.request_shutdown();
    });
    int count = 0;
    for (const int value : reader) {
      CHECK(value == ++count);
    }
    CHECK(count == 100);
    writer.join();
  });

  test("algorithms take a consumer as an input range", [] {
    const aimdb::database db = with<int>(aimdb::queue(4));
    const auto reader = db.consumer<int>("it");
    db.producer<int>("it").set_many(std::vector{1, 2, 3});
    db.request_shutdown();
    CHECK((std::vector<int>(reader.begin(), reader.end()) == std::vector{1, 2, 3}));
  });

  test("cancel ends a loop with an exception", [] {
    const aimdb::database db = with<int>(aimdb::ring(4));
    const auto reader = db.consumer<int>("it");
    db.producer<int>("it").set(1);
    reader.cancel();
    int seen = 0;
    thrown<aimdb::cancelled>([&] {
      for (const int value : reader) {
        seen += value;
      }
    });
    CHECK(seen == 1);
  });
}

static void cancelling() {
  test("cancel ends the waits of other threads, and resume lets them wait again", [] {
    const aimdb::database db = with<int>(aimdb::queue(1));
    const auto reader = db.consumer<int>("it");
    const auto writer = db.producer<int>("it");
    std::thread waiting([&] { thrown<aimdb::cancelled>([&] { reader.get(); }); });
    reader.cancel();
    waiting.join();
    thrown<aimdb::cancelled>([&] { (void)reader.get_for(10s); });
    reader.resume();
    CHECK(reader.get_for(1ms) == std::nullopt);

    writer.set(1);
    std::thread blocked([&] { thrown<aimdb::cancelled>([&] { writer.set(2); }); });
    writer.cancel();
    blocked.join();
    writer.resume();
    CHECK(!writer.set_for(2, 1ms));
  });

  test("detach ends the waits of other threads", [] {
    const aimdb::database db = with<int>(aimdb::ring(4));
    const auto reader = db.consumer<int>("it");
    std::thread waiting([&] { thrown<aimdb::closed>([&] { reader.get(); }); });
    db.detach();
    waiting.join();
    thrown<aimdb::closed>([&] { (void)reader.try_get(); });
  });
}

static void several() {
  test("wait_any returns the index of a consumer that has a value", [] {
    aimdb::builder builder;
    builder.record<int>("number", aimdb::ring(4)).record<aimdb::json>("text", aimdb::ring(4));
    const aimdb::database db = std::move(builder).attach();
    const auto number = db.consumer<int>("number");
    const auto text = db.consumer<aimdb::json>("text");
    CHECK(aimdb::wait_any(1ms, number, text) == std::nullopt);
    std::thread writer([&] { db.producer<aimdb::json>("text").set("1"); });
    CHECK(aimdb::wait_any(aimdb::forever, number, text) == 1u);
    writer.join();
    CHECK(text.try_get() == "1");
    const std::vector<aimdb_consumer *> all{number.native_handle(), text.native_handle()};
    db.producer<int>("number").set(1);
    CHECK(aimdb::wait_any(0s, all.data(), all.size()) == 0u);
    CHECK(number.get() == 1);
    text.cancel();
    thrown<aimdb::cancelled>([&] { aimdb::wait_any(aimdb::forever, number, text); });
    db.detach();
    CHECK(aimdb::wait_any(aimdb::forever, number, text) == 0u);
  });

  test("a descriptor is readable while there is a value to take", [] {
    const aimdb::database db = with<int>(aimdb::ring(4));
    const auto reader = db.consumer<int>("it");
    pollfd entry{reader.fd(), POLLIN, 0};
    CHECK(poll(&entry, 1, 0) == 0);
    db.producer<int>("it").set(7);
    CHECK(poll(&entry, 1, 10'000) == 1);
    CHECK(reader.try_get() == 7 && reader.try_get() == std::nullopt);
    CHECK(poll(&entry, 1, 0) == 0);
  });
}

int main() {
  loops();
  cancelling();
  several();
}

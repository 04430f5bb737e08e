// Ownership of handles, and checks of record types.
#include "check.hpp"

#include <workshop.h>

AIMDB_EXPORTED(Reading, reading);

using producer = aimdb::producer<int>;
using consumer = aimdb::consumer<int>;
static_assert(!std::is_copy_constructible_v<aimdb::database> && !std::is_copy_constructible_v<aimdb::builder>);
static_assert(!std::is_copy_constructible_v<producer> && !std::is_copy_assignable_v<consumer>);
static_assert(std::is_nothrow_move_constructible_v<producer> && std::is_nothrow_move_assignable_v<consumer>);
static_assert(std::is_nothrow_move_constructible_v<aimdb::database>);
static_assert(std::is_nothrow_destructible_v<aimdb::database>);

// As large as a Reading.
struct other {
  std::uint32_t a, b;
};

static void moving() {
  test("a moved-from handle is empty, and its calls throw AIMDB_NULL", [] {
    aimdb::database db = with<int>(aimdb::ring(4));
    producer first = db.producer<int>("it");
    aimdb_producer *raw = first.native_handle();
    producer second = std::move(first);
    CHECK(second && !first);
    CHECK(second.native_handle() == raw);
    CHECK(second != first && first == producer());
    fails(AIMDB_NULL, [&] { first.set(1); }, "`producer` is NULL");
    second.set(1);
  });

  test("a moved database is the same one, and is not detached", [] {
    aimdb::database first = with<int>(aimdb::ring(4));
    aimdb::database second;
    second = std::move(first);
    CHECK(second.healthy());
    fails(AIMDB_NULL, [&] { first.healthy(); });
  });

  test("assigning to a handle frees the one it had", [] {
    const aimdb::database db = with<int>(aimdb::queue(1));
    consumer slow = db.consumer<int>("it");
    producer writer = db.producer<int>("it");
    writer.set(1);
    CHECK(!writer.try_set(2));
    slow = consumer();
    CHECK(writer.try_set(2));
  });

  test("the caller owns a released handle", [] {
    const aimdb::database db = with<int>(aimdb::ring(4));
    aimdb_consumer *raw = db.consumer<int>("it").release();
    consumer adopted(raw);
    db.producer<int>("it").set(7);
    CHECK(adopted.get() == 7);
    CHECK(aimdb_consumer_free(adopted.release()) == AIMDB_OK);
    CHECK(aimdb_consumer_free(raw) == AIMDB_BAD_HANDLE);
  });

  test("the destructor detaches, and handles may outlive it", [] {
    consumer reader;
    producer writer;
    {
      const aimdb::database db = with<int>(aimdb::ring(4));
      reader = db.consumer<int>("it");
      writer = db.producer<int>("it");
      writer.set(1);
    }
    CHECK(reader.get() == 1);
    CHECK(thrown<aimdb::closed>([&] { reader.get(); }).code() == AIMDB_CLOSED);
    thrown<aimdb::closed>([&] { writer.set(2); });
  });
}

static void types() {
  test("a wrong size names the record and both sizes", [] {
    const aimdb::database db = with<int>(aimdb::ring(4));
    fails(AIMDB_WRONG_SIZE, [&] { db.producer<double>("it"); }, "`it`", "4 bytes", "8 bytes");
    fails(AIMDB_WRONG_SIZE, [&] { db.consumer<char>("it"); }, "`it`", "4 bytes", "1 bytes");
  });

  test("an exported type is not another type of the same size", [] {
    static_assert(sizeof(other) == sizeof(Reading));
    const aimdb::database plain = with<other>(aimdb::ring(4));
    fails(AIMDB_WRONG_TYPE, [&] { plain.producer<Reading>("it"); }, "`it`", "8 bytes", "struct Reading");
    fails(AIMDB_WRONG_TYPE, [&] { plain.consumer<Reading>("it"); }, "`it`", "8 bytes", "struct Reading");
    const aimdb::database exported = with<Reading>(aimdb::ring(4));
    fails(AIMDB_WRONG_SIZE, [&] { exported.consumer<int>("it"); }, "`it`", "`struct Reading` of 8 bytes", "4 bytes");
  });

  test("an exported type is written and read by value", [] {
    const aimdb::database db = with<Reading>(aimdb::queue(4));
    const auto reader = db.consumer<Reading>("it");
    const auto writer = db.producer<Reading>("it");
    writer.set({1, 20.5f});
    CHECK(writer.try_set({2, 21.5f}) && writer.set_for({3, 22.5f}, std::chrono::seconds(1)));
    CHECK(reader.latest()->sensor == 3);
    CHECK(reader.get().celsius == 20.5f);
    std::vector<Reading> rest;
    CHECK(reader.get_many(rest, 9) == 2 && rest[1].celsius == 22.5f);
  });

  test("a handle of bytes refuses a JSON record, and a handle of JSON a record of bytes", [] {
    const aimdb::database texts = with<aimdb::json>(aimdb::ring(4));
    fails(AIMDB_WRONG_TYPE, [&] { texts.producer<int>("it"); }, "`it`", "JSON");
    fails(AIMDB_WRONG_TYPE, [&] { texts.consumer<int>("it"); }, "`it`", "JSON");
    const aimdb::database numbers = with<int>(aimdb::ring(4));
    fails(AIMDB_WRONG_TYPE, [&] { numbers.producer<aimdb::json>("it"); }, "`it`", "4 bytes", "JSON");
    fails(AIMDB_WRONG_TYPE, [&] { numbers.consumer<aimdb::json>("it"); }, "`it`", "4 bytes", "JSON");
  });

  test("the error of a missing record names it and the records that exist", [] {
    const aimdb::database db = with<int>(aimdb::ring(4));
    fails(AIMDB_NO_SUCH_RECORD, [&] { db.producer<int>("ti"); }, "`ti`", "`it`");
  });

  test("attach throws all findings of an invalid graph, and does not start it", [] {
    aimdb::builder builder;
    builder.record<int>("one", aimdb::ring(0)).record<int>("two", aimdb::queue(0));
    fails(AIMDB_BAD_GRAPH, [&] { std::move(builder).attach(); }, "`one`", "`two`");
    CHECK(!builder);
  });

  test("a record declared twice with other types is refused", [] {
    aimdb::builder builder;
    builder.record<int>("it", aimdb::ring(4));
    fails(AIMDB_WRONG_TYPE, [&] { builder.record<double>("it", aimdb::ring(4)); }, "`it`", "4 bytes", "8 bytes");
  });
}

int main() {
  moving();
  types();
}

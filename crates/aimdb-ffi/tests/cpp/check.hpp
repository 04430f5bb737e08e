// As much of a test framework as these tests need: names, checks that are there in every build, and what a call threw.
#ifndef CHECK_HPP
#define CHECK_HPP

#include <aimdb.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>

// Ends the program: the first failure is the one to look at.
#define CHECK(condition)                                                                                               \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                     \
      std::exit(1);                                                                                                    \
    }                                                                                                                  \
  } while (false)

template <class Body> void test(const char *name, Body body) {
  std::printf("%s\n", name);
  std::fflush(stdout);
  try {
    body();
  } catch (const std::exception &exception) {
    std::fprintf(stderr, "%s: threw: %s\n", name, exception.what());
    std::exit(1);
  }
}

// What a call that must throw `Error` threw.
template <class Error = aimdb::error, class Call> Error thrown(Call call) {
  try {
    call();
  } catch (const Error &error) {
    return error;
  }
  std::fprintf(stderr, "a call did not throw\n");
  std::exit(1);
}

inline bool contains(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

// Checks that a call fails with this code, and a text in which all parts are.
template <class Call, class... Parts> void fails(aimdb_status code, Call call, const Parts &...parts) {
  const aimdb::error error = thrown(call);
  if (error.code() == code && (contains(error.what(), parts) && ...)) {
    return;
  }
  std::fprintf(stderr, "failed in another way: %d, %s\n", error.code(), error.what());
  std::exit(1);
}

// A database with one record of T, whose key is `it`.
template <class T> aimdb::database with(aimdb::buffer cfg) {
  aimdb::builder builder;
  builder.record<T>("it", cfg);
  return std::move(builder).attach();
}

#endif

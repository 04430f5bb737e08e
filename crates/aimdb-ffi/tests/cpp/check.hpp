// A small test framework: named tests, checks that are active in every build, and the exceptions of calls.
#ifndef CHECK_HPP
#define CHECK_HPP

#include <aimdb.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>

// Ends the program at the first failed check.
#define CHECK(condition)                                                                                               \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition);                                     \
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

// Returns the exception of a call that must throw `Error`.
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

// Checks that a call fails with this code, and with a message that contains all parts.
template <class Call, class... Parts> void fails(aimdb_status code, Call call, const Parts &...parts) {
  const aimdb::error error = thrown(call);
  if (error.code() == code && (contains(error.what(), parts) && ...)) {
    return;
  }
  std::fprintf(stderr, "another failure than expected: %d, %s\n", error.code(), error.what());
  std::exit(1);
}

// Returns a database with one record of T, whose key is `it`.
template <class T> aimdb::database with(aimdb::buffer cfg) {
  aimdb::builder builder;
  builder.record<T>("it", cfg);
  return std::move(builder).attach();
}

#endif

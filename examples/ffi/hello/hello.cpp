// Run with `examples/ffi/run hello`. The README shows this file; what follows stands there word for word.
#include <aimdb.hpp>
#include <cstdio>

int main() {
  aimdb::builder builder;
  builder.record<float>("temp.celsius", aimdb::ring(10));
  builder.tap<float>("temp.celsius", [](float celsius) { std::printf("%.1f °C\n", celsius); });
  const aimdb::database db = std::move(builder).attach(); // throws with everything that is wrong with the graph
  db.producer<float>("temp.celsius").set(21.5f);
} // detaches: what was accepted flows through first

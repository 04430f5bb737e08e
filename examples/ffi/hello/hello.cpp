// Run with `examples/ffi/run hello`. The rest of this file is in crates/aimdb-ffi/README.md, word for word.
#include <aimdb.hpp>
#include <cstdio>

int main() {
  aimdb::builder builder;
  builder.record<float>("temp.celsius", aimdb::ring(10));
  builder.tap<float>("temp.celsius", [](float celsius) { std::printf("%.1f °C\n", celsius); });
  const aimdb::database db = std::move(builder).attach(); // throws with all findings of the graph
  db.producer<float>("temp.celsius").set(21.5f);
} // detaches: drains the accepted values first

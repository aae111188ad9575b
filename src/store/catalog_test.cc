#include "store/catalog.h"

#include <gtest/gtest.h>

#include "store/checkpoint_dir.h"
#include "store/show.h"
#include "store/store_testing.h"

namespace stint::store {
namespace {

class CatalogOfTwo : public testing::Test {
 protected:
  CatalogOfTwo() : catalog_(home_.path()) {
    Content content{.start = 0x10000, .bytes = random_bytes(kPageSize, 2)};
    for (int i = 0; i < 2; ++i) write_checkpoint(catalog_.checkpoints_of("sim"), content, {});
  }
  TemporaryDirectory home_;
  Catalog catalog_;
};

TEST_F(CatalogOfTwo, ListsThemOldestFirst) {
  Result<std::vector<CheckpointEntry>> entries = catalog_.list("sim");
  ASSERT_TRUE(entries.has_value()) << entries.error().text();
  ASSERT_EQ(entries->size(), 2u);
  EXPECT_EQ((*entries)[0].number, 1u);
  EXPECT_EQ((*entries)[1].number, 2u);
  ASSERT_TRUE((*entries)[1].manifest.has_value());
  EXPECT_EQ((*entries)[1].manifest->number, 2u);
  EXPECT_EQ((*entries)[1].manifest->memory_bytes, kPageSize);
  EXPECT_EQ((*entries)[1].stored_bytes, (*entries)[1].manifest->stored_bytes);
  EXPECT_EQ(*catalog_.jobs(), std::vector<std::string>{"sim"});
}

TEST_F(CatalogOfTwo, FindsTheNewestTheNumberedAndThePath) {
  EXPECT_EQ(catalog_.resolve("sim")->number, 2u);
  EXPECT_EQ(catalog_.resolve("sim@1")->number, 1u);
  std::string path = catalog_.checkpoints_of("sim") + "/1";
  EXPECT_EQ(catalog_.resolve(path + "/")->path, path);
}

TEST_F(CatalogOfTwo, SaysWhatThereIsInstead) {
  EXPECT_NE(catalog_.resolve("sim@7").error().text().find("it has 1, 2"), std::string::npos);
  EXPECT_NE(catalog_.resolve("other").error().text().find("no job other"), std::string::npos);
  for (const char* named : {"sim@", "sim@x", "sim@01", "@1", ".hidden"})
    EXPECT_EQ(catalog_.resolve(named).error().kind(), ErrorKind::kUsage) << named;
}

TEST_F(CatalogOfTwo, NeverTakesAPartialOneForACheckpoint) {
  std::string partial = catalog_.checkpoints_of("sim") + "/3" + kPartialSuffix;
  ASSERT_TRUE(sys::mkdir(partial, 0700).has_value());
  EXPECT_EQ(catalog_.resolve("sim")->number, 2u);
  EXPECT_EQ(catalog_.resolve(partial).error().kind(), ErrorKind::kDamaged);
}

TEST(Catalog, OfADirectoryThatIsNotThereHoldsNone) {
  Catalog catalog("/nonexistent/jobs");
  EXPECT_TRUE(catalog.jobs()->empty());
  EXPECT_TRUE(catalog.list("sim")->empty());
}

TEST(Manifest, KeepsItsFieldsAndForgivesMissingOnes) {
  Manifest manifest;
  manifest.name = "sim";
  manifest.number = 3;
  manifest.pause_ns = 17;
  Result<Manifest> back = parse_manifest(to_json(manifest).dump());
  ASSERT_TRUE(back.has_value()) << back.error().text();
  EXPECT_EQ(to_json(*back), to_json(manifest));
  EXPECT_EQ(parse_manifest(R"({"number": "three", "pause_ns": 5})")->pause_ns, 5);
  EXPECT_FALSE(parse_manifest("[").has_value());
}

}  // namespace
}  // namespace stint::store

#include "assay/storage/model_file.h"

#include <gtest/gtest.h>

#include "assay/base/error.h"
#include "assay/storage/sidecars.h"
#include "tests/support.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

TEST(ModelFile, LinksInsideStayLinksOutAreRefused) {
  const test::TemporaryFolder folder;
  fs::create_directories(folder.file("model/sub"));
  test::write_bytes(folder.file("secret.txt"), "a private key");
  test::write_bytes(folder.file("model/real.json"), "{}");
  test::write_bytes(folder.file("model/sub/other.json"), "{}");
  const std::string model = folder.file("model");
  fs::create_symlink("../secret.txt", model + "/special_tokens_map.json");
  fs::create_symlink("real.json", model + "/inside.json");
  fs::create_symlink("sub/other.json", model + "/deeper.json");
  fs::create_symlink("special_tokens_map.json", model + "/twice.json");
  fs::create_symlink("nowhere", model + "/dangling.json");
  fs::create_directory_symlink("model", folder.file("by-link"));
  EXPECT_EQ(model_file(model, "real.json"), model + "/real.json");
  EXPECT_EQ(model_file(model, "inside.json"), model + "/inside.json");
  EXPECT_EQ(model_file(model, "deeper.json"), model + "/deeper.json");
  EXPECT_EQ(model_file(folder.file("by-link"), "inside.json"), folder.file("by-link/inside.json"));
  EXPECT_ERROR(model_file(model, "special_tokens_map.json"),
               "special_tokens_map.json: a link out of the directory", "secret.txt");
  EXPECT_ERROR(model_file(model, "twice.json"), "a link out");
  EXPECT_ERROR(model_file(model, "dangling.json"), "dangling.json: cannot open");
  EXPECT_ERROR(read_sidecars(model), "special_tokens_map.json: a link out of the directory");
}

TEST(ModelFile, AFolderBesideWithALongerNameIsOutside) {
  const test::TemporaryFolder folder;
  fs::create_directory(folder.file("model"));
  fs::create_directory(folder.file("model-secret"));
  test::write_bytes(folder.file("model-secret/config.json"), "{}");
  fs::create_symlink("../model-secret/config.json", folder.file("model/config.json"));
  EXPECT_ERROR(model_file(folder.file("model"), "config.json"), "a link out");
}

TEST(ModelFile, SnapshotsOfTheHubCacheLinkToTheirOwnBlobs) {
  const test::TemporaryFolder folder;
  const std::string repository = folder.file("models--a--b"), snapshot = repository + "/snapshots/0123";
  fs::create_directories(snapshot + "/part");
  fs::create_directories(repository + "/blobs");
  fs::create_directories(folder.file("models--c--d/blobs"));
  test::write_bytes(repository + "/blobs/abc", "{}");
  test::write_bytes(folder.file("models--c--d/blobs/abc"), "{}");
  test::write_bytes(repository + "/token", "secret");
  fs::create_symlink("../../blobs/abc", snapshot + "/config.json");
  fs::create_symlink("../../../blobs/abc", snapshot + "/part/config.json");
  fs::create_symlink("../../../models--c--d/blobs/abc", snapshot + "/tokenizer.json");
  fs::create_symlink("../../token", snapshot + "/vocab.json");
  EXPECT_EQ(read_sidecars(snapshot + "/part").at("config.json"), "{}");
  EXPECT_EQ(model_file(snapshot, "config.json"), snapshot + "/config.json");
  EXPECT_ERROR(model_file(snapshot, "tokenizer.json"), "a link out");  // of another repository
  EXPECT_ERROR(model_file(snapshot, "vocab.json"), "a link out");
}

}  // namespace
}  // namespace assay

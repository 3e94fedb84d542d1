// One file of what a killed calibration left behind (the first byte says which), as it is and, where it bears
// a checksum, with one that fits.
#include <array>

#include "assay/base/checksum.h"
#include "assay/base/error.h"
#include "assay/calibration/resume_store.h"
#include "fuzz/temporary_directory.h"

namespace {

using namespace assay;

const OrderedJson kRequest = {{"of", "the fuzzer"}};
constexpr std::array kFiles = {"progress.json", "tensor-3.json", "tensor-3.planes", "hidden-1.f32",
                               "request.json"};

/// A folder as it should be, and the content of its files.
struct Store {
  fuzz::TemporaryDirectory directory;
  std::array<std::string, kFiles.size()> good;
  std::string folder() const { return directory.path() + "/store"; }

  Store() {
    ResumeStore store(folder(), kRequest);
    store.put_tensor(3, {{std::byte{1}, std::byte{2}, std::byte{3}}, {std::byte{4}}}, {{"loss", 0.5}});
    const std::array<float, 4> hidden = {1, 2, 3, 4};
    store.finish_block(1, hidden);
    for (std::size_t i = 0; i < kFiles.size(); ++i) {
      std::FILE* file = std::fopen((folder() + "/" + kFiles[i]).c_str(), "rb");
      for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) good[i] += static_cast<char>(c);
      std::fclose(file);
    }
  }
};

void read_store(const Store& store) {
  try {
    const ResumeStore opened(store.folder(), kRequest);
    opened.hidden(4);
    opened.tensor(3, {3, 1});
  } catch (const Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Store store;
  if (size == 0) return 0;
  const std::size_t which = data[0] % kFiles.size();
  const std::string name = std::string("store/") + kFiles[which];
  const std::string_view content(reinterpret_cast<const char*>(data + 1), size - 1);
  store.directory.write(name, content);
  read_store(store);
  try {
    Json json = parse_json(content, "fuzz");
    if (json.is_object() && which < 2) {
      json.erase(kSealKey);
      json["request"] = Json::parse(store.good[which])["request"];
      store.directory.write(name, sealed(OrderedJson::parse(json.dump())).dump());
      read_store(store);
    }
  } catch (const Error&) {
  }
  store.directory.write(name, store.good[which]);
  return 0;
}

#pragma once
// What lies at the path of a model, looked at no further than somebody asks: telling the container and
// opening it share one reading.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/storage/checkpoint.h"
#include "assay/storage/safetensors.h"

namespace assay {

class ModelPath {
 public:
  /// Throws Error when there is nothing, or nothing that can be looked at.
  explicit ModelPath(std::string path);

  const std::string& path() const { return path_; }
  bool is_directory() const { return is_directory_; }

  // ---- Of a directory. All throw Error for what cannot be read.
  bool has_safetensors() const;
  const Json* manifest();                     // assay.json; null when there is none
  const std::vector<std::string>& entries();  // names of everything in it, sorted
  const Sidecars& sidecars();
  const Json& config();
  const SafetensorsDirectory& weights();  // of safetensors

 private:
  std::string path_;
  bool is_directory_ = false;
  std::optional<Json> manifest_, config_;
  std::optional<std::vector<std::string>> entries_;
  std::optional<Sidecars> sidecars_;
  std::optional<SafetensorsDirectory> weights_;
};

}  // namespace assay

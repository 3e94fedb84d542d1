#include "assay/measure/ledger.h"

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/base/json_text.h"

namespace assay {

void append_measurement(const std::string& assay_directory, const OrderedJson& measurement) {
  const std::string path = assay_directory + "/assay.json";
  // The checked reader first: limits, duplicate keys. Then again with the order of keys kept.
  const JsonLimits limits;
  const std::string text = read_file(path, limits.bytes);
  if (!parse_json(text, path, limits).is_object()) fail("{}: an object expected", path);
  OrderedJson manifest = OrderedJson::parse(text);
  OrderedJson& measurements = manifest["measurements"];
  if (measurements.is_null()) measurements = OrderedJson::array();
  if (!measurements.is_array()) fail("{}: \"measurements\" is no list", path);
  measurements.push_back(measurement);
  write_file_atomically(path, json_text(manifest, 2) + "\n");
}

}  // namespace assay

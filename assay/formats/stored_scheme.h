#pragma once
// How another toolkit stores the matrices of a format in a Hugging Face folder: the names of a module's
// arrays, what "quantization_config" in config.json says of them, and how their bytes map to the planes of
// the format. A format that others write points to its scheme (Format::scheme); the reader of such folders
// (storage/huggingface_quantised.h) is written on this and knows no scheme by name.
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "assay/base/json.h"
#include "assay/formats/plane_layout.h"

namespace assay {

struct SchemeArray {
  DType dtype = DType::U8;
  std::vector<std::uint64_t> shape;
  Bytes bytes;  // as long as dtype and shape say
};
/// The arrays of one module, by the end of their names: "qweight", "scales".
using SchemeArrays = std::map<std::string, SchemeArray, std::less<>>;

/// One matrix as found.
struct SchemeMatrix {
  FormatPtr format;
  std::uint64_t rows = 0, columns = 0;   // logical
  std::vector<std::string_view> arrays;  // where each plane of the format lies
  StoredLayout stored;
};

struct StoredScheme {
  std::string_view method;  // "quant_method" in quantization_config
  std::string_view reads;   // what of it is read, for messages: "gptq (2, 3, 4 and 8 bits)"
  std::string_view marker;  // a module with an array of this name is packed, others plain
  std::span<const std::string_view> suffixes;  // every array that a packed module may have
  /// Throws Error where the configuration as a whole asks for what is not read.
  void (*check)(const Json& config);
  /// Does the configuration leave this module plain (true) or pack it (false)? Nothing when it does not say.
  std::optional<bool> (*left_plain)(const Json& config, std::string_view module);
  /// The matrix of these arrays (the marker is among them). Shapes decide; what the configuration says is
  /// compared. Throws Error.
  SchemeMatrix (*matrix)(const Json& config, const SchemeArrays& arrays);
};

/// Every scheme of the table of formats, in its order.
std::vector<const StoredScheme*> all_schemes();

// ---- What schemes have in common.

/// Is this a linear layer of a language model's block by its name (".layers." ... "_proj")? Configurations
/// pack all linear layers, and names are all that a file says of what is one.
bool is_projection(std::string_view module);
/// Does an entry of a list of modules mean this one: its name, the end of it, or a part that it lies in?
bool names_module(std::string_view entry, std::string_view module);
/// Does a regular expression match the module from its start (and to its end with "$")? Only literals, "."
/// and
/// ".*" are understood; nothing for any other.
std::optional<bool> expression_matches(std::string_view expression, std::string_view module);
/// Does any entry of config[key] (an array of strings, or absent) mean the module? Entries "re:..." are
/// expressions; nothing when only one that is not understood could.
std::optional<bool> list_names_module(const Json& config, const char* key, std::string_view module);

/// arrays[suffix], of one of `dtypes` and two axes. Throws Error.
const SchemeArray& demand_matrix(const SchemeArrays& arrays, std::string_view suffix,
                                 std::span<const DType> dtypes);
/// Throws Error unless the array is rows x columns.
void demand_shape(const SchemeArray& array, std::string_view suffix, std::uint64_t rows,
                  std::uint64_t columns);

/// Columns in the order of their groups from "g_idx" (the group of every column, I32 [K]): null where the
/// groups already lie together in order. Throws Error for a group beyond `groups`, or one of another size
/// than K / groups.
std::shared_ptr<const std::vector<std::uint32_t>> columns_by_group(const SchemeArray& group_of_column,
                                                                   std::string_view suffix,
                                                                   std::uint64_t columns,
                                                                   std::uint64_t groups);

}  // namespace assay

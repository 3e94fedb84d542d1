#pragma once
// A weight format, defined once. Everything that touches weights (rounding, scale search, GPTQ, loaders,
// converters, audit, conformance tests) is written against this class and never against a particular format.
//
// Words: a *unit* is the run of weights that shares one set of parameters; a *code* is the integer stored for
// one weight; a *plane* is an array of equal byte *records*, one per unit or per some consecutive units. A
// tensor is a matrix of N rows (output features) and K columns (input features); leading axes of stacked
// experts count as rows.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "assay/base/bytes.h"
#include "assay/base/dtype.h"

namespace assay {

/// What is stored for a unit of a superblock (formats/gguf_superblocks.h): small integers in units of two f16
/// numbers that all units of a record share. Zero in all other formats.
struct SubScale {
  std::uint16_t scale_unit = 0, minimum_unit = 0;  // d and dmin, as f16 bits
  std::int8_t scale = 0;
  std::uint8_t minimum = 0;

  bool operator==(const SubScale&) const = default;
};

/// Parameters of one unit, exactly as stored, widened to f32. Formats without a bias leave it 0.
struct Params {
  float scale = 1.0f;
  float bias = 0.0f;
  SubScale sub = {};  // what scale and bias are made of, where they are not stored themselves
};

/// What is stored for one weight. Float formats store their bit pattern.
using Code = std::int32_t;

/// Which weights share parameters: a whole row; a run of `Layout::run` within a row (K % run == 0); a run
/// of the flattened row-major tensor, which may straddle rows and whose last unit may be short (a tail); or a
/// block of rows and columns (`Layout::block`; those at the right and lower edges may be smaller). The units
/// of a block are the parts of its rows, all with the same parameters, which are stored once.
enum class Share { row, run_in_row, run_flat, block };

struct Plane {
  std::string suffix;  // "weight", "scales", "biases": the tensor's module path plus "." plus this
  DType dtype;         // element type under which safetensors stores the plane
  std::size_t record_bytes;
  bool per_block = false;  // Share::block: one record a block, in row-major order of blocks
};

/// Rows and columns of Share::block.
struct BlockShape {
  std::size_t rows = 1, columns = 1;
};

struct Layout {
  Share share = Share::run_flat;
  std::size_t run = 1;     // weights per unit (K for Share::row; divides K and the columns of a block)
  bool has_params = true;  // false for plain floats: Params are ignored and may be empty spans
  int width = 1;           // weights rounded together: 1 for scalar grids
  std::vector<Plane> planes;
  BlockShape block = {};             // of Share::block
  std::size_t units_per_record = 1;  // consecutive units of a row whose bytes, of every plane, are one record

  /// Weights of a record: bytes can be cut nowhere else.
  std::size_t record_run() const { return run * units_per_record; }
  /// Bytes that a plane with a record for every unit (or units_per_record) has for so many, which are whole
  /// records.
  std::uint64_t bytes(const Plane& plane, std::uint64_t units) const {
    return units / units_per_record * plane.record_bytes;
  }
};

/// decode(q) = (q - zero) * scale + bias, q in 0..codes-1 shifted by first_code. What scale search needs to
/// know. `scale` and `bias` are Params as stored, so a symmetric format that stores its bias has zero == 0 as
/// well.
struct AffineView {
  bool free_bias = false;  // false: bias follows from the scale (symmetric formats) or is absent
  bool searchable = true;  // may a search move the parameters (not for a published clip rule such as SDClip)
  Code first_code = 0;     // smallest legal code
  Code codes = 0;          // number of legal codes: first_code .. first_code + codes - 1
  Code zero = 0;           // the code that decodes to `bias`
  float bias_per_scale =
      0.0f;  // free_bias == false: the bias is this multiple of the scale (-8 for khq4-sym)
};

/// weight = (code - zero) * scale + bias for every legal code of a unit, whatever else the format can do:
/// what kernels multiply with. `scale` is the unit's Params::scale; Params::bias is the bias or the zero.
struct CodeLine {
  enum class Offset : std::uint8_t { fixed_zero, bias, zero };  // zero: Params::bias is the unit's zero
  Code first = 0, codes = 0;                                    // legal: first .. first + codes - 1
  Offset offset = Offset::fixed_zero;
  Code zero = 0;  // of every unit, where it is fixed; 0 beside a bias
  /// > 0: scale and bias are made of Params::sub, whose two numbers so many consecutive weights share.
  std::size_t superblock = 0;
  /// Not empty: (level - zero) * step takes the place of (code - zero). One level a code, or, where codes are
  /// levels themselves, the legal ones, ascending. At most 16, each of 8 bits.
  std::span<const Code> levels = {};
  bool codes_are_levels = false;
  float step = 1.0f;
};

/// Floats of 16 bits that a code may be.
enum class HalfFloat : std::uint8_t { f16, bf16, gf16 };

struct StoredScheme;  // formats/stored_scheme.h

class Format {
 public:
  virtual ~Format() = default;

  /// Unique, lower case, as typed in recipes: "khq4", "mlx4-g64-bf16", "q8_0".
  virtual std::string name() const = 0;
  /// One line for `assay formats`.
  virtual std::string summary() const = 0;
  virtual Layout layout(std::uint64_t columns) const = 0;
  /// Why a rows x columns matrix cannot be stored so; nothing when it can.
  virtual std::optional<std::string> misfit(std::uint64_t rows, std::uint64_t columns) const;
  /// False for formats that can only be read: reference() and round() must not be called.
  virtual bool can_encode() const { return true; }

  // ---- Calls on runs of units, in reference(), pack() and unpack() of whole records.
  // ---- codes.size() == units * layout.run, pad codes of a short last unit included;
  // ---- params.size() == units (or 0 without parameters); weights.size() is the real elements: it may end
  // inside
  // ---- the last unit in flat formats only. The run of Share::row is codes.size() / params.size().

  /// Are the parameters (as stored) and codes of one unit legal? On false, `why` says what is wrong in a few
  /// words. Formats without parameters accept any number of codes at once.
  virtual bool valid(const Params& params, std::span<const Code> codes, std::string* why) const = 0;
  /// Weights of the stored values: out.size() real elements.
  virtual void decode(std::span<const Params> params, std::span<const Code> codes,
                      std::span<float> out) const = 0;
  /// The format's own published rule, bit for bit: weights to stored parameters and codes (pad codes
  /// included). Throws Error for values the format cannot hold (non-finite weights, a scale beyond f16),
  /// naming the element.
  virtual void reference(std::span<const float> weights, std::span<Params> params,
                         std::span<Code> codes) const;
  /// Nearest legal codes under stored parameters and the weights they stand for; ties to the lower code. One
  /// (parameters, value) pair per weight: all four spans have the same length, params too (empty without
  /// parameters).
  virtual void round(std::span<const Params> params, std::span<const float> values, std::span<Code> codes,
                     std::span<float> out) const;
  /// Codes and parameters to plane bytes, layout.bytes(plane, units) each, in layout order; and back.
  virtual void pack(std::span<const Params> params, std::span<const Code> codes,
                    std::span<const MutableBytes> planes) const;
  virtual void unpack(std::span<const Bytes> planes, std::span<Params> params,
                      std::span<Code> codes) const = 0;

  // ---- Capabilities: callers ask for them, never for a name.
  virtual std::optional<AffineView> affine() const { return std::nullopt; }
  /// Also of formats that can only be read.
  virtual std::optional<CodeLine> code_line() const { return std::nullopt; }
  /// What a code is, in formats that store a float of 16 bits for every weight.
  virtual std::optional<HalfFloat> half_float() const { return std::nullopt; }
  /// How others store it in Hugging Face folders; null for a format that only its own containers hold.
  virtual const StoredScheme* scheme() const { return nullptr; }
  /// Nearest legal stored parameters to (scale, bias), or nothing when there are none (zero, non-finite,
  /// ...).
  virtual std::optional<Params> store(float scale, float bias) const;
  /// The same for a unit that keeps its place in the record of `unit`, hence what units share there.
  virtual std::optional<Params> store_beside(const Params& unit, float scale, float bias) const;
  /// Smallest and largest weight that codes under these parameters stand for.
  /// All of f32 for a format that knows no bound.
  virtual std::pair<float, float> range(const Params& params) const;
  /// The smallest denomination of rows that fills whole units and blocks: 4 for flat runs of 32 and K = 1000,
  /// the rows of a block; else 1.
  std::uint64_t row_granule(std::uint64_t columns) const;
};

using FormatPtr = std::shared_ptr<const Format>;

/// Units of a rows x columns tensor (ceil for flat formats). The product must fit 64 bits: callers have
/// checked it.
std::uint64_t unit_count(const Layout& layout, std::uint64_t rows, std::uint64_t columns);
/// Records of a plane: units, or blocks. As above.
std::uint64_t record_count(const Layout& layout, const Plane& plane, std::uint64_t rows,
                           std::uint64_t columns);
/// Bytes of all planes, or nothing on overflow.
std::optional<std::uint64_t> packed_bytes(const Format& format, std::uint64_t rows, std::uint64_t columns);
/// Bits per weight, scales and biases and tail padding included.
double bits_per_weight(const Format& format, std::uint64_t rows, std::uint64_t columns);

}  // namespace assay

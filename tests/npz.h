#pragma once
// Reads the arrays of a NumPy .npz archive (a zip of .npy files, C order, little-endian) for comparison in
// tests.
#include <zip.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace assay::test {

struct NpyArray {
  std::string type;  // "f4", "i4", "u2", "i8"
  std::vector<std::size_t> shape;
  std::string bytes;

  std::size_t size() const {
    std::size_t product = 1;
    for (const std::size_t dim : shape) product *= dim;
    return product;
  }
  /// The elements, converted to T.
  template <class T>
  std::vector<T> as() const {
    if (type == "f4") return convert<float, T>();
    if (type == "f8") return convert<double, T>();
    if (type == "i4") return convert<std::int32_t, T>();
    if (type == "i8") return convert<std::int64_t, T>();
    if (type == "u2") return convert<std::uint16_t, T>();
    if (type == "i2") return convert<std::int16_t, T>();
    throw std::runtime_error("npy: type " + type + " is not read");
  }

 private:
  template <class Stored, class T>
  std::vector<T> convert() const {
    std::vector<T> values(size());
    if (bytes.size() != values.size() * sizeof(Stored)) throw std::runtime_error("npy: wrong length");
    for (std::size_t i = 0; i < values.size(); ++i) {
      Stored value;
      std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
      values[i] = static_cast<T>(value);
    }
    return values;
  }
};

/// Parses one .npy file: magic, version, header length, a Python dict as text, data.
inline NpyArray parse_npy(const std::string& file) {
  const auto complain = [] { throw std::runtime_error("npy: malformed"); };
  if (file.size() < 12 || file.compare(0, 6, "\x93NUMPY") != 0) complain();
  const bool long_header = file[6] >= 2;
  std::size_t length = 0;
  for (std::size_t i = 0; i < (long_header ? 4u : 2u); ++i)
    length |= std::size_t{static_cast<unsigned char>(file[8 + i])} << (8 * i);
  const std::size_t start = long_header ? 12 : 10;
  if (start + length > file.size()) complain();
  const std::string header = file.substr(start, length);
  if (header.find("'fortran_order': False") == std::string::npos) complain();

  NpyArray array;
  const std::size_t type = header.find("'descr': '<");
  if (type == std::string::npos) complain();
  array.type = header.substr(type + 11, 2);
  const std::size_t open = header.find('(', header.find("'shape'")), close = header.find(')', open);
  if (open == std::string::npos || close == std::string::npos) complain();
  for (std::size_t at = open + 1; at < close;) {
    const std::size_t comma = std::min(header.find(',', at), close);
    const std::string number = header.substr(at, comma - at);
    if (number.find_first_of("0123456789") != std::string::npos) array.shape.push_back(std::stoul(number));
    at = comma + 1;
  }
  array.bytes = file.substr(start + length);
  return array;
}

/// All arrays of an archive, by name (without ".npy").
inline std::map<std::string, NpyArray> read_npz(const std::string& path) {
  int code = 0;
  const std::unique_ptr<zip_t, decltype(&zip_discard)> archive(zip_open(path.c_str(), ZIP_RDONLY, &code),
                                                               zip_discard);
  if (archive == nullptr) throw std::runtime_error("npz: cannot open " + path);
  std::map<std::string, NpyArray> arrays;
  for (zip_int64_t i = 0; i < zip_get_num_entries(archive.get(), 0); ++i) {
    zip_stat_t entry;
    zip_stat_index(archive.get(), static_cast<zip_uint64_t>(i), 0, &entry);
    const std::unique_ptr<zip_file_t, decltype(&zip_fclose)> file(
        zip_fopen_index(archive.get(), static_cast<zip_uint64_t>(i), 0), zip_fclose);
    std::string content(entry.size, '\0');
    if (file == nullptr ||
        zip_fread(file.get(), content.data(), content.size()) != static_cast<zip_int64_t>(entry.size))
      throw std::runtime_error("npz: cannot read " + path);
    std::string name = entry.name;
    if (name.ends_with(".npy")) name.resize(name.size() - 4);
    arrays[name] = parse_npy(content);
  }
  return arrays;
}

}  // namespace assay::test

#include "assay/storage/containers.h"

#include <array>
#include <vector>

#include "assay/base/error.h"
#include "assay/storage/assay_directory.h"
#include "assay/storage/gguf.h"
#include "assay/storage/huggingface.h"
#include "assay/storage/lattice.h"
#include "assay/storage/mlx.h"

namespace assay {
namespace {

constexpr std::array kContainers = {&kAssayContainer, &kMlxContainer, &kLatticeContainer,
                                    &kHuggingFaceContainer, &kGgufContainer};

}  // namespace

constinit const Container Container::assay{kAssayContainer};
constinit const Container Container::mlx{kMlxContainer};
constinit const Container Container::lattice{kLatticeContainer};
constinit const Container Container::huggingface{kHuggingFaceContainer};
constinit const Container Container::gguf{kGgufContainer};

std::span<const ContainerRow* const> all_containers() {
  return kContainers;
}

std::string container_names(bool (*wanted)(const ContainerRow&)) {
  std::vector<std::string_view> names;
  for (const ContainerRow* row : kContainers)
    if (wanted(*row)) names.push_back(row->name);
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i)
    text += fmt::format("{}{}", i == 0 ? "" : i + 1 == names.size() ? " or " : ", ", names[i]);
  return text;
}

std::optional<Container> find_offered_container(std::string_view name) {
  for (const ContainerRow* row : kContainers)
    if (row->offered && row->name == name) return Container(*row);
  return std::nullopt;
}

}  // namespace assay

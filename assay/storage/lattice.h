#pragma once
// Lattice directories: one file per tensor (KHQ4, KHW3, KHQ3, KHF1) beside quantize_index.json and
// config.json. Layout and guards: docs/formats.md, "Lattice directories" and "Reader guards"; origin:
// ohdearquant/lattice. Written files are byte for byte what lattice's own converters write; its W3 loader's
// refusals apply to reading and to writing.
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "assay/storage/containers.h"

namespace assay {

extern const ContainerRow kLatticeContainer;

/// Opens a lattice directory. Tensor names come from quantize_index.json or, without one, from
/// options.architecture; config.json and the tokenizer from the directory or options.config_directory.
/// Throws Error for anything missing, stray, malformed or inconsistent: never a fallback.
CheckpointPtr open_lattice(const std::string& directory, const OpenOptions& options = {});

/// Creates the writer in an existing empty directory; every rule is checked before anything is written.
std::unique_ptr<CheckpointWriter> make_lattice_writer(const std::filesystem::path& directory,
                                                      WriterInput input);

/// Why a lattice directory cannot hold this tensor so; nothing when it can.
std::optional<std::string> lattice_misfit(const PlannedTensor& tensor);

}  // namespace assay

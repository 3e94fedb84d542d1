#pragma once
// Where the files of a model may lie: in its folder. Somebody else's folder may hold links to anything, and
// what a link leads to would be read as weights or copied into outputs.
#include <string>

namespace assay {

/// DIRECTORY/NAME, for opening. Throws Error when it is a symbolic link out of the directory, or to nowhere.
/// A snapshot of the Hugging Face hub cache may link to the blobs of its own repository:
/// REPOSITORY/snapshots/REVISION/... -> REPOSITORY/blobs/...
std::string model_file(const std::string& directory, const std::string& name);

/// Whether there is such an entry; a link counts, wherever it leads.
bool has_entry(const std::string& directory, const std::string& name);

}  // namespace assay

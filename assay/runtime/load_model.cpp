#include "assay/base/error.h"
#include "assay/model/roles.h"
#include "assay/runtime/session.h"

namespace assay {

LoadedModel load_model(const std::string& path, const LoadOptions& options,
                       const std::string& config_directory) {
  LoadedModel loaded;
  loaded.context = options.context;
  loaded.checkpoint = open_model(path, config_directory);
  loaded.tokenizer = load_tokenizer(loaded.checkpoint->sidecars, path);
  loaded.model = Model::load(loaded.checkpoint, options);
  // Embeddings are often padded beyond the tokenizer; the reverse would index outside the matrix.
  const std::size_t tokens = loaded.tokenizer->vocabulary_size();
  if (tokens > static_cast<std::size_t>(loaded.model->config().vocabulary))
    fail("{}: the tokenizer has {} tokens, the config's vocab_size is {}: they do not belong together", path,
         tokens, loaded.model->config().vocabulary);
  return loaded;
}

}  // namespace assay

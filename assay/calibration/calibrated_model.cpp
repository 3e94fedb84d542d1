#include "assay/calibration/calibrated_model.h"

#include <algorithm>
#include <cassert>

#include "assay/calibration/block_run.h"
#include "assay/calibration/distinct_share.h"
#include "assay/kernels/observed_ops.h"
#include "assay/model/model.h"
#include "assay/rounding/rounded_plainly.h"

namespace assay {

void calibrate_tensors(const Plan& plan, const CalibrationText& text, CalibratedRoundingOptions options,
                       ResumeStore* store, const Context& context, const CalibratedTensorSink& finished) {
  const ThreadScope threads(context.threads);
  options.distinct_share = distinct_share(text.windows);
  LayerStages stages(plan, options, store, finished, context.progress);
  const auto ops =
      observed_ops(cpu_ops(), {.linear = [&](auto group, const Rows& x) { stages.before(group, x); }});
  const std::string scratch_folder = store != nullptr ? store->folder() : "";
  LoadOptions load;
  load.context.ops = ops.get();
  load.factory = [&](const MatrixPlace& place, PackedMatrix matrix) -> std::shared_ptr<const Linear> {
    const auto found =
        std::ranges::find_if(plan.tensors, [&](const auto& t) { return t.source->name == place.tensor; });
    assert(found != plan.tensors.end());
    if (found->calibrated)
      return stages.place(static_cast<std::size_t>(found - plan.tensors.begin()), place, std::move(matrix));
    if (found->method != Method::copy && found->method != Method::transcode && found->format->can_encode())
      matrix = as_rounded_plainly(matrix, found->format, scratch_folder);
    return make_linear(std::move(matrix), {Residency::stored});
  };
  const auto model = Model::load(plan.source, load);

  BlockRun run(*model, text, context.activations());
  const int done = store != nullptr ? store->finished_blocks() : 0;
  if (done > 0)
    run.start_at(store->hidden(run.hidden().size()));
  else
    run.start();
  for (int block = 0; block < done; ++block) stages.restore_block(block);
  for (int block = done; block < model->config().layers; ++block) {
    run.forward(block);
    stages.finish_block(block);
    if (store != nullptr) store->finish_block(block + 1, run.hidden());
  }
}

}  // namespace assay

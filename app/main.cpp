#include <fmt/core.h>

#include <exception>

#include "app/command.h"
#include "assay/base/error.h"
#include "assay/kernels/blas_core.h"
#include "assay/version.h"

int main(int argc, char** argv) {
  using namespace assay::app;
  assay::restart_with_better_blas(argv);
  CLI::App app("Assay: quantise language-model weights, run them, and measure what it cost.", "assay");
  app.set_version_flag("--version", fmt::format("assay {} ({})", ASSAY_VERSION, ASSAY_REVISION));
  app.require_subcommand(1);
  add_quantize(app);
  add_inspect(app);
  add_eval(app);
  add_compare(app);
  add_gate(app);
  add_run(app);
  add_parity(app);
  add_bench(app);
  add_logits(app);
  add_convert(app);
  add_formats(app);
  add_recipes(app);
  add_allocate(app);
  add_ablate(app);
  add_audit(app);
  add_routing(app);
  add_pack_experts(app);
  add_demo(app);
  try {
    app.parse(argc, argv);
    return exit_code();
  } catch (const CLI::Success& done) {  // --help, --version
    return app.exit(done);
  } catch (const CLI::ParseError& usage) {
    app.exit(usage);
    return 2;
  } catch (const assay::Error& error) {
    fmt::print(stderr, "assay: {}\n", error.what());
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "assay: out of memory\n");
  } catch (const std::exception& error) {
    fmt::print(stderr, "assay: unexpected failure: {}\n", error.what());
  }
  return 1;
}

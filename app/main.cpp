#include <csignal>
#include <exception>
#include <sstream>

#include "app/command.h"
#include "app/progress_bar.h"
#include "app/say.h"
#include "assay/base/error.h"
#include "assay/base/interruption.h"
#include "assay/base/mapping_guard.h"
#include "assay/base/temporary.h"
#include "assay/kernels/blas_core.h"
#include "assay/version.h"

namespace assay::app {
namespace {

constexpr int kFailed = 1, kUsage = 2;

void add_commands(CLI::App& app) {
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
}

/// Of a command line that lacks something: the options that nobody knows, which may be what is lacking.
std::string unknown_options(const CLI::App& app) {
  std::string unknown;
  for (const CLI::App* command : app.get_subcommands()) {
    for (const std::string& word : command->remaining())
      if (word.starts_with("--") && word != "--")
        unknown += word + " is no option of " + command->get_name() + "; ";
    unknown += unknown_options(*command);
  }
  return unknown;
}

/// The exit code; every error is one line on standard error.
int dispatch(int argc, char** argv) {
  CLI::App app("Assay: quantise language-model weights, run them, and measure what it cost.", "assay");
  try {
    watch_interruptions(erase_progress_bar);
    end_with_message_on_lost_pages();
    add_commands(app);
    app.parse(argc, argv);
    return exit_code();
  } catch (const CLI::Success& done) {  // --help, --version
    std::ostringstream help, none;
    app.exit(done, help, none);
    say_raw(help.str());
    return 0;
  } catch (const CLI::ParseError& usage) {
    const bool lacks = usage.get_exit_code() == static_cast<int>(CLI::ExitCodes::RequiredError);
    say_error("assay: {}{}; --help tells more\n", lacks ? unknown_options(app) : "", usage.what());
    return kUsage;
  } catch (const Error& error) {
    wait_if_ending();  // what an interruption removed makes others fail
    say_error("assay: {}\n", error.what());
  } catch (const std::bad_alloc&) {
    say_error("assay: out of memory\n");
  } catch (const std::exception& error) {
    wait_if_ending();
    say_error("assay: unexpected failure: {}\n", error.what());
  }
  return kFailed;
}

/// What --isa allows, looked for before anything else: OpenBLAS must know when the process starts. A word
/// that is no instruction set is told later, by the option.
Isa wanted_isa(int argc, char** argv) {
  const Isa highest = isas_of_machine().back();
  for (int i = 1; i < argc; ++i) {
    std::string_view argument = argv[i];
    if (argument == "--isa" && i + 1 < argc)
      argument = argv[i + 1];
    else if (argument.starts_with("--isa="))
      argument.remove_prefix(6);
    else
      continue;
    for (const Isa isa : isas_of_machine())
      if (isa_name(isa) == argument) return isa;
  }
  return highest;
}

/// A result that could not be written is no success.
int run_and_flush(int argc, char** argv) {
  int code = kFailed;
  try {
    code = dispatch(argc, argv);
    if (code == kFailed || code == kUsage) return code;  // said already
    finish_saying();
  } catch (const ReaderIsGone&) {  // as if SIGPIPE had not been ignored; temporary files are gone by now
    std::signal(SIGPIPE, SIG_DFL);
    std::raise(SIGPIPE);
  } catch (const Error& error) {
    say_error("assay: {}\n", error.what());
    code = kFailed;
  }
  wait_if_ending();
  return code;
}

}  // namespace
}  // namespace assay::app

int main(int argc, char** argv) {
  assay::app::prepare_to_say();
  assay::restart_in_better_environment(argv, assay::app::wanted_isa(argc, argv));
  return assay::app::run_and_flush(argc, argv);
}

#include "app/command.h"

#include "assay/base/error.h"
#include "assay/base/progress.h"
#include "assay/parallel/threads.h"

namespace assay::app {

int& exit_code() {
  static int code = 0;
  return code;
}

Container parse_writable_container(const std::string& name) {
  for (const Container container : {Container::assay, Container::lattice, Container::mlx})
    if (container_name(container) == name) return container;
  fail("--container is \"{}\"; assay, lattice or mlx expected", name);
}

void add_common(CLI::App* command, Common* common, const std::string& examples) {
  command->add_flag("--json", common->json, "Print one JSON document instead of text");
  command->add_option("--threads", common->threads, "Threads to use (default: all)")
      ->check(CLI::Range(1, 4096));
  command->footer("Examples:\n" + examples);
  command->parse_complete_callback([common] {
    set_thread_count(common->threads);
    if (common->json) Progress::set_enabled(false);
  });
}

}  // namespace assay::app

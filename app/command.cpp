#include "app/command.h"
#include "app/numbers.h"
#include "app/progress_bar.h"

#include "assay/base/error.h"
#include "assay/parallel/threads.h"
#include "assay/storage/containers.h"

namespace assay::app {

namespace {

/// `--text "$FILE"` of a variable that is not set means a mistake, not: no text. An empty prompt has a
/// meaning.
void refuse_empty_values(const CLI::App& command) {
  for (const CLI::Option* option : command.get_options())
    for (const std::string& value : option->results())
      if (value.empty() && option->get_name() != "--prompt" && option->get_items_expected_max() > 0)
        throw CLI::ValidationError(option->get_name(), "an empty value");
}

}  // namespace

int& exit_code() {
  static int code = 0;
  return code;
}

std::vector<std::string> offered_container_list() {
  std::vector<std::string> names;
  for (const ContainerRow* row : all_containers())
    if (row->offered) names.emplace_back(row->name);
  return names;
}

std::string offered_containers() {
  return container_names([](const ContainerRow& row) { return row.offered; });
}

Container parse_writable_container(const std::string& name) {
  if (const auto container = find_offered_container(name)) return *container;
  fail("--container is \"{}\"; {} expected", name, offered_containers());
}

void add_common(CLI::App* command, Common* common, const std::string& examples) {
  command->add_flag("--json", common->json, "Print one JSON document instead of text");
  add_number(command, "--threads", &common->context.threads, "Threads to use (default: all)", 1, 4096);
  command->footer("Examples:\n" + examples);
  command->parse_complete_callback([command, common] {
    refuse_empty_values(*command);
    set_thread_count(common->context.threads);  // of what takes no context, too
    if (!common->json) common->context.progress = &progress_bar();
  });
}

}  // namespace assay::app

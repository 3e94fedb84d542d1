#include <memory>

#include "app/command.h"
#include "app/say.h"
#include "assay/recipes/recipe.h"

namespace assay::app {

void add_recipes(CLI::App& app) {
  auto* command =
      app.add_subcommand("recipes", "List the built-in recipes, or print one as JSON to start from");
  struct Options : Common {
    std::string show;
  };
  auto options = std::make_shared<Options>();
  command->add_option("--show", options->show, "Print this recipe as a JSON file");
  add_common(command, options.get(), "  assay recipes\n  assay recipes --show w3-mlp > my-recipe.json");
  command->callback([options] {
    if (!options->show.empty()) {
      say_json(recipe_to_json(load_recipe(options->show)));
      return;
    }
    if (options->json) {
      OrderedJson list = OrderedJson::array();
      for (const Recipe& recipe : built_in_recipes()) list.push_back(recipe_to_json(recipe));
      say_json(list);
      return;
    }
    for (const Recipe& recipe : built_in_recipes()) say("{:<10} {}\n", recipe.name, recipe.description);
  });
}

}  // namespace assay::app

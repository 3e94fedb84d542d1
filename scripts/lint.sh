#!/usr/bin/env bash
# Formatting, clang-tidy, and no warnings from g++ and clang.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=$(nproc)

echo "== clang-format"
git ls-files '*.h' '*.cpp' | xargs clang-format-14 --dry-run --Werror

echo "== no arrow upward between rooms"
scripts/check-arrows.sh

echo "== commands print and take numbers in one place"
scripts/check-say.sh

echo "== tests and files that the pages name exist"
scripts/check-docs.sh

echo "== every planted fault still applies"
for patch in tests/mutants/*.patch; do git apply --check "$patch"; done

echo "== g++, warnings are errors"
cmake --preset release >/dev/null
cmake --build build -j "$jobs" | tail -n 1

# In a batch a source may live on what those before it include. Nothing is generated here (preset "alone"), and what
# did not change since the last run is not looked at again. clang's warnings are errors as well.
echo "== every source compiles alone"
cmake --preset alone >/dev/null
ninja -C build/alone -t targets all | sed -n 's/\.o: .*/.o/p' | xargs ninja -C build/alone -k 0 -j "$jobs" --quiet

# Whole batches of sources (CMake's unity build) cost clang-tidy a quarter of what their files cost one by one.
echo "== clang-tidy"
cmake --preset clang >/dev/null
cmake --build build/clang --target git_revision >/dev/null
grep -o '"file": "[^"]*"' build/clang/compile_commands.json | cut -d'"' -f4 | grep -v '/tests/' |
  xargs -P "$jobs" -n 1 clang-tidy-14 -p build/clang --quiet 2>/dev/null
echo "lint: clean"

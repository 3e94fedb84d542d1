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

# clang compiles every source, its warnings are errors, and makes no objects: nothing more is learned from them.
cmake --preset clang >/dev/null
cmake --build build/clang --target git_revision >/dev/null
tidy() { xargs -P "$jobs" -n 4 clang-tidy-14 -p build/clang --quiet "$@" 2>/dev/null; }
echo "== clang-tidy"
git ls-files 'assay/*.cpp' 'app/*.cpp' 'fuzz/*.cpp' | tidy
echo "== clang over the tests, warnings are errors"
git ls-files 'tests/*.cpp' | grep -v '^tests/reference/' | tidy --checks='-*,clang-diagnostic-*,readability-duplicate-include'
echo "lint: clean"

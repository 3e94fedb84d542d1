#!/usr/bin/env bash
# Formatting, clang-tidy, and a build without warnings by g++.
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

# clang builds everything once, with its warnings as errors: in test-asan.
echo "== clang-tidy"
cmake --preset asan >/dev/null
cmake --build build/asan --target git_revision >/dev/null
git ls-files 'assay/*.cpp' 'app/*.cpp' 'fuzz/*.cpp' | xargs -P "$jobs" -n 4 clang-tidy-14 -p build/asan --quiet 2>/dev/null
echo "lint: clean"

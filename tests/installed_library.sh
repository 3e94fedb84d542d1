#!/usr/bin/env bash
# Installs the library from BUILD into a fresh folder, builds the example outside the tree against it and runs
# that: a model is no distance from itself.
#   tests/installed_library.sh BUILD SOURCE
set -euo pipefail
build=$1 source=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cmake --install "$build" --prefix "$folder/prefix" >/dev/null
cp -r "$source/examples/library" "$folder/example"
cmake -S "$folder/example" -B "$folder/build" -DCMAKE_PREFIX_PATH="$folder/prefix" -DCMAKE_BUILD_TYPE=Release >/dev/null
cmake --build "$folder/build" >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
model=$folder/prefix/share/assay/models/demo
output=$("$folder/build/example" "$model" "$model" "Once upon a time" 2>"$folder/told")
echo "$output"
grep -q "divergence 0.000000 nats" <<<"$output"
grep -q "evaluating: done" "$folder/told"
# An error reaches the caller and ends nothing.
! "$folder/build/example" "$folder/nothing" "$model" x 2>"$folder/error"
grep -q "nothing" "$folder/error"

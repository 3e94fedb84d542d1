#!/usr/bin/env bash
# The rooms, bottom to top. A file may include headers of its own room and of rooms before it.
set -euo pipefail
cd "$(dirname "$0")/.."
rooms=(base parallel formats storage kernels rounding jinja tokenizer model runtime recipes rotation calibration measure
  report audit allocation quantize ablation)
status=0
for i in "${!rooms[@]}"; do
  for upper in "${rooms[@]:i+1}" app; do
    if grep -rn "#include \"\(assay/\)\?$upper/" "assay/${rooms[i]}"; then
      echo "assay/${rooms[i]} must not know $upper" >&2
      status=1
    fi
  done
done
exit $status

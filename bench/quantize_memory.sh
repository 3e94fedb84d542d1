#!/usr/bin/env bash
# Peak anonymous memory (RssAnon) of `quantize` on a generated checkpoint: below 3 x largest tensor + 200 MB.
#   bench/quantize_memory.sh [GIGABYTES]
set -euo pipefail
cd "$(dirname "$0")/.."
gigabytes=${1:-2.1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build/make_checkpoint "$work/source" "$gigabytes"
largest=$(build/assay inspect "$work/source" --json | sed -n 's/.*"largest_tensor_bytes": \([0-9]*\).*/\1/p')
limit=$(((3 * largest + 200 * 1000 * 1000) / 1024))
total=$(du -sk "$work/source" | cut -f 1)
for recipe in q4 w3 mlx4 q8; do
  build/assay quantize "$work/source" "$work/out" --recipe $recipe --measure none >/dev/null &
  pid=$!
  peak=0
  while kill -0 "$pid" 2>/dev/null; do
    anonymous=$(awk '/^RssAnon/ {print $2}' "/proc/$pid/status" 2>/dev/null || true)
    [ -n "$anonymous" ] && [ "$anonymous" -gt "$peak" ] && peak=$anonymous
    sleep 0.02
  done
  wait "$pid"
  rm -rf "$work/out"
  echo "$recipe: peak RssAnon $peak KiB of $limit KiB allowed (largest tensor $((largest / 1024)) KiB, model $total KiB)"
  [ "$peak" -lt "$limit" ] || { echo "over the limit" >&2; exit 1; }
done

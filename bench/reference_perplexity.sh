#!/usr/bin/env bash
# Perplexity of the reference models against what Hugging Face transformers computes: sliding and chunked, prefill and
# decode, one pass/fail line a number (1e-4 relative). Exit 1 if any fails. The references lie beside the checkout.
#
#   bench/reference_perplexity.sh                      all: tiny small llama, both protocols, both modes
#   MODELS=tiny MODES=prefill bench/reference_perplexity.sh
#   PROTOCOLS=sliding THREADS=1 ASSAY=build/assay bench/reference_perplexity.sh
set -euo pipefail
cd "$(dirname "$0")/.."
assay=${ASSAY:-build/assay}
shared=${SHARED:-../shared}
threads=${THREADS:-$(nproc)}
[ -x "$assay" ] || { echo "$assay is missing: make build first" >&2; exit 1; }
[ -d "$shared/reference/hf" ] || { echo "$shared/reference/hf is missing: nothing to compare with" >&2; exit 1; }

failed=0
for model in ${MODELS:-tiny llama small}; do
  for protocol in ${PROTOCOLS:-sliding chunked}; do
    for mode in ${MODES:-prefill decode}; do
      "$assay" eval "$shared/models/$model" --text "$shared/text/wiki.test.raw" --protocol "$protocol" --mode "$mode" \
        --threads "$threads" --json |
        python3 -c '
import json, sys
model, protocol, mode, path = sys.argv[1:]
found, expected = json.load(sys.stdin), json.load(open(path))[protocol]
gap = abs(found["perplexity"] / expected["ppl"] - 1)
passed = gap <= 1e-4 and found["tokens"] == expected["scored"] and not found["partial"]
print("%s %s %s %s: perplexity %.6f, reference %.6f, relative difference %.1e, %d of %d tokens scored, %.0f s, "
      "%.1f GFLOP/s of %.1f sgemm" % ("pass" if passed else "FAIL", model, protocol, mode, found["perplexity"],
      expected["ppl"], gap, found["tokens"], expected["scored"], found["seconds"], found["gflops"],
      found["sgemm_gflops"]), flush=True)
sys.exit(not passed)' "$model" "$protocol" "$mode" "$shared/reference/hf/$model/eval.json" || failed=1
    done
  done
done
exit $failed

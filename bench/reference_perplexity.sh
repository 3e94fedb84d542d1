#!/usr/bin/env bash
# Perplexity of the reference models against what Hugging Face transformers computes: sliding and chunked, prefill and
# decode, one pass/fail line a number (1e-4 relative). Exit 1 if any fails. The references lie beside the checkout.
#
#   bench/reference_perplexity.sh                      all six models, both protocols, both modes
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
for model in ${MODELS:-tiny llama small moe next q35}; do
  for protocol in ${PROTOCOLS:-sliding chunked}; do
    for mode in ${MODES:-prefill decode}; do
      if ! result=$("$assay" eval "$shared/models/$model" --text "$shared/text/wiki.test.raw" --protocol "$protocol" \
        --mode "$mode" --threads "$threads" --json); then
        echo "FAIL $model $protocol $mode: eval did not finish"
        failed=1
        continue
      fi
      python3 - "$model" "$protocol" "$mode" "$shared/reference/hf/$model/eval.json" "$result" <<'PYTHON' || failed=1
import json, sys
model, protocol, mode, path, result = sys.argv[1:]
found, expected = json.loads(result), json.load(open(path))[protocol]
gap = abs(found["perplexity"] / expected["ppl"] - 1)
passed = gap <= 1e-4 and found["tokens"] == expected["scored"] and not found["partial"]
print("%s %s %s %s: perplexity %.6f, reference %.6f, relative difference %.1e, %d of %d tokens scored, %.0f s, "
      "%.1f GFLOP/s of %.1f sgemm" % (
          "pass" if passed else "FAIL", model, protocol, mode, found["perplexity"], expected["ppl"], gap,
          found["tokens"], expected["scored"], found["seconds"], found["gflops"], found["sgemm_gflops"]))
sys.exit(not passed)
PYTHON
    done
  done
done
exit $failed

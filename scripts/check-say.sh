#!/usr/bin/env bash
# Commands print through app/say.h and take numbers through app/numbers.h, and through nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
status=0
if grep -nE 'fmt::print|\b(f?printf|f?puts|fwrite|putchar|perror)\(|std::(cout|cerr|clog)\b|\bdump\(' \
    $(git ls-files 'app/*.cpp' 'app/*.h' | grep -vE 'app/say\.(cpp|h)'); then
  echo "print with say, say_error or say_json of app/say.h" >&2
  status=1
fi
if grep -nE 'CLI::(AsSizeValue|AsNumberWithUnit|Range|Number|PositiveNumber|NonNegativeNumber|TypeValidator)|std::sto[a-z]+\(|strto[a-z]+\(|\bato[a-z]+\(' \
    $(git ls-files 'app/*.cpp' 'app/*.h'); then
  echo "register numbers with add_number, add_numbers or add_size of app/numbers.h" >&2
  status=1
fi
exit $status

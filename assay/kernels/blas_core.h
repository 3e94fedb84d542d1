#pragma once
// Which kernels OpenBLAS runs. It goes by a list of CPU models, and on one younger than the list it takes
// SSE3 kernels, at a quarter of the speed or less. Only the environment of a new process can tell it
// otherwise.
#include <optional>
#include <string>
#include <string_view>

#include "assay/base/isa.h"

namespace assay {

/// As OpenBLAS names them: "SkylakeX", "Haswell", "Prescott", ...
std::string blas_core();

/// What OpenBLAS should run in place of `core`: more than SSE kernels where the machine has more, kernels of
/// `highest` where that is less than the machine has. Nothing where `core` is right.
std::optional<std::string> better_blas_core(std::string_view core, Isa machine, Isa highest);
/// Of this process.
std::optional<std::string> better_blas_core(Isa highest);

/// For the first line of main: starts the program again where its libraries read from the environment what
/// they should know: OPENBLAS_CORETYPE as better_blas_core() says, and how long idle threads of OpenMP look
/// for work before they sleep. Variables that the user has set are left alone; returns when there is nothing
/// to do or it cannot be done.
void restart_in_better_environment(char** argv, Isa highest);

}  // namespace assay

#pragma once
// Several instruction sets for one plain loop: the compiler clones the function and the loader picks a clone.
// No clone may fuse a product with a sum (-ffp-contract=off), so all of them give the same bits. Off where
// the attribute is missing or its resolver would run before a sanitizer is ready.

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define ASSAY_MULTIVERSION __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define ASSAY_MULTIVERSION
#endif

#pragma once

// GCC and Clang make clones of a function for several processors, of which the loader of programs
// chooses; what it calls must be inlined to be cloned with it.
#if defined(__x86_64__)
#define KESSOKU_CLONES [[gnu::target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")]]
#else
#define KESSOKU_CLONES
#endif
#define KESSOKU_INLINE [[gnu::always_inline]] inline

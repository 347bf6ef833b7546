/*
 * clones.h - UCB_CLONES on a function lets gcc compile it for several instruction sets and
 * pick at load time.
 *
 * Only for code whose result does not depend on the instruction set: elementwise
 * arithmetic, and reductions written out in a fixed number of lanes. -ffp-contract=off
 * keeps multiply and add apart in every clone.
 */
#ifndef UCB_CORE_CLONES_H
#define UCB_CORE_CLONES_H

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define UCB_CLONES \
    __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define UCB_CLONES
#endif

#endif

/*
 * emulation.h - the part of CUDA that our kernels use, as host C++: so that their logic is
 * proven where no GPU is.
 *
 * A block's threads are fibers that are resumed forward, in reverse or in a random order
 * (UCB_EMULATION_ORDER=forward|reverse|random:SEED; all three are needed, because a missing
 * barrier passes in one of them), or one system thread each (compiled with
 * UCB_EMULATION_THREADS, for TSan). Blocks run one after the other in the same order.
 * Shared memory begins as NaNs in every block. What ends the program with a message: a
 * barrier that only a part of the block reaches, or that it reaches at two places; a warp
 * operation whose mask names a lane that does not come, leaves out the caller, or whose
 * source is not in it.
 *
 * Streams run as late as they may: work queued on one is done when something waits for it;
 * in random order some of it before, on any stream. So a kernel that reads what another
 * stream was to bring, and did not wait, reads garbage in one of them.
 *
 * The parts, each alone: emulation_order.h (places, orders), emulation_fibers.h or
 * emulation_threads.h (a block), emulation_kernel.h (a kernel and its grid),
 * emulation_runtime.h (memory, streams, events).
 *
 * Not modelled: warps in lockstep (independent threads, as since Volta), the memory model
 * of a GPU, tensor cores, asynchronous copies to shared memory, speed.
 */
#ifndef UCB_CUDA_EMULATION_H
#define UCB_CUDA_EMULATION_H

#include "emulation_kernel.h"
#include "emulation_runtime.h"

/* Arguments are copied at the launch, as CUDA does. */
#define UCB_LAUNCH(kernel, grid, block, stream_, ...)                             \
    do {                                                                          \
        dim3 grid_ = (grid), block_ = (block);                                    \
        auto call_ = [](auto... arguments) { kernel(arguments...); };             \
        auto work_ = [=](auto... arguments) {                                     \
            return std::function<void()>([=] {                                    \
                emulation::run_grid(grid_, block_, [=] { call_(arguments...); }); \
            });                                                                   \
        };                                                                        \
        (stream_)->push(work_(__VA_ARGS__));                                      \
    } while (0)
#define UCB_SHARED(type, name) type &name = emulation::shared<type>()

#endif

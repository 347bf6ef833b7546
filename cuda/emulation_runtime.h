/*
 * emulation_runtime.h - the calls of CUDA's runtime that the host makes: memory, streams
 * and events of the emulated device. Nothing here knows what a kernel is.
 */
#ifndef UCB_CUDA_EMULATION_RUNTIME_H
#define UCB_CUDA_EMULATION_RUNTIME_H

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>

#include "emulation_order.h"

typedef int cudaError_t;
enum { cudaSuccess = 0, cudaErrorMemoryAllocation = 2, cudaErrorInvalidValue = 1 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };

namespace emulation
{
struct stream;
struct event {
    stream *of = nullptr; /* the stream that completes it */
    uint64_t ticket = 0;  /* done when the stream has done so many */
};
struct stream {
    std::deque<std::function<void()>> queue;
    uint64_t n_queued = 0, n_done = 0;

    void push(std::function<void()> work)
    {
        queue.push_back(std::move(work));
        n_queued++;
        wander();
    }
    void run_to(uint64_t ticket)
    {
        while (n_done < ticket) {
            std::function<void()> work = std::move(queue.front());
            queue.pop_front();
            work();
            n_done++;
        }
    }
    static void wander();
};
inline std::vector<stream *> streams;

/* In random order, after each thing queued: some of what waits on some streams is done. */
inline void stream::wander()
{
    static order o = order::of_environment();
    if (o.kind != order::RANDOM) return;
    while (o.draw(2) == 0) {
        stream *s = streams[o.draw((unsigned)streams.size())];
        if (!s->queue.empty()) s->run_to(s->n_done + 1);
    }
}
inline std::map<const char *, size_t> pinned; /* host memory that copies do not stage */
inline std::map<const void *, size_t> on_device;

inline bool is_pinned(const void *p)
{
    const char *at = static_cast<const char *>(p);
    auto next = pinned.upper_bound(at);
    if (next == pinned.begin()) return false;
    --next;
    return at < next->first + next->second;
}
} // namespace emulation

typedef emulation::stream *cudaStream_t;
typedef emulation::event *cudaEvent_t;

inline const char *cudaGetErrorString(cudaError_t code)
{
    return code == cudaErrorMemoryAllocation ? "out of memory" : "invalid argument";
}
/* The emulated device has as much memory as UCB_EMULATION_MEMORY says, in bytes: 1 GiB. */
inline size_t emulated_memory()
{
    const char *text = getenv("UCB_EMULATION_MEMORY");
    return text == nullptr ? (size_t)1 << 30 : (size_t)strtoull(text, nullptr, 10);
}
inline cudaError_t cudaMalloc(void **out, size_t n)
{
    size_t used = 0;
    for (const auto &piece : emulation::on_device) used += piece.second;
    if (used + n > emulated_memory()) return cudaErrorMemoryAllocation;
    *out = aligned_alloc(256, (n + 255) / 256 * 256);
    if (*out == nullptr) return cudaErrorMemoryAllocation;
    memset(*out, 0xff, n); /* NaNs: what nobody wrote shows */
    emulation::on_device[*out] = n;
    return cudaSuccess;
}
inline cudaError_t cudaFree(void *p)
{
    for (emulation::stream *s : emulation::streams) s->run_to(s->n_queued);
    emulation::on_device.erase(p);
    free(p);
    return cudaSuccess;
}
inline cudaError_t cudaMallocHost(void **out, size_t n)
{
    *out = malloc(n == 0 ? 1 : n);
    if (*out == nullptr) return cudaErrorMemoryAllocation;
    emulation::pinned[static_cast<const char *>(*out)] = n;
    return cudaSuccess;
}
inline cudaError_t cudaFreeHost(void *p)
{
    for (emulation::stream *s : emulation::streams) s->run_to(s->n_queued);
    emulation::pinned.erase(static_cast<const char *>(p));
    free(p);
    return cudaSuccess;
}
inline cudaError_t cudaStreamCreate(cudaStream_t *out)
{
    *out = new emulation::stream;
    emulation::streams.push_back(*out);
    return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    s->run_to(s->n_queued);
    return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    s->run_to(s->n_queued);
    emulation::streams.erase(
        std::find(emulation::streams.begin(), emulation::streams.end(), s));
    delete s;
    return cudaSuccess;
}
inline cudaError_t cudaEventCreate(cudaEvent_t *out)
{
    *out = new emulation::event;
    return cudaSuccess;
}
inline cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    delete e;
    return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    e->of = s;
    e->ticket = s->n_queued;
    return cudaSuccess;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    if (e->of != nullptr) e->of->run_to(e->ticket);
    return cudaSuccess;
}
inline cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned = 0)
{
    emulation::stream *of = e->of;
    uint64_t ticket = e->ticket;
    if (of != nullptr && of != s) s->push([of, ticket] { of->run_to(ticket); });
    return cudaSuccess;
}
/* Pageable memory is staged at the call, or waited for; pinned memory is read and written
 * when the stream comes to it. */
inline cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n,
                                   cudaMemcpyKind kind, cudaStream_t s)
{
    if (kind == cudaMemcpyHostToDevice && !emulation::is_pinned(from)) {
        const char *bytes = static_cast<const char *>(from);
        auto staged = std::make_shared<std::vector<char>>(bytes, bytes + n);
        s->push([to, staged] { memcpy(to, staged->data(), staged->size()); });
        return cudaSuccess;
    }
    s->push([to, from, n] { memcpy(to, from, n); });
    if (kind == cudaMemcpyDeviceToHost && !emulation::is_pinned(to)) s->run_to(s->n_queued);
    return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void *to, int value, size_t n, cudaStream_t s)
{
    s->push([to, value, n] { memset(to, value, n); });
    return cudaSuccess;
}
inline cudaError_t cudaGetLastError()
{
    return cudaSuccess;
}

#endif

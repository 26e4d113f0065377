// A CUDA driver (libcuda) whose kernels run in the emulator: the entry points that the host code reaches through cudarc.
//
// Work given to a stream is kept and done only when the host waits for it, as late as a real device may do it, so a
// missing synchronisation shows. Rules that a real driver enforces are enforced: nothing may wait inside a capture, a
// launch must fit the kernel, memory must have been allocated.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime.h"

using emulator::Kernel;
using emulator::Shape;

namespace {

enum Status : int {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    LAUNCH_FAILED = 719,
    DEVICE_UNAVAILABLE = 46,
    ECC_UNCORRECTABLE = 214,
    ILLEGAL_ADDRESS = 700,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
};

using Clock = std::chrono::steady_clock;
using Operation = std::function<Status()>;

struct Stream {
    std::vector<Operation> pending;
    bool capturing = false, capture_broken = false;
    std::thread::id capturing_thread;
    std::vector<Operation> captured;
};

struct Event {
    Stream *stream = nullptr;  // where it was recorded last
    Clock::time_point time;
};

struct Graph {
    std::vector<Operation> operations;
};

// One lock for the whole driver: kernels and calls of several threads follow one another.
std::recursive_mutex &driver_mutex = *new std::recursive_mutex;
struct Lock : std::lock_guard<std::recursive_mutex> {
    Lock() : std::lock_guard<std::recursive_mutex>(driver_mutex) {}
};

using Ranges = std::map<uintptr_t, size_t>;
Ranges &device_memory = *new Ranges, &pinned_memory = *new Ranges;
std::vector<Stream *> &streams = *new std::vector<Stream *>;
size_t allocated = 0;
uint64_t refused = 0;  // the allocation to come that is refused, counted down to 0
int module_handle, context_handle, pool_handle;
thread_local void *current_context;
thread_local std::string error_text;

// Bytes of the device's memory: MACR_EMULATOR_MEMORY.
size_t memory_size() {
    const char *text = getenv("MACR_EMULATOR_MEMORY");
    return text ? strtoull(text, nullptr, 10) : size_t(8) << 30;
}

Status error(Status status, std::string text) {
    error_text = std::move(text);
    return status;
}

bool inside(const Ranges &ranges, uintptr_t begin, size_t bytes) {
    auto after = ranges.upper_bound(begin);
    if (after == ranges.begin()) return false;
    auto range = std::prev(after);
    return begin + bytes <= range->first + range->second;
}
bool on_device(uint64_t pointer, size_t bytes) { return inside(device_memory, pointer, bytes); }
bool pinned(const void *pointer, size_t bytes) {
    return inside(pinned_memory, reinterpret_cast<uintptr_t>(pointer), bytes);
}
Status not_on_device(const char *what) {
    return error(INVALID_VALUE, std::string(what) + ": the bytes are not inside one allocation of device memory");
}

Status drain(Stream *stream) {
    // An operation may wait for another stream, and must not be run twice.
    std::vector<Operation> pending;
    pending.swap(stream->pending);
    for (Operation &operation : pending) {
        if (Status status = operation()) return status;
    }
    return SUCCESS;
}

// The stream of an event may be gone, and with it all that was to wait for.
Status drain_living(Stream *stream) {
    bool living = std::find(streams.begin(), streams.end(), stream) != streams.end();
    return living ? drain(stream) : SUCCESS;
}

Status drain_all() {
    for (Stream *stream : streams) {
        if (Status status = drain(stream)) return status;
    }
    return SUCCESS;
}

Status captured(Stream *stream, const char *what) {
    stream->capture_broken = true;
    return error(CAPTURE_UNSUPPORTED, std::string(what) + " while the stream is captured");
}

// A thread that captures a stream (in thread-local mode) may not wait.
Status wait(const char *what) {
    for (Stream *stream : streams) {
        if (stream->capturing && stream->capturing_thread == std::this_thread::get_id()) {
            return captured(stream, what);
        }
    }
    return SUCCESS;
}

Status submit(Stream *stream, Operation operation) {
    if (!stream) return error(INVALID_HANDLE, "the default stream is not used by this project");
    (stream->capturing ? stream->captured : stream->pending).push_back(std::move(operation));
    return SUCCESS;
}

Status allocate(uint64_t *pointer, size_t bytes) {
    if (!bytes) return error(INVALID_VALUE, "an allocation of 0 bytes");
    if (bytes > memory_size() - allocated) return error(OUT_OF_MEMORY, "out of memory");
    if (refused > 0 && --refused == 0) return error(OUT_OF_MEMORY, "out of memory, as a test asked for");
    void *memory;
    // At least as aligned as the real thing, and exactly as long, so that AddressSanitizer sees every overrun.
    if (posix_memalign(&memory, 256, bytes)) return error(OUT_OF_MEMORY, "out of memory");
    memset(memory, 0xff, bytes);  // NaN: reading what was never written shows
    allocated += bytes;
    *pointer = reinterpret_cast<uintptr_t>(memory);
    device_memory[*pointer] = bytes;
    return SUCCESS;
}

Status release(uint64_t pointer) {
    auto range = device_memory.find(pointer);
    if (range == device_memory.end()) return error(INVALID_VALUE, "freeing memory that is not allocated");
    allocated -= range->second;
    device_memory.erase(range);
    free(reinterpret_cast<void *>(pointer));
    return SUCCESS;
}

const char *name_of(int status) {
    switch (status) {
        case SUCCESS: return "CUDA_SUCCESS";
        case INVALID_VALUE: return "CUDA_ERROR_INVALID_VALUE";
        case OUT_OF_MEMORY: return "CUDA_ERROR_OUT_OF_MEMORY";
        case NO_DEVICE: return "CUDA_ERROR_NO_DEVICE";
        case INVALID_DEVICE: return "CUDA_ERROR_INVALID_DEVICE";
        case INVALID_IMAGE: return "CUDA_ERROR_INVALID_IMAGE";
        case INVALID_HANDLE: return "CUDA_ERROR_INVALID_HANDLE";
        case NOT_FOUND: return "CUDA_ERROR_NOT_FOUND";
        case LAUNCH_FAILED: return "CUDA_ERROR_LAUNCH_FAILED";
        case DEVICE_UNAVAILABLE: return "CUDA_ERROR_DEVICE_UNAVAILABLE";
        case ECC_UNCORRECTABLE: return "CUDA_ERROR_ECC_UNCORRECTABLE";
        case ILLEGAL_ADDRESS: return "CUDA_ERROR_ILLEGAL_ADDRESS";
        case CAPTURE_UNSUPPORTED: return "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED";
        case CAPTURE_INVALIDATED: return "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED";
    }
    return "CUDA_ERROR_UNKNOWN";
}

// Counts calls, and writes `ENTRY NUMBER` lines into the file MACR_EMULATOR_CALLS when the program ends.
struct Calls {
    std::map<std::string, uint64_t> number;
    ~Calls() {
        FILE *file = fopen(getenv("MACR_EMULATOR_CALLS"), "w");
        if (!file) return;
        for (const auto &[entry, calls] : number) fprintf(file, "%s %llu\n", entry.c_str(), (unsigned long long)calls);
        fclose(file);
    }
};

void count(const char *entry) {
    static const bool counted = getenv("MACR_EMULATOR_CALLS");
    if (!counted) return;
    static Calls calls;
    Lock lock;
    ++calls.number[entry];
}

// A device that fails: MACR_EMULATOR_FAIL=ENTRY:N:STATUS has the N-th call (from 1) of an entry point do nothing and return
// STATUS, as have all calls after it, as on a device that is lost, unless STATUS is out of memory. The file
// MACR_EMULATOR_FAILED appears then.
Status struck(const char *entry) {
    count(entry);
    struct Plan {
        char entry[64] = "";
        unsigned long long number = 0;
        int status = 0;
    };
    static const Plan plan = [] {
        Plan read;
        const char *text = getenv("MACR_EMULATOR_FAIL");
        if (text) sscanf(text, "%63[^:]:%llu:%d", read.entry, &read.number, &read.status);
        return read;
    }();
    if (!plan.number) return SUCCESS;
    static std::atomic<unsigned long long> calls{0};
    static std::atomic<bool> lost{false};
    if (!lost) {
        if (strcmp(entry, plan.entry) != 0 || ++calls != plan.number) return SUCCESS;
        if (FILE *file = fopen(getenv("MACR_EMULATOR_FAILED"), "w")) fclose(file);
        lost = plan.status != OUT_OF_MEMORY;
    }
    return error(Status(plan.status), "the device failed, as a test asked for");
}

}  // namespace

#define ENTRY \
    if (Status status = struck(__func__)) return status
#define API extern "C" __attribute__((visibility("default"))) int

// ---- device and context

API cuInit(unsigned) { ENTRY; return SUCCESS; }
API cuDriverGetVersion(int *version) {
    ENTRY;
    *version = 13000;
    return SUCCESS;
}
API cuDeviceGetCount(int *count) {
    ENTRY;
    *count = 1;
    return SUCCESS;
}
API cuDeviceGet(int *device, int ordinal) {
    ENTRY;
    if (ordinal != 0) return error(INVALID_DEVICE, "invalid device ordinal");
    *device = 0;
    return SUCCESS;
}
API cuDeviceGetName(char *name, int length, int) {
    ENTRY;
    snprintf(name, size_t(length), "CUDA emulator");
    return SUCCESS;
}
API cuDeviceTotalMem_v2(size_t *bytes, int) {
    ENTRY;
    *bytes = memory_size();
    return SUCCESS;
}
API cuDeviceGetAttribute(int *value, int attribute, int) {
    ENTRY;
    static const std::map<int, int> values = {
        {1, 1024},    // MAX_THREADS_PER_BLOCK
        {8, 48 << 10},  // MAX_SHARED_MEMORY_PER_BLOCK
        {10, 32},     // WARP_SIZE
        {16, 4},      // MULTIPROCESSOR_COUNT: few, since each emulated thread costs time
        {38, 50 << 20},  // L2_CACHE_SIZE
        {39, 2048},   // MAX_THREADS_PER_MULTIPROCESSOR
        {75, 9},      // COMPUTE_CAPABILITY_MAJOR
        {76, 0},      // COMPUTE_CAPABILITY_MINOR
        {81, 228 << 10},  // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
        {97, 227 << 10},  // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        {115, 1},     // MEMORY_POOLS_SUPPORTED
    };
    auto found = values.find(attribute);
    if (found == values.end()) {
        return error(INVALID_VALUE, "device attribute " + std::to_string(attribute) + " is not emulated");
    }
    *value = found->second;
    return SUCCESS;
}
API cuDevicePrimaryCtxRetain(void **context, int) {
    ENTRY;
    *context = &context_handle;
    return SUCCESS;
}
API cuDevicePrimaryCtxRelease_v2(int) { ENTRY; return SUCCESS; }
API cuCtxGetCurrent(void **context) {
    ENTRY;
    *context = current_context;
    return SUCCESS;
}
API cuCtxSetCurrent(void *context) {
    ENTRY;
    current_context = context;
    return SUCCESS;
}
API cuCtxSynchronize() {
    ENTRY;
    Lock lock;
    if (Status status = wait("synchronising")) return status;
    return drain_all();
}
API cuGetErrorName(int status, const char **name) {
    *name = name_of(status);
    return SUCCESS;
}
API cuGetErrorString(int status, const char **text) {
    *text = error_text.empty() ? name_of(status) : error_text.c_str();
    return SUCCESS;
}

// ---- modules and functions

API cuModuleLoadData(void **module, const void *image) {
    ENTRY;
    if (!image) return error(INVALID_IMAGE, "no image");
    *module = &module_handle;
    return SUCCESS;
}
API cuModuleUnload(void *) { ENTRY; return SUCCESS; }
API cuModuleGetFunction(Kernel **function, void *, const char *name) {
    ENTRY;
    *function = Kernel::find(name);
    return *function ? SUCCESS : error(NOT_FOUND, std::string("no kernel is named ") + name);
}
API cuFuncGetParamInfo(Kernel *function, size_t index, size_t *offset, size_t *bytes) {
    ENTRY;
    if (index > 0) return error(INVALID_VALUE, "kernels take one parameter");
    *offset = 0;
    if (bytes) *bytes = function->parameter_bytes;
    return SUCCESS;
}
API cuFuncGetAttribute(int *value, int attribute, Kernel *function) {
    ENTRY;
    switch (attribute) {
        case 0: *value = int(function->max_threads); return SUCCESS;
        case 1: *value = 0; return SUCCESS;  // static shared memory: not counted here
        case 8: *value = int(function->max_dynamic_shared); return SUCCESS;
    }
    return error(INVALID_VALUE, "function attribute " + std::to_string(attribute) + " is not emulated");
}
API cuFuncSetAttribute(Kernel *function, int attribute, int value) {
    ENTRY;
    Lock lock;
    if (attribute != 8) {
        return error(INVALID_VALUE, "function attribute " + std::to_string(attribute) + " is not emulated");
    }
    if (value < 0 || value > 227 << 10) return error(INVALID_VALUE, "more than 227 KiB of shared memory");
    function->max_dynamic_shared = unsigned(value);
    return SUCCESS;
}
API cuLaunchKernel(Kernel *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                   unsigned block_y, unsigned block_z, unsigned shared, Stream *stream, void **parameters, void **) {
    ENTRY;
    Lock lock;
    uint64_t threads = uint64_t(block_x) * block_y * block_z, blocks = uint64_t(grid_x) * grid_y * grid_z;
    auto refuse = [&](const std::string &why) { return error(INVALID_VALUE, std::string(function->name) + ": " + why); };
    if (!threads || !blocks) return refuse("a launch of nothing");
    if (threads > function->max_threads) {
        return refuse(std::to_string(threads) + " threads a block, declared for at most " +
                      std::to_string(function->max_threads));
    }
    if (grid_x > 0x7fffffff || grid_y > 65535 || grid_z > 65535) return refuse("too many blocks in a dimension");
    if (shared > function->max_dynamic_shared) {
        return refuse(std::to_string(shared) + " bytes of dynamic shared memory, allowed are " +
                      std::to_string(function->max_dynamic_shared));
    }
    // The parameters are the caller's only for the time of this call.
    auto bytes = static_cast<const unsigned char *>(parameters[0]);
    auto copy = std::make_shared<std::vector<unsigned char>>(bytes, bytes + function->parameter_bytes);
    Shape shape{dim3(grid_x, grid_y, grid_z), dim3(block_x, block_y, block_z), shared};
    return submit(stream, [=] {
        std::string problem = emulator::launch(*function, shape, copy->data());
        return problem.empty() ? SUCCESS : error(LAUNCH_FAILED, problem);
    });
}

// ---- memory

API cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    ENTRY;
    Lock lock;
    *total = memory_size();
    *free_bytes = *total - allocated;
    return SUCCESS;
}
// One pool, which gives memory back at once: all that it holds is in use.
API cuDeviceGetDefaultMemPool(void **pool, int) {
    ENTRY;
    *pool = &pool_handle;
    return SUCCESS;
}
API cuMemPoolSetAttribute(void *pool, int attribute, void *) {
    ENTRY;
    const bool release_threshold = attribute == 4;
    return pool == &pool_handle && release_threshold ? SUCCESS : error(INVALID_VALUE, "no such attribute of a pool");
}
API cuMemPoolGetAttribute(void *pool, int attribute, void *value) {
    ENTRY;
    Lock lock;
    const bool reserved = attribute == 5, used = attribute == 7;
    if (pool != &pool_handle || !(reserved || used)) return error(INVALID_VALUE, "no such attribute of a pool");
    *static_cast<uint64_t *>(value) = allocated;
    return SUCCESS;
}
API cuMemAllocAsync(uint64_t *pointer, size_t bytes, Stream *stream) {
    ENTRY;
    Lock lock;
    if (stream->capturing) return captured(stream, "allocating");
    return allocate(pointer, bytes);
}
API cuMemFreeAsync(uint64_t pointer, Stream *stream) {
    ENTRY;
    Lock lock;
    if (stream->capturing) return captured(stream, "freeing");
    return submit(stream, [=] { return release(pointer); });
}
API cuMemHostAlloc(void **pointer, size_t bytes, unsigned) {
    ENTRY;
    Lock lock;
    *pointer = malloc(bytes);
    if (!*pointer) return error(OUT_OF_MEMORY, "out of host memory");
    memset(*pointer, 0xff, bytes);
    pinned_memory[reinterpret_cast<uintptr_t>(*pointer)] = bytes;
    return SUCCESS;
}
API cuMemFreeHost(void *pointer) {
    ENTRY;
    Lock lock;
    if (Status status = wait("freeing pinned memory")) return status;
    pinned_memory.erase(reinterpret_cast<uintptr_t>(pointer));
    free(pointer);
    return SUCCESS;
}
API cuMemsetD8Async(uint64_t pointer, unsigned char value, size_t bytes, Stream *stream) {
    ENTRY;
    Lock lock;
    if (!on_device(pointer, bytes)) return not_on_device("memset");
    return submit(stream, [=] {
        memset(reinterpret_cast<void *>(pointer), value, bytes);
        return SUCCESS;
    });
}
API cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, Stream *stream) {
    ENTRY;
    Lock lock;
    if (!on_device(to, bytes)) return not_on_device("copy to the device");
    if (pinned(from, bytes)) {
        return submit(stream, [=] {
            memcpy(reinterpret_cast<void *>(to), from, bytes);
            return SUCCESS;
        });
    }
    if (stream->capturing) return captured(stream, "copying from pageable memory");
    // Pageable memory is staged before the call returns.
    auto begin = static_cast<const unsigned char *>(from);
    auto staged = std::make_shared<std::vector<unsigned char>>(begin, begin + bytes);
    return submit(stream, [=] {
        memcpy(reinterpret_cast<void *>(to), staged->data(), bytes);
        return SUCCESS;
    });
}
API cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, Stream *stream) {
    ENTRY;
    Lock lock;
    if (!on_device(from, bytes)) return not_on_device("copy from the device");
    Operation copy = [=] {
        memcpy(to, reinterpret_cast<const void *>(from), bytes);
        return SUCCESS;
    };
    if (pinned(to, bytes)) return submit(stream, copy);
    // A copy into pageable memory returns when it is done.
    if (stream->capturing) return captured(stream, "copying into pageable memory");
    if (Status status = drain(stream)) return status;
    return copy();
}
API cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, Stream *stream) {
    ENTRY;
    Lock lock;
    if (!on_device(to, bytes) || !on_device(from, bytes)) return not_on_device("copy on the device");
    return submit(stream, [=] {
        memcpy(reinterpret_cast<void *>(to), reinterpret_cast<const void *>(from), bytes);
        return SUCCESS;
    });
}

// ---- streams and events

API cuStreamCreate(Stream **stream, unsigned) {
    ENTRY;
    Lock lock;
    *stream = new Stream;
    streams.push_back(*stream);
    return SUCCESS;
}
API cuStreamDestroy_v2(Stream *stream) {
    ENTRY;
    Lock lock;
    Status status = drain(stream);
    streams.erase(std::find(streams.begin(), streams.end(), stream));
    delete stream;
    return status;
}
API cuStreamSynchronize(Stream *stream) {
    ENTRY;
    Lock lock;
    if (stream->capturing) return captured(stream, "synchronising");
    return drain(stream);
}
API cuStreamWaitEvent(Stream *stream, Event *event, unsigned) {
    ENTRY;
    Lock lock;
    Stream *other = event->stream;
    if (!other) return SUCCESS;
    if (stream->capturing) return captured(stream, "waiting for an event from outside");
    if (other == stream) return SUCCESS;
    return submit(stream, [=] { return drain_living(other); });
}
API cuEventCreate(Event **event, unsigned) {
    ENTRY;
    *event = new Event;
    return SUCCESS;
}
API cuEventDestroy_v2(Event *event) {
    ENTRY;
    Lock lock;
    Status status = drain_living(event->stream);
    delete event;
    return status;
}
API cuEventRecord(Event *event, Stream *stream) {
    ENTRY;
    Lock lock;
    if (stream->capturing) return captured(stream, "recording an event");
    event->stream = stream;
    return submit(stream, [=] {
        event->time = Clock::now();
        return SUCCESS;
    });
}
API cuEventSynchronize(Event *event) {
    ENTRY;
    Lock lock;
    return drain_living(event->stream);
}
API cuEventQuery(Event *event) { ENTRY; return cuEventSynchronize(event); }
API cuEventElapsedTime_v2(float *milliseconds, Event *start, Event *end) {
    ENTRY;
    Lock lock;
    *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
    return SUCCESS;
}

// ---- graphs

API cuStreamBeginCapture_v2(Stream *stream, int) {
    ENTRY;
    Lock lock;
    if (stream->capturing) return error(INVALID_VALUE, "the stream is already captured");
    stream->capturing = true;
    stream->capturing_thread = std::this_thread::get_id();
    stream->capture_broken = false;
    stream->captured.clear();
    return SUCCESS;
}
API cuStreamEndCapture(Stream *stream, Graph **graph) {
    ENTRY;
    Lock lock;
    *graph = nullptr;
    if (!stream->capturing) return error(INVALID_VALUE, "the stream is not captured");
    stream->capturing = false;
    std::vector<Operation> operations;
    operations.swap(stream->captured);
    if (stream->capture_broken) return error(CAPTURE_INVALIDATED, error_text + ": the capture is void");
    *graph = new Graph{std::move(operations)};
    return SUCCESS;
}
API cuStreamIsCapturing(Stream *stream, int *status) {
    ENTRY;
    *status = stream->capturing ? 1 : 0;
    return SUCCESS;
}
API cuGraphInstantiateWithFlags(Graph **executable, Graph *graph, unsigned long long) {
    ENTRY;
    *executable = new Graph(*graph);
    return SUCCESS;
}
API cuGraphUpload(Graph *, Stream *) { ENTRY; return SUCCESS; }
API cuGraphLaunch(Graph *executable, Stream *stream) {
    ENTRY;
    Lock lock;
    for (const Operation &operation : executable->operations) {
        if (Status status = submit(stream, operation)) return status;
    }
    return SUCCESS;
}
API cuGraphExecDestroy(Graph *executable) {
    ENTRY;
    delete executable;
    return SUCCESS;
}
API cuGraphDestroy(Graph *graph) {
    ENTRY;
    delete graph;
    return SUCCESS;
}

// ---- for tests

// Refuses the `number`-th allocation from now on, from 1; 0 refuses none.
API emulatorRefuseAllocation(uint64_t number) {
    Lock lock;
    refused = number;
    return SUCCESS;
}

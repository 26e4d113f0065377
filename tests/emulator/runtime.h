// The CUDA emulator's runtime: one fiber per CUDA thread, one block at a time, everything on the calling OS thread.
// Launches must not overlap; the fake driver (driver.cpp) serialises them.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string>
#include <type_traits>

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace emulator {

// ---- what kernels see (through emulator.h)

struct Fiber {
    void *stack_pointer;
    unsigned char *stack;
    void *sanitizer_state;
    uint3 thread;
    unsigned lane, warp;
};

struct Block {
    uint3 index;
    dim3 size, grid;
    unsigned char *dynamic_shared;
    unsigned serial;  // counts blocks over the whole process
};

extern Fiber *current;
extern Block block;

// Rendezvous of the living lanes in `mask`. The last one to arrive runs `complete` over every lane's argument.
using Complete = void (*)(void *const *lane_arguments, unsigned lanes);
void warp_collective(unsigned mask, void *argument, Complete complete, const char *what);

struct Votes {
    int count, any, all;
};
Votes block_barrier(int vote, unsigned line);

// Ends the launch with an error.
[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

// ---- kernels, known by name

struct Kernel {
    const char *name;
    void (*call)(const void *parameters);
    size_t parameter_bytes;
    unsigned max_threads;
    unsigned max_dynamic_shared;  // raised by cuFuncSetAttribute
    Kernel *next;

    static Kernel *first;
    static Kernel *find(const char *name);
};

template <auto kernel> struct Entry;
template <class P, void (*kernel)(P)> struct Entry<kernel> {
    using Params = std::remove_const_t<P>;
    static_assert(std::is_trivially_copyable_v<Params>, "a kernel takes one plain struct by value");
    static void call(const void *parameters) { kernel(*static_cast<const Params *>(parameters)); }
};

template <auto kernel> struct Registration {
    Kernel entry;
    Registration(const char *name, unsigned max_threads)
        : entry{name,        &Entry<kernel>::call, sizeof(typename Entry<kernel>::Params),
                max_threads, 48 * 1024,            Kernel::first} {
        Kernel::first = &entry;
    }
};

// ---- what the driver calls

struct Shape {
    dim3 grid, block;
    unsigned dynamic_shared;
};
// Runs a kernel to its end. Returns an empty string, or what went wrong.
std::string launch(const Kernel &kernel, const Shape &shape, const void *parameters);

}  // namespace emulator

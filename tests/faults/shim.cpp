// Preloaded into the command: lets the n-th file operation under one folder fail, kills the process there, or refuses it
// the n-th piece of memory.
//
// MACR_FAULT_ROOT is the folder, MACR_FAULT_AT the n from 1, MACR_FAULT_KIND `fail`, `kill` or `memory`, and
// MACR_FAULT_LOG a file that appears, with the operation's name and path, when the n-th came. A write that is struck
// writes half of its bytes before the process is killed. Pieces of memory count from SMALLEST bytes on.

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

std::atomic<long> count{0};

template <class F> F real(const char *name) { return reinterpret_cast<F>(dlsym(RTLD_NEXT, name)); }

constexpr size_t SMALLEST = 1024;

bool is_kind(const char *kind) { return getenv("MACR_FAULT_KIND") && strcmp(getenv("MACR_FAULT_KIND"), kind) == 0; }

bool inside(const char *path) {
    static const bool memory = is_kind("memory");
    if (memory) return false;
    static const char *root = getenv("MACR_FAULT_ROOT");
    if (!root || !path) return false;
    // Relative paths are of the folder that the command runs in.
    return path[0] != '/' || strncmp(path, root, strlen(root)) == 0;
}

bool inside(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const long n = syscall(SYS_readlink, link, path, 4095);
    if (n <= 0) return false;
    path[n] = 0;
    return path[0] == '/' && inside(path);
}

// True if this operation is the one to strike; does not return where the process is to be killed.
bool struck(const char *operation, const char *path) {
    static const long at = getenv("MACR_FAULT_AT") ? atol(getenv("MACR_FAULT_AT")) : 0;
    if (at == 0 || ++count != at) return false;
    char line[4400];
    const int n = snprintf(line, sizeof line, "%s %s\n", operation, path);
    const int log = syscall(SYS_openat, AT_FDCWD, getenv("MACR_FAULT_LOG"), O_CREAT | O_WRONLY | O_APPEND, 0644);
    syscall(SYS_write, log, line, n);
    syscall(SYS_close, log);
    return true;
}

bool kills() {
    static const bool kill = is_kind("kill");
    return kill;
}

// True if this piece of memory is to be refused.
bool refused(size_t n) {
    static const bool memory = is_kind("memory");
    if (n < SMALLEST || !memory || !struck("memory", "")) return false;
    errno = ENOMEM;
    return true;
}

int fails(int error) {
    if (kills()) syscall(SYS_kill, getpid(), SIGKILL);
    errno = error;
    return -1;
}

} // namespace

#define PATH_OPERATION(name, error, parameters, arguments)                       \
    extern "C" int name parameters {                                             \
        static auto next = real<int(*) parameters>(#name);                       \
        if (inside(path) && struck(#name, path)) return fails(error);            \
        return next arguments;                                                   \
    }

PATH_OPERATION(rename, EIO, (const char *path, const char *to), (path, to))
PATH_OPERATION(mkdir, EIO, (const char *path, mode_t mode), (path, mode))
PATH_OPERATION(unlink, EIO, (const char *path), (path))
PATH_OPERATION(rmdir, EIO, (const char *path), (path))

#define FD_OPERATION(result, name, error, parameters, arguments)                 \
    extern "C" result name parameters {                                          \
        static auto next = real<result(*) parameters>(#name);                    \
        char path[4096];                                                         \
        if (inside(fd, path) && struck(#name, path)) return fails(error);        \
        return next arguments;                                                   \
    }

FD_OPERATION(int, fsync, EIO, (int fd), (fd))
FD_OPERATION(int, fdatasync, EIO, (int fd), (fd))
FD_OPERATION(int, ftruncate64, EIO, (int fd, off64_t length), (fd, length))
FD_OPERATION(ssize_t, read, EIO, (int fd, void *buffer, size_t n), (fd, buffer, n))
FD_OPERATION(ssize_t, pread64, EIO, (int fd, void *buffer, size_t n, off64_t at), (fd, buffer, n, at))

extern "C" ssize_t write(int fd, const void *buffer, size_t n) {
    static auto next = real<ssize_t (*)(int, const void *, size_t)>("write");
    char path[4096];
    if (inside(fd, path) && struck("write", path)) {
        if (kills()) next(fd, buffer, n / 2);
        return fails(ENOSPC);
    }
    return next(fd, buffer, n);
}

extern "C" void *mmap64(void *address, size_t n, int protection, int flags, int fd, off64_t at) {
    static auto next = real<void *(*)(void *, size_t, int, int, int, off64_t)>("mmap64");
    char path[4096];
    // No Rust program begins without the stack for its signals.
    if (fd < 0 && !(flags & MAP_STACK) && refused(n)) return MAP_FAILED;
    if (fd >= 0 && inside(fd, path) && struck("mmap", path)) {
        fails(ENOMEM);
        return MAP_FAILED;
    }
    return next(address, n, protection, flags, fd, at);
}

// The C library's own ones have names that need no search, which would itself ask for memory.
extern "C" void *__libc_malloc(size_t n);
extern "C" void *__libc_calloc(size_t count, size_t n);
extern "C" void *__libc_realloc(void *pointer, size_t n);
extern "C" void *__libc_memalign(size_t alignment, size_t n);

extern "C" void *malloc(size_t n) { return refused(n) ? nullptr : __libc_malloc(n); }
extern "C" void *calloc(size_t count, size_t n) { return refused(count * n) ? nullptr : __libc_calloc(count, n); }
extern "C" void *realloc(void *pointer, size_t n) { return refused(n) ? nullptr : __libc_realloc(pointer, n); }
extern "C" int posix_memalign(void **pointer, size_t alignment, size_t n) {
    *pointer = refused(n) ? nullptr : __libc_memalign(alignment, n);
    return *pointer ? 0 : ENOMEM;
}

extern "C" int open64(const char *path, int flags, ...) {
    static auto next = real<int (*)(const char *, int, ...)>("open64");
    va_list rest;
    va_start(rest, flags);
    const mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (inside(path) && struck("open", path)) return fails(EIO);
    return next(path, flags, mode);
}

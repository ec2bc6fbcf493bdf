#define _DEFAULT_SOURCE
#define _FILE_OFFSET_BITS 64

#include "zapcore_linux.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Values of u-dma-buf's sync_direction. */
enum { TO_DEVICE = 1, FROM_DEVICE = 2 };

static int fails(char *error, size_t bytes, const char *name, const char *reason)
{
    snprintf(error, bytes, "%s: %s", name, reason);
    return -1;
}

/* Read a number from a file of sysfs, decimal or hexadecimal. Returns 0, or -1 with errno. */
static int read_number(const char *folder, const char *name, uint64_t *number)
{
    char path[256], text[64], *end;
    ssize_t count;
    int file;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return -1;
    count = read(file, text, sizeof text - 1);
    close(file);
    if (count <= 0) {
        errno = EIO;
        return -1;
    }
    text[count] = 0;
    *number = strtoull(text, &end, 0);
    if (end == text) {
        errno = EINVAL;
        return -1;
    }
    return 0;
}

static void write_number(const char *folder, const char *name, uint64_t number)
{
    char path[256], text[32];
    int file, count;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (file < 0)
        return;
    count = snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    if (write(file, text, (size_t)count) != count)
        perror(path);
    close(file);
}

/* Have u-dma-buf maintain the caches for a part of the buffer. */
static void maintain(zapcore_linux *device, const uint8_t *first, size_t bytes, int direction,
                     const char *action)
{
    const uint64_t offset = (uint64_t)(first - device->core.window) + device->options.memory_at;

    write_number(device->sysfs, "sync_offset", offset);
    write_number(device->sysfs, "sync_size", bytes);
    write_number(device->sysfs, "sync_direction", (uint64_t)direction);
    write_number(device->sysfs, action, 1);
}

static void clean(void *context, const uint8_t *first, size_t bytes)
{
    maintain(context, first, bytes, TO_DEVICE, "sync_for_device");
}

static void invalidate(void *context, const uint8_t *first, size_t bytes)
{
    maintain(context, first, bytes, FROM_DEVICE, "sync_for_cpu");
}

static void wait_for_interrupt(zapcore_linux *device)
{
    const int timeout = device->options.timeout_ms ? (int)device->options.timeout_ms : 1000;
    struct pollfd ready = {.fd = device->registers_file, .events = POLLIN};
    const uint32_t unmask = 1;
    uint32_t count;

    /* UIO masks an interrupt when it happens. The core's is a level: if it is high by now, it
     * happens as soon as it is unmasked. */
    if (write(device->registers_file, &unmask, sizeof unmask) != sizeof unmask)
        return;
    if (poll(&ready, 1, timeout) == 1 &&
        read(device->registers_file, &count, sizeof count) != sizeof count)
        return;
}

static void wait(void *context, uint32_t looks)
{
    zapcore_linux *device = context;
    const long microseconds = device->options.sleep_us ? (long)device->options.sleep_us : 100;
    struct timespec pause = {microseconds / 1000000, microseconds % 1000000 * 1000};

    (void)looks;
    if (device->options.interrupts)
        wait_for_interrupt(device);
    else
        nanosleep(&pause, NULL);
}

/* Find out the size and the bus address of the memory. Returns 0, or -1 with a line in `error`. */
static int find_memory(zapcore_linux *device, char *error, size_t bytes)
{
    const zapcore_linux_options *options = &device->options;
    const char *name = strrchr(options->memory, '/');
    const char *root = options->sysfs ? options->sysfs : "/sys/class/u-dma-buf";
    uint64_t address = 0, size = 0;
    int length;

    name = name ? name + 1 : options->memory;
    length = snprintf(device->sysfs, sizeof device->sysfs, "%s/%s", root, name);
    if (length < 0 || (size_t)length >= sizeof device->sysfs)
        return fails(error, bytes, options->memory, "its name is too long");
    if (read_number(device->sysfs, "phys_addr", &address) == 0) {
        if (read_number(device->sysfs, "size", &size) != 0)
            return fails(error, bytes, device->sysfs, "has no file size");
        if (options->memory_at > size)
            return fails(error, bytes, options->memory, "memory_at lies beyond its end");
        size -= options->memory_at;
        address += options->memory_at;
    } else {
        device->sysfs[0] = 0;
        address = options->memory_at;
        size = options->size;
    }
    if (options->cached && device->sysfs[0] == 0)
        return fails(error, bytes, options->memory,
                     "cached memory needs u-dma-buf, which maintains the caches");
    if (options->size > size)
        return fails(error, bytes, options->memory, "it is smaller than the size that was asked for");
    if (options->size)
        size = options->size;
    if (size > UINT32_MAX)
        size = UINT32_MAX;
    device->core.size = (uint32_t)size / ZAPCORE_PAGE_BYTES * ZAPCORE_PAGE_BYTES;
    if (device->core.size == 0)
        return fails(error, bytes, options->memory, "a size of at least 4096 must be given");
    device->core.base = options->has_base ? options->base : address;
    return 0;
}

int zapcore_linux_open(zapcore_linux *device, const zapcore_linux_options *options, char *error,
                       size_t error_bytes)
{
    const int uncached = options->cached ? 0 : O_SYNC;
    const char *failed;
    void *mapped;

    memset(device, 0, sizeof *device);
    device->options = *options;
    device->registers_file = device->memory_file = -1;
    if (find_memory(device, error, error_bytes) != 0)
        return -1;

    failed = options->registers;
    device->registers_file = open(options->registers, O_RDWR | O_SYNC | O_CLOEXEC);
    if (device->registers_file < 0)
        goto system_error;
    mapped = mmap(NULL, ZAPCORE_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                  device->registers_file, (off_t)options->registers_at);
    if (mapped == MAP_FAILED)
        goto system_error;
    device->core.registers = mapped;

    failed = options->memory;
    device->memory_file = open(options->memory, O_RDWR | uncached | O_CLOEXEC);
    if (device->memory_file < 0)
        goto system_error;
    mapped = mmap(NULL, device->core.size, PROT_READ | PROT_WRITE, MAP_SHARED, device->memory_file,
                  (off_t)options->memory_at);
    if (mapped == MAP_FAILED)
        goto system_error;
    device->core.window = mapped;

    device->core.interrupts = options->interrupts;
    device->core.number = options->number;
    device->core.context = device;
    device->core.wait = wait;
    if (options->cached) {
        device->core.clean = clean;
        device->core.invalidate = invalidate;
    }
    return 0;

system_error:
    fails(error, error_bytes, failed, strerror(errno));
    zapcore_linux_close(device);
    return -1;
}

void zapcore_linux_close(zapcore_linux *device)
{
    if (device->core.registers)
        munmap((void *)(uintptr_t)device->core.registers, ZAPCORE_PAGE_BYTES);
    if (device->core.window)
        munmap(device->core.window, device->core.size);
    if (device->registers_file >= 0)
        close(device->registers_file);
    if (device->memory_file >= 0)
        close(device->memory_file);
    memset(device, 0, sizeof *device);
    device->registers_file = device->memory_file = -1;
}

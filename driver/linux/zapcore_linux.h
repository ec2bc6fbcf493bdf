/* The zapcore driver on Linux, in user space.
 *
 * The registers are a UIO device or a part of /dev/mem. The memory is a buffer that is contiguous on
 * the core's bus: one of u-dma-buf or a reserved part of /dev/mem.
 */
#ifndef ZAPCORE_LINUX_H
#define ZAPCORE_LINUX_H

#include "zapcore.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What to open. All members that are not set are zero. */
typedef struct {
    const char *registers; /* "/dev/uio0", or "/dev/mem" */
    uint64_t registers_at; /* in that file: 0 for UIO, the physical address for /dev/mem */
    const char *memory;    /* "/dev/udmabuf0", or "/dev/mem" */
    uint64_t memory_at;    /* in that file: 0 for u-dma-buf, the physical address for /dev/mem */
    uint32_t size;         /* bytes to use; 0 for all that u-dma-buf says there are */
    uint64_t base;         /* the memory's address on the core's bus, if `has_base` is not 0; else it
                            * is what u-dma-buf says, or memory_at */
    int has_base;
    int cached;            /* not 0: map the memory cached, and let u-dma-buf maintain the caches */
    uint32_t number;       /* of the core, where several run one program; its registers are a page of
                            * their own, at `registers_at` */
    int interrupts;        /* not 0: wait for UIO's interrupt instead of sleeping between looks */
    unsigned sleep_us;     /* between two looks; 0 for 100 */
    unsigned timeout_ms;   /* longest wait for one interrupt; 0 for 1000 */
    const char *sysfs;     /* null for "/sys/class/u-dma-buf" */
} zapcore_linux_options;

/* An open core. Hand `core` to the functions of zapcore.h. */
typedef struct {
    zapcore core;
    zapcore_linux_options options;
    int registers_file, memory_file;
    char sysfs[160]; /* the folder of the buffer; empty where it is none of u-dma-buf's */
} zapcore_linux;

/* Open and map everything. Returns 0; or -1, with one line that says what is wrong in `error`, and
 * nothing left open. */
int zapcore_linux_open(zapcore_linux *device, const zapcore_linux_options *options, char *error,
                       size_t error_bytes);

void zapcore_linux_close(zapcore_linux *device);

#ifdef __cplusplus
}
#endif
#endif

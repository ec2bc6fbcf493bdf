/* Driver of the zapcore accelerator, for processors without or with an operating system.
 *
 * C99. It allocates nothing, keeps no state of its own, and needs no library but memcpy. It runs on
 * little-endian and big-endian processors. The two headers that it includes are generated from the
 * hardware's description: `make driver` writes them beside a copy of these files.
 *
 *     zapcore core = {.registers = REGISTERS, .window = BUFFER, .base = BUS_ADDRESS, .size = BYTES};
 *     zapcore_program program;
 *     if ((status = zapcore_probe(&core)) == ZAPCORE_OK &&
 *         (status = zapcore_open(&program, file, file_bytes)) == ZAPCORE_OK &&
 *         (status = zapcore_load(&core, &program)) == ZAPCORE_OK) {
 *         zapcore_quantise(&core, &program, 0, pixels, ZAPCORE_HWC);
 *         status = zapcore_run(&core, &program, zapcore_point(&program, "default"), POLLS);
 *     }
 *     if (status == ZAPCORE_OK) puts(zapcore_class_name(&program, zapcore_class(&core, &program, 0)));
 *     else puts(zapcore_status_text(status));
 */
#ifndef ZAPCORE_H
#define ZAPCORE_H

#include <stddef.h>
#include <stdint.h>

#include "zapcore_file.h"
#include "zapcore_registers.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The outcome of a call. */
typedef enum {
    ZAPCORE_OK = 0,
    ZAPCORE_BUSY,          /* the program still runs */
    ZAPCORE_ABORTED,       /* the program was ended by zapcore_abort */
    ZAPCORE_FAULT,         /* the program was ended by a fault: see zapcore_last_fault */
    ZAPCORE_NO_CORE,       /* there is no core at these registers */
    ZAPCORE_OTHER_VERSION, /* the core runs programs of another version than this driver */
    ZAPCORE_BAD_WINDOW,    /* the window's address or size is no multiple of 4096 */
    ZAPCORE_NO_PROGRAM,    /* the file is no program */
    ZAPCORE_OTHER_FILE,    /* the file is of another version than this driver */
    ZAPCORE_TRUNCATED,     /* the file has another size than it says */
    ZAPCORE_DAMAGED,       /* the file's checksum does not match, or its parts lie outside it */
    ZAPCORE_TOO_LARGE,     /* the program needs a larger window */
    ZAPCORE_NO_POINT,      /* the program has no such operating point */
    ZAPCORE_NOT_STARTED,   /* nothing was started since the core's reset */
    ZAPCORE_HANGS,         /* the program did not end in time and was aborted */
    ZAPCORE_NO_IMAGE,      /* the program runs fewer images at a time */
    ZAPCORE_FEWER_CORES    /* the program is for fewer cores */
} zapcore_status;

/* A core, as the processor sees it. All members that are not set are zero. */
typedef struct {
    volatile uint32_t *registers; /* the page of registers; uncached */
    uint8_t *window;              /* the window's memory */
    uint64_t base;                /* the window's address on the core's bus, a multiple of 4096 */
    uint32_t size;                /* bytes of the window, a multiple of 4096 */
    int interrupts;               /* not 0: a program's end raises the interrupt */
    uint32_t number;              /* which of several cores that run one program; else 0 */

    /* Cache maintenance; null where the core's memory is not cached. `clean` makes what the
     * processor wrote visible to the core, `invalidate` the reverse. */
    void (*clean)(void *context, const uint8_t *first, size_t bytes);
    void (*invalidate)(void *context, const uint8_t *first, size_t bytes);

    /* Access to registers that are not mapped into memory; null where `registers` is set. */
    uint32_t (*read_register)(void *context, uint32_t offset);
    void (*write_register)(void *context, uint32_t offset, uint32_t value);

    /* Called while zapcore_run waits, with the number of looks at the core so far: sleep here, or
     * wait for the interrupt. Null to look again at once. */
    void (*wait)(void *context, uint32_t looks);

    void *context; /* handed to these functions */
} zapcore;

/* A program's file in memory. The file must stay there while the program is used. */
typedef struct {
    const uint8_t *file;
    uint32_t bytes;
} zapcore_program;

/* An input or output of a program. */
typedef struct {
    const char *name;
    uint32_t address; /* offset into the window */
    uint32_t bytes;
    uint32_t channels, height, width; /* of one image */
    int is_signed;
    float scale; /* value of one level */
    uint32_t slots, levels; /* offsets into the file */
    uint32_t image_bytes, plane_bytes, row_bytes; /* distances in the window */
} zapcore_tensor;

/* The fault that ended a program. */
typedef struct {
    uint32_t code;  /* one of ZAPCORE_FAULT_... */
    uint32_t word;  /* of a bad header or descriptor: the number of the first word at fault */
    uint32_t layer; /* number of the layer */
} zapcore_fault;

/* The order of the bytes of an image of 8-bit pixels. */
typedef enum {
    ZAPCORE_CHW, /* plane after plane, as in PyTorch */
    ZAPCORE_HWC  /* pixel after pixel, as cameras and picture files have it */
} zapcore_order;

/* Set-up. ------------------------------------------------------------------------------------- */

/* Check that there is a core of this driver's version, and that its window can be used. */
zapcore_status zapcore_probe(const zapcore *core);

/* Check a file and make a program of it. No offset in an accepted file leads outside of it. */
zapcore_status zapcore_open(zapcore_program *program, const void *file, size_t bytes);

/* Copy a program to the window. Needed once, and again after another program was loaded. */
zapcore_status zapcore_load(const zapcore *core, const zapcore_program *program);

/* Running. ------------------------------------------------------------------------------------ */

/* Cores that a program is for. Each needs a `zapcore` with a `number` of its own and the same window;
 * the program is loaded once. */
uint32_t zapcore_cores(const zapcore_program *program);

/* Images that a core runs at a time; they are counted from 0. */
uint32_t zapcore_images(const zapcore_program *program);

/* Quantise an image of 8-bit pixels into the program's input of that image. A run computes all of
 * them, those too that were not written since the run before. */
zapcore_status zapcore_quantise(const zapcore *core, const zapcore_program *program, uint32_t image,
                                const uint8_t *pixels, zapcore_order order);

/* Start an operating point. BUSY where a program still runs. */
zapcore_status zapcore_start(const zapcore *core, const zapcore_program *program, int point);

/* Say how far the program is: BUSY, OK, ABORTED, FAULT or NOT_STARTED. An end is reported until the
 * next start. Looks are slow for the core where it shares a bus with the processor: look rarely. */
zapcore_status zapcore_poll(const zapcore *core);

/* Start an operating point and wait for its end, with at most `looks` looks at the core. HANGS after
 * that: the program was aborted. The core can be used again unless zapcore_poll still says BUSY. */
zapcore_status zapcore_run(const zapcore *core, const zapcore_program *program, int point,
                           uint32_t looks);

/* Start an operating point on several cores, and wait for all of them with at most `looks` looks at
 * each. Returns OK, or what the first core that is not done says; zapcore_poll has the others. */
zapcore_status zapcore_run_all(const zapcore *cores, uint32_t count, const zapcore_program *program,
                               int point, uint32_t looks);

/* End the program early. zapcore_poll says when it has ended. */
void zapcore_abort(const zapcore *core);

/* Lower the interrupt until the next start; for an interrupt's handler. zapcore_poll still reports
 * the end. */
void zapcore_acknowledge(const zapcore *core);

/* Results. ------------------------------------------------------------------------------------ */

/* Make the results of a program that has ended visible to the processor. zapcore_run does so. */
void zapcore_finish(const zapcore *core, const zapcore_program *program);

/* The level of one element of an output, or of an input. */
int32_t zapcore_level(const zapcore *core, const zapcore_program *program,
                      const zapcore_tensor *tensor, uint32_t image, uint32_t channel, uint32_t row,
                      uint32_t column);

/* The class of an image by the first output: the channel with the highest level, the first of equal
 * ones. */
uint32_t zapcore_class(const zapcore *core, const zapcore_program *program, uint32_t image);

/* A counter of the last program by its number, ZAPCORE_COUNTER_... */
uint64_t zapcore_counter(const zapcore *core, uint32_t number);

/* The fault that ended the last program; its code is 0 if none did. */
zapcore_fault zapcore_last_fault(const zapcore *core);

/* The program's contents. --------------------------------------------------------------------- */

/* A word of the file's header, such as ZAPCORE_FILE_POINTS or ZAPCORE_FILE_MEMORY_BYTES. */
uint32_t zapcore_file_word(const zapcore_program *program, uint32_t offset);

/* Name of the network. */
const char *zapcore_network_name(const zapcore_program *program);

/* Number of the operating point of that name; -1 if there is none. */
int zapcore_point(const zapcore_program *program, const char *name);

/* Names by number; an empty string where there is no such number. */
const char *zapcore_point_name(const zapcore_program *program, uint32_t number);
const char *zapcore_layer_name(const zapcore_program *program, uint32_t number);
const char *zapcore_class_name(const zapcore_program *program, uint32_t number);

/* Input or output number `number` of its kind, ZAPCORE_FILE_INPUT or ZAPCORE_FILE_OUTPUT. Returns 0
 * where there is none. */
int zapcore_tensor_of(const zapcore_program *program, uint32_t kind, uint32_t number,
                      zapcore_tensor *tensor);

/* Texts in English. --------------------------------------------------------------------------- */
const char *zapcore_status_text(zapcore_status status);
const char *zapcore_fault_text(uint32_t code);
const char *zapcore_counter_name(uint32_t number);

#ifdef __cplusplus
}
#endif
#endif

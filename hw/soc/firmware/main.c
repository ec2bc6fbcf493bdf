/* Classifies images at every operating point, by polling and by interrupt, and compares every logit.
 *
 * In SDRAM, TABLE_OFFSET bytes from its beginning, lies a table (`struct table`), and behind it the
 * program's file, the images and the logits that golden gives. At last a fault and an abort are
 * provoked, and a run after each of them must be right. The last line is `all right`, or says what is
 * wrong.
 */
#include <generated/csr.h>
#include <generated/mem.h>
#include <generated/soc.h>

#include "zapcore.h"

#define LOOKS 1000000u
#ifdef CONFIG_CPU_HAS_DCACHE
#define DCACHE_FLUSH() __asm__ volatile(".word 0x500F\nnop\nnop\nnop\nnop\nnop\n" ::: "memory")
#else
#define DCACHE_FLUSH() __asm__ volatile("" ::: "memory")
#endif

struct table {
    uint32_t magic, program, program_bytes, images, image_bytes, pixels, logits, classes;
    uint32_t window, window_bytes;
};

static const struct table *const table = (const struct table *)(MAIN_RAM_BASE + TABLE_OFFSET);
static const uint8_t *const memory = (const uint8_t *)(MAIN_RAM_BASE + TABLE_OFFSET);
static volatile int ended;
static zapcore core;

/* What the driver calls but a freestanding compiler does not bring. */
void *memcpy(void *target, const void *source, size_t bytes)
{
    uint8_t *to = target;
    const uint8_t *from = source;

    while (bytes--)
        *to++ = *from++;
    return target;
}

static void print(const char *text)
{
    for (; *text; text++) {
        while (uart_txfull_read())
            ;
        uart_rxtx_write((uint32_t)(uint8_t)*text);
    }
}

static void print_number(uint32_t number)
{
    char digits[11];
    int at = 10;

    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    print(digits + at);
}

static uint32_t now(void)
{
    timer0_update_value_write(1);
    return ~timer0_value_read();
}

static void finish(const char *text)
{
    print(text);
    print("\n");
    while (!uart_txempty_read())
        ;
#ifdef RESET_AT_END
    ctrl_reset_write(1);
#endif
    for (;;)
        ;
}

/* The level-2 cache is written back where its lines are replaced: read as much as it holds, twice. */
static void flush_level_2(void)
{
    uint32_t word;

    for (word = 0; word < 2 * CONFIG_L2_SIZE / 4; word++)
        (void)((volatile const uint32_t *)MAIN_RAM_BASE)[word];
}

/* The processor's own cache writes through, so writing back is a matter of level 2. */
static void clean(void *context, const uint8_t *first, size_t bytes)
{
    (void)context, (void)first, (void)bytes;
    flush_level_2();
}

static void invalidate(void *context, const uint8_t *first, size_t bytes)
{
    (void)context, (void)first, (void)bytes;
    DCACHE_FLUSH();
    flush_level_2();
    DCACHE_FLUSH();
}

/* Called by start.S. */
void on_interrupt(void)
{
    zapcore_acknowledge(&core);
    ended = 1;
}

static void wait(void *context, uint32_t looks)
{
    uint32_t pause;

    (void)context, (void)looks;
    if (core.interrupts) {
        while (!ended)
            ;
        return;
    }
    for (pause = 0; pause < 500; pause++) /* the core shares the bus that looks go over */
        __asm__ volatile("nop");
}

static void use_interrupt(int yes)
{
    uint32_t mask = yes ? 1u << ZAPCORE_INTERRUPT : 0;

    core.interrupts = yes;
    zapcore_ev_enable_write((uint32_t)yes);
    __asm__ volatile("csrw 0xBC0, %0" ::"r"(mask));
    __asm__ volatile("csrw mie, %0" ::"r"(yes ? 0x800 : 0));
    if (yes)
        __asm__ volatile("csrsi mstatus, 8");
    else
        __asm__ volatile("csrci mstatus, 8");
}

/* Run one image, and compare its logits. Returns 1 if all is right. */
static int classify(const zapcore_program *program, int point, uint32_t image)
{
    const uint32_t at = ((uint32_t)point * table->images + image) * table->classes;
    const int8_t *expected = (const int8_t *)memory + table->logits + at;
    zapcore_tensor output;
    zapcore_status status;
    uint32_t begun, prepared, run, channel;

    begun = now();
    zapcore_quantise(&core, program, 0, memory + table->pixels + image * table->image_bytes,
                     ZAPCORE_CHW);
    prepared = now();
    ended = 0;
    status = zapcore_run(&core, program, point, LOOKS);
    run = now();
    if (status != ZAPCORE_OK) {
        print(zapcore_status_text(status));
        print("\n");
        return 0;
    }
    zapcore_tensor_of(program, ZAPCORE_FILE_OUTPUT, 0, &output);
    for (channel = 0; channel < table->classes; channel++)
        if (zapcore_level(&core, program, &output, 0, channel, 0, 0) != expected[channel]) {
            print("a logit differs from golden's\n");
            return 0;
        }
    print(zapcore_point_name(program, (uint32_t)point));
    print(core.interrupts ? ", by interrupt" : ", by polling");
    print(", image ");
    print_number(image);
    print(": class ");
    print(zapcore_class_name(program, zapcore_class(&core, program, 0)));
    print(", logits equal golden's, core ");
    print_number((uint32_t)zapcore_counter(&core, ZAPCORE_COUNTER_ELAPSED));
    print(" cycles, start to result ");
    print_number(run - prepared);
    print(", processor before that ");
    print_number(prepared - begun);
    print("\n");
    return 1;
}

/* A window that is too small for the program is a fault that names a layer. */
static int bounds(const zapcore_program *program)
{
    const uint32_t whole = core.size;
    zapcore_status status;
    zapcore_fault fault;

    core.size = ZAPCORE_PAGE_BYTES;
    ended = 0;
    status = zapcore_run(&core, program, 0, LOOKS);
    core.size = whole;
    fault = zapcore_last_fault(&core);
    if (status != ZAPCORE_FAULT || fault.code != ZAPCORE_FAULT_BOUNDS)
        return 0;
    print("window too small, layer ");
    print(zapcore_layer_name(program, fault.layer));
    print(": ");
    print(zapcore_fault_text(fault.code));
    print("\n");
    return 1;
}

static int aborted(const zapcore_program *program)
{
    zapcore_status status;

    use_interrupt(0);
    if (zapcore_start(&core, program, 0) != ZAPCORE_OK)
        return 0;
    zapcore_abort(&core);
    do
        status = zapcore_poll(&core);
    while (status == ZAPCORE_BUSY);
    print("aborted: ");
    print(zapcore_status_text(status));
    print("\n");
    return status == ZAPCORE_ABORTED;
}

int main(void)
{
    zapcore_program program;
    zapcore_status status;
    uint32_t point, image;
    int interrupts;

    timer0_reload_write(0xFFFFFFFF);
    timer0_load_write(0xFFFFFFFF);
    timer0_en_write(1);
    core.registers = (volatile uint32_t *)ZAPCORE_REGISTERS_BASE;
    core.window = (uint8_t *)memory + table->window;
    core.base = MAIN_RAM_BASE + TABLE_OFFSET + table->window;
    core.size = table->window_bytes;
    core.clean = clean;
    core.invalidate = invalidate;
    core.wait = wait;

    status = zapcore_probe(&core);
    if (status == ZAPCORE_OK)
        status = zapcore_open(&program, memory + table->program, table->program_bytes);
    if (status == ZAPCORE_OK)
        status = zapcore_load(&core, &program);
    if (status != ZAPCORE_OK)
        finish(zapcore_status_text(status));
    print("program ");
    print(zapcore_network_name(&program));
    print(" is loaded\n");

    for (point = 0; point < zapcore_file_word(&program, ZAPCORE_FILE_POINTS); point++)
        for (interrupts = 0; interrupts < 2; interrupts++) {
            use_interrupt(interrupts);
            for (image = 0; image < table->images; image++)
                if (!classify(&program, (int)point, image))
                    finish("wrong");
        }
    if (!bounds(&program) || !classify(&program, 0, 0))
        finish("wrong after a fault");
    if (!aborted(&program) || !classify(&program, 0, 0))
        finish("wrong after an abort");
    finish("all right");
    return 0;
}

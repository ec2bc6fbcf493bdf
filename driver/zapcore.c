#include "zapcore.h"

/* A freestanding compiler has no string.h, but calls memcpy all the same. */
void *memcpy(void *target, const void *source, size_t bytes);

#define WORD 4u

/* Registers ------------------------------------------------------------------------------------ */

static uint32_t get(const zapcore *core, uint32_t offset)
{
    if (core->read_register)
        return core->read_register(core->context, offset);
    return core->registers[offset / WORD];
}

static void set(const zapcore *core, uint32_t offset, uint32_t value)
{
    if (core->write_register)
        core->write_register(core->context, offset, value);
    else
        core->registers[offset / WORD] = value;
}

static void clean(const zapcore *core, uint32_t first, uint32_t bytes)
{
    if (core->clean)
        core->clean(core->context, core->window + first, bytes);
}

static void invalidate(const zapcore *core, uint32_t first, uint32_t bytes)
{
    if (core->invalidate)
        core->invalidate(core->context, core->window + first, bytes);
}

/* The file ------------------------------------------------------------------------------------- */

static uint32_t word_at(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static uint32_t file_word(const zapcore_program *program, uint32_t offset)
{
    return word_at(program->file + offset);
}

static const char *text_at(const zapcore_program *program, uint32_t offset)
{
    return (const char *)program->file + offset;
}

/* CRC-32 of zlib, bit by bit: a table would take 1 KiB, and a file is checked once. */
static uint32_t crc32(uint32_t crc, const uint8_t *bytes, size_t count)
{
    size_t number;
    int bit;

    crc = ~crc;
    for (number = 0; number < count; number++) {
        crc ^= bytes[number];
        for (bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1u ? 0xEDB88320u : 0u);
    }
    return ~crc;
}

/* Whether `count` parts of `each` bytes from `first` on lie in a file. */
static int within(const zapcore_program *program, uint32_t first, uint32_t count, uint32_t each)
{
    return first <= program->bytes && (uint64_t)count * each <= program->bytes - first;
}

/* Whether a string begins at `first` and ends in the file. */
static int is_text(const zapcore_program *program, uint32_t first)
{
    for (; first < program->bytes; first++)
        if (program->file[first] == 0)
            return 1;
    return 0;
}

/* Whether every string of a table lies in the file; `each` is the distance between their offsets. */
static int are_texts(const zapcore_program *program, uint32_t table, uint32_t count, uint32_t each)
{
    uint32_t number;

    if (!within(program, table, count, each))
        return 0;
    for (number = 0; number < count; number++)
        if (!is_text(program, file_word(program, table + number * each)))
            return 0;
    return 1;
}

/* Whether `count` steps of `bytes` bytes each, the last of them not made, stay below `end`. */
static int steps_within(uint32_t count, uint32_t bytes, uint32_t end)
{
    return (uint64_t)(count - 1) * bytes < end;
}

static int is_tensor(const zapcore_program *program, uint32_t at)
{
    const uint32_t memory = file_word(program, ZAPCORE_FILE_MEMORY_BYTES) -
                            (file_word(program, ZAPCORE_FILE_CORES) - 1) *
                                file_word(program, ZAPCORE_FILE_CORE_BYTES);
    const uint32_t group = file_word(program, ZAPCORE_FILE_GROUP);
    const uint32_t address = file_word(program, at + ZAPCORE_FILE_TENSOR_ADDRESS);
    const uint32_t bytes = file_word(program, at + ZAPCORE_FILE_TENSOR_BYTES);
    const uint32_t channels = file_word(program, at + ZAPCORE_FILE_TENSOR_CHANNELS);
    const uint32_t height = file_word(program, at + ZAPCORE_FILE_TENSOR_HEIGHT);
    const uint32_t width = file_word(program, at + ZAPCORE_FILE_TENSOR_WIDTH);
    const uint32_t slots = file_word(program, at + ZAPCORE_FILE_TENSOR_SLOTS_OFFSET);
    const uint32_t levels = file_word(program, at + ZAPCORE_FILE_TENSOR_LEVELS_OFFSET);
    const uint32_t plane = file_word(program, at + ZAPCORE_FILE_TENSOR_PLANE_BYTES);
    const uint32_t images = file_word(program, ZAPCORE_FILE_IMAGES);
    uint32_t channel;

    if (!is_text(program, file_word(program, at + ZAPCORE_FILE_TENSOR_NAME)))
        return 0;
    if (address > memory || bytes > memory - address || channels == 0 || height == 0 || width == 0)
        return 0;
    /* All images lie in a plane: the last pixel of the last row of the last image too. */
    if (plane == 0 || plane > bytes ||
        !steps_within(images, file_word(program, at + ZAPCORE_FILE_TENSOR_IMAGE_BYTES), plane) ||
        !steps_within(height, file_word(program, at + ZAPCORE_FILE_TENSOR_ROW_BYTES), plane) ||
        !steps_within(width, group, plane) ||
        (uint64_t)(images - 1) * file_word(program, at + ZAPCORE_FILE_TENSOR_IMAGE_BYTES) +
                (uint64_t)(height - 1) * file_word(program, at + ZAPCORE_FILE_TENSOR_ROW_BYTES) +
                (uint64_t)width * group > plane)
        return 0;
    if (!within(program, slots, channels, WORD))
        return 0;
    for (channel = 0; channel < channels; channel++) {
        const uint32_t slot = file_word(program, slots + WORD * channel);
        if (slot / group >= bytes / plane)
            return 0;
    }
    if (file_word(program, at + ZAPCORE_FILE_TENSOR_KIND) == ZAPCORE_FILE_INPUT)
        return within(program, levels, channels, ZAPCORE_FILE_LEVELS);
    return 1;
}

zapcore_status zapcore_open(zapcore_program *program, const void *file, size_t bytes)
{
    static const uint8_t zero[WORD] = {0, 0, 0, 0};
    const uint32_t after = ZAPCORE_FILE_CHECKSUM + WORD;
    uint32_t crc, number, tensors, image, memory;

    program->file = file;
    program->bytes = 0;
    if (bytes < ZAPCORE_FILE_HEADER_SIZE ||
        file_word(program, ZAPCORE_FILE_MAGIC) != ZAPCORE_FILE_MAGIC_VALUE)
        return ZAPCORE_NO_PROGRAM;
    if (file_word(program, ZAPCORE_FILE_FILE_VERSION) != ZAPCORE_FILE_VERSION_VALUE ||
        file_word(program, ZAPCORE_FILE_PROGRAM_VERSION) != ZAPCORE_VERSION_VALUE)
        return ZAPCORE_OTHER_FILE;
    if (file_word(program, ZAPCORE_FILE_FILE_BYTES) != bytes)
        return ZAPCORE_TRUNCATED;
    crc = crc32(0, program->file, ZAPCORE_FILE_CHECKSUM);
    crc = crc32(crc, zero, WORD);
    crc = crc32(crc, program->file + after, bytes - after);
    if (crc != file_word(program, ZAPCORE_FILE_CHECKSUM))
        return ZAPCORE_DAMAGED;

    program->bytes = (uint32_t)bytes;
    image = file_word(program, ZAPCORE_FILE_IMAGE_BYTES);
    memory = file_word(program, ZAPCORE_FILE_MEMORY_BYTES);
    tensors = file_word(program, ZAPCORE_FILE_TENSORS_OFFSET);
    if (file_word(program, ZAPCORE_FILE_GROUP) == 0 || image > memory ||
        file_word(program, ZAPCORE_FILE_IMAGES) == 0 ||
        file_word(program, ZAPCORE_FILE_CORES) == 0 ||
        !steps_within(file_word(program, ZAPCORE_FILE_CORES),
                      file_word(program, ZAPCORE_FILE_CORE_BYTES), memory) ||
        !within(program, file_word(program, ZAPCORE_FILE_IMAGE_OFFSET), image, 1) ||
        !is_text(program, file_word(program, ZAPCORE_FILE_NETWORK)) ||
        !are_texts(program, file_word(program, ZAPCORE_FILE_POINTS_OFFSET),
                   file_word(program, ZAPCORE_FILE_POINTS), ZAPCORE_FILE_POINT_SIZE) ||
        !are_texts(program, file_word(program, ZAPCORE_FILE_LAYERS_OFFSET),
                   file_word(program, ZAPCORE_FILE_LAYERS), WORD) ||
        !are_texts(program, file_word(program, ZAPCORE_FILE_CLASSES_OFFSET),
                   file_word(program, ZAPCORE_FILE_CLASSES), WORD) ||
        !within(program, tensors, file_word(program, ZAPCORE_FILE_TENSORS), ZAPCORE_FILE_TENSOR_SIZE))
        goto damaged;
    for (number = 0; number < file_word(program, ZAPCORE_FILE_TENSORS); number++)
        if (!is_tensor(program, tensors + number * ZAPCORE_FILE_TENSOR_SIZE))
            goto damaged;
    return ZAPCORE_OK;

damaged:
    program->bytes = 0;
    return ZAPCORE_DAMAGED;
}

zapcore_status zapcore_probe(const zapcore *core)
{
    if (get(core, ZAPCORE_ID) != ZAPCORE_ID_VALUE)
        return ZAPCORE_NO_CORE;
    if (get(core, ZAPCORE_VERSION) != ZAPCORE_VERSION_VALUE)
        return ZAPCORE_OTHER_VERSION;
    if (core->base % ZAPCORE_PAGE_BYTES || core->size % ZAPCORE_PAGE_BYTES || core->size == 0)
        return ZAPCORE_BAD_WINDOW;
    return ZAPCORE_OK;
}

zapcore_status zapcore_load(const zapcore *core, const zapcore_program *program)
{
    const uint32_t bytes = file_word(program, ZAPCORE_FILE_IMAGE_BYTES);

    if (file_word(program, ZAPCORE_FILE_MEMORY_BYTES) > core->size)
        return ZAPCORE_TOO_LARGE;
    memcpy(core->window, program->file + file_word(program, ZAPCORE_FILE_IMAGE_OFFSET), bytes);
    clean(core, 0, bytes);
    return ZAPCORE_OK;
}

/* Running -------------------------------------------------------------------------------------- */

uint32_t zapcore_cores(const zapcore_program *program)
{
    return file_word(program, ZAPCORE_FILE_CORES);
}

/* Where in the window a core's own tensor lies. */
static uint32_t address_of(const zapcore *core, const zapcore_program *program,
                           const zapcore_tensor *tensor)
{
    return tensor->address + core->number * file_word(program, ZAPCORE_FILE_CORE_BYTES);
}

/* Where in the window one element of it lies. */
static uint32_t place_of(const zapcore *core, const zapcore_program *program,
                         const zapcore_tensor *tensor, uint32_t image, uint32_t channel,
                         uint32_t row, uint32_t column)
{
    const uint32_t group = file_word(program, ZAPCORE_FILE_GROUP);
    const uint32_t slot = file_word(program, tensor->slots + WORD * channel);

    return address_of(core, program, tensor) + image * tensor->image_bytes +
           slot / group * tensor->plane_bytes + row * tensor->row_bytes + column * group +
           slot % group;
}

uint32_t zapcore_images(const zapcore_program *program)
{
    return file_word(program, ZAPCORE_FILE_IMAGES);
}

/* Write zeros to an image's part of the input: channels that fill the last plane stay so. */
static void clear(const zapcore *core, const zapcore_program *program, const zapcore_tensor *input,
                  uint32_t image)
{
    const uint32_t row_end = input->width * file_word(program, ZAPCORE_FILE_GROUP);
    uint32_t plane, row, number;

    for (plane = 0; plane < input->bytes / input->plane_bytes; plane++)
        for (row = 0; row < input->height; row++)
            for (number = 0; number < row_end; number++)
                core->window[address_of(core, program, input) + image * input->image_bytes +
                             plane * input->plane_bytes + row * input->row_bytes + number] = 0;
}

zapcore_status zapcore_quantise(const zapcore *core, const zapcore_program *program, uint32_t image,
                                const uint8_t *pixels, zapcore_order order)
{
    zapcore_tensor input;
    uint32_t channel, row, column;

    if (!zapcore_tensor_of(program, ZAPCORE_FILE_INPUT, 0, &input))
        return ZAPCORE_DAMAGED;
    if (core->number >= zapcore_cores(program))
        return ZAPCORE_FEWER_CORES;
    if (address_of(core, program, &input) + input.bytes > core->size)
        return ZAPCORE_TOO_LARGE;
    if (image >= zapcore_images(program))
        return ZAPCORE_NO_IMAGE;
    clear(core, program, &input, image);
    for (channel = 0; channel < input.channels; channel++) {
        const uint8_t *levels = program->file + input.levels + channel * ZAPCORE_FILE_LEVELS;

        for (row = 0; row < input.height; row++) {
            for (column = 0; column < input.width; column++) {
                const size_t pixel = (size_t)row * input.width + column;
                const size_t plane = (size_t)input.height * input.width;
                const size_t at = order == ZAPCORE_HWC ? pixel * input.channels + channel
                                                       : channel * plane + pixel;

                core->window[place_of(core, program, &input, image, channel, row, column)] =
                    levels[pixels[at]];
            }
        }
    }
    clean(core, address_of(core, program, &input), input.bytes);
    return ZAPCORE_OK;
}

#define EVENTS                                                                                 \
    (ZAPCORE_INTERRUPT_STATUS_DONE_MASK | ZAPCORE_INTERRUPT_STATUS_ERROR_MASK |                \
     ZAPCORE_INTERRUPT_STATUS_ABORTED_MASK)

zapcore_status zapcore_start(const zapcore *core, const zapcore_program *program, int point)
{
    if (point < 0 || (uint32_t)point >= file_word(program, ZAPCORE_FILE_POINTS))
        return ZAPCORE_NO_POINT;
    if (core->number >= zapcore_cores(program))
        return ZAPCORE_FEWER_CORES;
    if (get(core, ZAPCORE_STATUS) & ZAPCORE_STATUS_BUSY_MASK)
        return ZAPCORE_BUSY;
    set(core, ZAPCORE_INTERRUPT_STATUS, EVENTS);
    set(core, ZAPCORE_INTERRUPT_ENABLE, core->interrupts ? EVENTS : 0);
    set(core, ZAPCORE_BASE_LOW, (uint32_t)core->base);
    set(core, ZAPCORE_BASE_HIGH, (uint32_t)(core->base >> 32));
    set(core, ZAPCORE_SIZE, core->size);
    set(core, ZAPCORE_PROGRAM,
        core->number * file_word(program, ZAPCORE_FILE_CORE_HEADERS));
    set(core, ZAPCORE_POINT, (uint32_t)point);
    set(core, ZAPCORE_CONTROL, ZAPCORE_CONTROL_START_MASK);
    return ZAPCORE_OK;
}

zapcore_status zapcore_poll(const zapcore *core)
{
    uint32_t events;

    if (get(core, ZAPCORE_STATUS) & ZAPCORE_STATUS_BUSY_MASK)
        return ZAPCORE_BUSY;
    events = get(core, ZAPCORE_INTERRUPT_STATUS);
    if (events & ZAPCORE_INTERRUPT_STATUS_ERROR_MASK)
        return ZAPCORE_FAULT;
    if (events & ZAPCORE_INTERRUPT_STATUS_ABORTED_MASK)
        return ZAPCORE_ABORTED;
    return events & ZAPCORE_INTERRUPT_STATUS_DONE_MASK ? ZAPCORE_OK : ZAPCORE_NOT_STARTED;
}

/* Look at the core until no program runs, at most so many times. */
static zapcore_status wait_for_end(const zapcore *core, uint32_t looks)
{
    zapcore_status status = ZAPCORE_BUSY;
    uint32_t number;

    for (number = 0; number < looks; number++) {
        status = zapcore_poll(core);
        if (status != ZAPCORE_BUSY)
            break;
        if (core->wait)
            core->wait(core->context, number);
    }
    return status;
}

/* Wait for the end of what was started. */
static zapcore_status end_of(const zapcore *core, const zapcore_program *program, uint32_t looks)
{
    const zapcore_status status = wait_for_end(core, looks);

    if (status == ZAPCORE_BUSY) {
        zapcore_abort(core);
        wait_for_end(core, looks);
        return ZAPCORE_HANGS;
    }
    if (status == ZAPCORE_OK)
        zapcore_finish(core, program);
    return status;
}

zapcore_status zapcore_run(const zapcore *core, const zapcore_program *program, int point,
                           uint32_t looks)
{
    const zapcore_status status = zapcore_start(core, program, point);

    return status == ZAPCORE_OK ? end_of(core, program, looks) : status;
}

zapcore_status zapcore_run_all(const zapcore *cores, uint32_t count, const zapcore_program *program,
                               int point, uint32_t looks)
{
    zapcore_status first = ZAPCORE_OK, status;
    uint32_t started, number;

    for (started = 0; started < count && first == ZAPCORE_OK; started++)
        first = zapcore_start(&cores[started], program, point);
    if (first != ZAPCORE_OK)
        started--; /* the last one was not */
    for (number = 0; number < started; number++) {
        status = end_of(&cores[number], program, looks);
        if (first == ZAPCORE_OK)
            first = status;
    }
    return first;
}

void zapcore_abort(const zapcore *core)
{
    set(core, ZAPCORE_CONTROL, ZAPCORE_CONTROL_ABORT_MASK);
}

void zapcore_acknowledge(const zapcore *core)
{
    set(core, ZAPCORE_INTERRUPT_ENABLE, 0);
}

/* Results -------------------------------------------------------------------------------------- */

void zapcore_finish(const zapcore *core, const zapcore_program *program)
{
    zapcore_tensor output;
    uint32_t number;

    for (number = 0; zapcore_tensor_of(program, ZAPCORE_FILE_OUTPUT, number, &output); number++)
        invalidate(core, address_of(core, program, &output), output.bytes);
}

int32_t zapcore_level(const zapcore *core, const zapcore_program *program,
                      const zapcore_tensor *tensor, uint32_t image, uint32_t channel, uint32_t row,
                      uint32_t column)
{
    const uint8_t byte = core->window[place_of(core, program, tensor, image, channel, row, column)];

    return tensor->is_signed && byte >= 128 ? (int32_t)byte - 256 : byte;
}

uint32_t zapcore_class(const zapcore *core, const zapcore_program *program, uint32_t image)
{
    zapcore_tensor output;
    uint32_t channel, best = 0;
    int32_t highest = 0;

    if (!zapcore_tensor_of(program, ZAPCORE_FILE_OUTPUT, 0, &output))
        return 0;
    for (channel = 0; channel < output.channels; channel++) {
        const int32_t level = zapcore_level(core, program, &output, image, channel, 0, 0);

        if (channel == 0 || level > highest) {
            best = channel;
            highest = level;
        }
    }
    return best;
}

uint64_t zapcore_counter(const zapcore *core, uint32_t number)
{
    const uint32_t at = ZAPCORE_COUNTERS + 8 * number;

    return get(core, at) | (uint64_t)get(core, at + WORD) << 32;
}

zapcore_fault zapcore_last_fault(const zapcore *core)
{
    const uint32_t word = get(core, ZAPCORE_ERROR);
    zapcore_fault fault;

    fault.code = (word & ZAPCORE_ERROR_CODE_MASK) >> ZAPCORE_ERROR_CODE_SHIFT;
    fault.word = (word & ZAPCORE_ERROR_WORD_MASK) >> ZAPCORE_ERROR_WORD_SHIFT;
    fault.layer = (word & ZAPCORE_ERROR_LAYER_MASK) >> ZAPCORE_ERROR_LAYER_SHIFT;
    return fault;
}

/* Contents ------------------------------------------------------------------------------------- */

uint32_t zapcore_file_word(const zapcore_program *program, uint32_t offset)
{
    return file_word(program, offset);
}

const char *zapcore_network_name(const zapcore_program *program)
{
    return text_at(program, file_word(program, ZAPCORE_FILE_NETWORK));
}

/* The name with that number in a table of names; `each` is the distance between their offsets. */
static const char *name_in(const zapcore_program *program, uint32_t table, uint32_t count,
                           uint32_t each, uint32_t number)
{
    if (number >= file_word(program, count))
        return "";
    return text_at(program, file_word(program, file_word(program, table) + number * each));
}

const char *zapcore_point_name(const zapcore_program *program, uint32_t number)
{
    return name_in(program, ZAPCORE_FILE_POINTS_OFFSET, ZAPCORE_FILE_POINTS,
                   ZAPCORE_FILE_POINT_SIZE, number);
}

const char *zapcore_layer_name(const zapcore_program *program, uint32_t number)
{
    return name_in(program, ZAPCORE_FILE_LAYERS_OFFSET, ZAPCORE_FILE_LAYERS, WORD, number);
}

const char *zapcore_class_name(const zapcore_program *program, uint32_t number)
{
    return name_in(program, ZAPCORE_FILE_CLASSES_OFFSET, ZAPCORE_FILE_CLASSES, WORD, number);
}

static int same_text(const char *one, const char *other)
{
    while (*one && *one == *other) {
        one++;
        other++;
    }
    return *one == *other;
}

int zapcore_point(const zapcore_program *program, const char *name)
{
    const uint32_t count = file_word(program, ZAPCORE_FILE_POINTS);
    uint32_t number;

    for (number = 0; number < count; number++)
        if (same_text(zapcore_point_name(program, number), name))
            return (int)number;
    return -1;
}

int zapcore_tensor_of(const zapcore_program *program, uint32_t kind, uint32_t number,
                      zapcore_tensor *tensor)
{
    const uint32_t count = file_word(program, ZAPCORE_FILE_TENSORS);
    uint32_t at = file_word(program, ZAPCORE_FILE_TENSORS_OFFSET);
    uint32_t position, scale;

    for (position = 0; position < count; position++, at += ZAPCORE_FILE_TENSOR_SIZE) {
        if (file_word(program, at + ZAPCORE_FILE_TENSOR_KIND) != kind || number-- != 0)
            continue;
        scale = file_word(program, at + ZAPCORE_FILE_TENSOR_SCALE);
        tensor->name = text_at(program, file_word(program, at + ZAPCORE_FILE_TENSOR_NAME));
        tensor->address = file_word(program, at + ZAPCORE_FILE_TENSOR_ADDRESS);
        tensor->bytes = file_word(program, at + ZAPCORE_FILE_TENSOR_BYTES);
        tensor->channels = file_word(program, at + ZAPCORE_FILE_TENSOR_CHANNELS);
        tensor->height = file_word(program, at + ZAPCORE_FILE_TENSOR_HEIGHT);
        tensor->width = file_word(program, at + ZAPCORE_FILE_TENSOR_WIDTH);
        tensor->is_signed = file_word(program, at + ZAPCORE_FILE_TENSOR_IS_SIGNED) != 0;
        memcpy(&tensor->scale, &scale, sizeof scale);
        tensor->slots = file_word(program, at + ZAPCORE_FILE_TENSOR_SLOTS_OFFSET);
        tensor->levels = file_word(program, at + ZAPCORE_FILE_TENSOR_LEVELS_OFFSET);
        tensor->image_bytes = file_word(program, at + ZAPCORE_FILE_TENSOR_IMAGE_BYTES);
        tensor->plane_bytes = file_word(program, at + ZAPCORE_FILE_TENSOR_PLANE_BYTES);
        tensor->row_bytes = file_word(program, at + ZAPCORE_FILE_TENSOR_ROW_BYTES);
        return 1;
    }
    return 0;
}

/* Texts ---------------------------------------------------------------------------------------- */

const char *zapcore_status_text(zapcore_status status)
{
    switch (status) {
    case ZAPCORE_OK: return "done";
    case ZAPCORE_BUSY: return "a program still runs";
    case ZAPCORE_ABORTED: return "the program was aborted";
    case ZAPCORE_FAULT: return "the program was ended by a fault";
    case ZAPCORE_NO_CORE: return "there is no zapcore at these registers";
    case ZAPCORE_OTHER_VERSION: return "the core runs programs of another version than this driver";
    case ZAPCORE_BAD_WINDOW: return "the window's address or size is no multiple of 4096, or 0";
    case ZAPCORE_NO_PROGRAM: return "the file is not a zapcore program";
    case ZAPCORE_OTHER_FILE: return "the file is of another version than this driver; compile again";
    case ZAPCORE_TRUNCATED: return "the file has another size than it says; copy it again";
    case ZAPCORE_DAMAGED: return "the file is damaged; copy it again";
    case ZAPCORE_TOO_LARGE: return "the program needs a larger window";
    case ZAPCORE_NO_POINT: return "the program has no such operating point";
    case ZAPCORE_NOT_STARTED: return "nothing was started since the core's reset";
    case ZAPCORE_HANGS: return "the program did not end in time and was aborted";
    case ZAPCORE_NO_IMAGE: return "the program runs fewer images at a time";
    case ZAPCORE_FEWER_CORES: return "the program is for fewer cores";
    }
    return "unknown status";
}

const char *zapcore_fault_text(uint32_t code)
{
    static const char *const texts[] = ZAPCORE_FAULT_TEXTS;

    return code < sizeof texts / sizeof texts[0] ? texts[code] : "unknown fault";
}

const char *zapcore_counter_name(uint32_t number)
{
    static const char *const names[] = ZAPCORE_COUNTER_NAMES;

    return number < sizeof names / sizeof names[0] ? names[number] : "";
}

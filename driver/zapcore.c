#include "zapcore.h"

#include <string.h>

#define PAGE 4096u
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

static int is_tensor(const zapcore_program *program, uint32_t at)
{
    const uint32_t memory = file_word(program, ZAPCORE_FILE_MEMORY_BYTES);
    const uint32_t group = file_word(program, ZAPCORE_FILE_GROUP);
    const uint32_t address = file_word(program, at + ZAPCORE_TENSOR_ADDRESS);
    const uint32_t bytes = file_word(program, at + ZAPCORE_TENSOR_BYTES);
    const uint32_t channels = file_word(program, at + ZAPCORE_TENSOR_CHANNELS);
    const uint32_t height = file_word(program, at + ZAPCORE_TENSOR_HEIGHT);
    const uint32_t width = file_word(program, at + ZAPCORE_TENSOR_WIDTH);
    const uint32_t slots = file_word(program, at + ZAPCORE_TENSOR_SLOTS_OFFSET);
    const uint32_t levels = file_word(program, at + ZAPCORE_TENSOR_LEVELS_OFFSET);
    uint32_t channel;

    if (!is_text(program, file_word(program, at + ZAPCORE_TENSOR_NAME)))
        return 0;
    if (address > memory || bytes > memory - address || channels == 0 || height == 0 || width == 0)
        return 0;
    /* A plane of at most 2^32 bytes that lies in memory has sizes whose product does not overflow. */
    if (height > bytes || width > bytes / height || group > bytes / (height * width))
        return 0;
    if (!within(program, slots, channels, WORD))
        return 0;
    for (channel = 0; channel < channels; channel++) {
        const uint32_t slot = file_word(program, slots + WORD * channel);
        if (slot / group >= bytes / (height * width * group))
            return 0;
    }
    if (file_word(program, at + ZAPCORE_TENSOR_KIND) == ZAPCORE_FILE_INPUT)
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
    if (bytes < ZAPCORE_HEADER_BYTES ||
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
        !within(program, file_word(program, ZAPCORE_FILE_IMAGE_OFFSET), image, 1) ||
        !is_text(program, file_word(program, ZAPCORE_FILE_NETWORK)) ||
        !are_texts(program, file_word(program, ZAPCORE_FILE_POINTS_OFFSET),
                   file_word(program, ZAPCORE_FILE_POINTS), ZAPCORE_POINT_BYTES) ||
        !are_texts(program, file_word(program, ZAPCORE_FILE_LAYERS_OFFSET),
                   file_word(program, ZAPCORE_FILE_LAYERS), WORD) ||
        !are_texts(program, file_word(program, ZAPCORE_FILE_CLASSES_OFFSET),
                   file_word(program, ZAPCORE_FILE_CLASSES), WORD) ||
        !within(program, tensors, file_word(program, ZAPCORE_FILE_TENSORS), ZAPCORE_TENSOR_BYTES_))
        goto damaged;
    for (number = 0; number < file_word(program, ZAPCORE_FILE_TENSORS); number++)
        if (!is_tensor(program, tensors + number * ZAPCORE_TENSOR_BYTES_))
            goto damaged;
    return ZAPCORE_OK;

damaged:
    program->bytes = 0;
    return ZAPCORE_DAMAGED;
}

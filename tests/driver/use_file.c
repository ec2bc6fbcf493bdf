/* Opens a program's file, and does with it all that the driver can do, beside a core that is not there.
 *
 * Prints the driver's status, and for a file that is accepted what it holds. The window is exactly as
 * large as the program asks for, so that a sanitizer finds every access outside of it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "zapcore.h"

#define MOST (64u << 20)

static uint32_t registers[ZAPCORE_PAGE_BYTES / 4];

static void show(const zapcore *core, const zapcore_program *program, uint32_t kind)
{
    zapcore_tensor tensor;
    const uint32_t last = zapcore_images(program) - 1;
    uint32_t number, channel, sum = 0;

    for (number = 0; zapcore_tensor_of(program, kind, number, &tensor); number++) {
        for (channel = 0; channel < tensor.channels; channel++)
            sum += (uint32_t)zapcore_level(core, program, &tensor, last, channel, tensor.height - 1,
                                           tensor.width - 1);
        printf("%s %ux%ux%u %u\n", tensor.name, tensor.channels, tensor.height, tensor.width, sum);
    }
}

int main(int count, char **arguments)
{
    zapcore core = {0};
    zapcore_program program;
    zapcore_tensor input;
    zapcore_status status;
    FILE *file = count == 2 ? fopen(arguments[1], "rb") : NULL;
    uint8_t *content, *pixels;
    size_t bytes;
    uint32_t memory, number;

    if (!file || !(content = malloc(MOST)))
        return 2;
    bytes = fread(content, 1, MOST, file);
    fclose(file);
    content = realloc(content, bytes ? bytes : 1); /* so that reading on is found */
    status = zapcore_open(&program, content, bytes);
    puts(zapcore_status_text(status));
    if (status != ZAPCORE_OK) {
        free(content);
        return 0;
    }
    memory = zapcore_file_word(&program, ZAPCORE_FILE_MEMORY_BYTES);
    if (memory <= MOST) {
        registers[ZAPCORE_ID / 4] = ZAPCORE_ID_VALUE;
        registers[ZAPCORE_VERSION / 4] = ZAPCORE_VERSION_VALUE;
        core.registers = registers;
        core.window = calloc(memory ? memory : 1, 1);
        core.size = memory;
        if (zapcore_load(&core, &program) != ZAPCORE_OK)
            return 2;
        for (number = 0; *zapcore_point_name(&program, number); number++)
            printf("%s %d\n", zapcore_point_name(&program, number),
                   zapcore_point(&program, zapcore_point_name(&program, number)));
        for (number = 0; *zapcore_layer_name(&program, number); number++)
            puts(zapcore_layer_name(&program, number));
        for (number = 0; *zapcore_class_name(&program, number); number++)
            puts(zapcore_class_name(&program, number));
        if (zapcore_tensor_of(&program, ZAPCORE_FILE_INPUT, 0, &input)) {
            pixels = calloc(input.channels, (size_t)input.height * input.width);
            zapcore_quantise(&core, &program, 0, pixels, ZAPCORE_CHW);
            core.number = zapcore_cores(&program) - 1;
            zapcore_quantise(&core, &program, zapcore_images(&program) - 1, pixels, ZAPCORE_HWC);
            free(pixels);
        }
        show(&core, &program, ZAPCORE_FILE_INPUT);
        show(&core, &program, ZAPCORE_FILE_OUTPUT);
        printf("class %u of %s\n", zapcore_class(&core, &program, zapcore_images(&program) - 1),
               zapcore_network_name(&program));
        free(core.window);
    }
    free(content);
    return 0;
}

/* Writes the tiny models of tests/engine/model/tiny_families.h into a directory: tiny_cli DIR. */
#include <stdio.h>

#include "tests/engine/model/tiny_families.h"

int main(int argc, char **argv)
{
    for (size_t i = 0; argc == 2 && i < TINY_FAMILIES_COUNT; i++) {
        char path[64], to[512];
        snprintf(to, sizeof to, "%s/%s.gguf", argv[1], TINY_FAMILIES[i].name);
        if (!tiny_model_write(&TINY_FAMILIES[i], path) || rename(path, to) != 0) {
            fprintf(stderr, "cannot write %s\n", to);
            return 1;
        }
    }
    return argc == 2 ? 0 : 2;
}

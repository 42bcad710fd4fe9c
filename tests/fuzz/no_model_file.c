/* For fuzz targets that link what can read a model file's numbers but never open one. */
#include "engine/formats/model_file.h"

bool model_file_i64(const struct model_file *file, const char *key, int64_t *out)
{
    (void)file, (void)key, (void)out;
    return false;
}

bool model_file_f64(const struct model_file *file, const char *key, double *out)
{
    (void)file, (void)key, (void)out;
    return false;
}

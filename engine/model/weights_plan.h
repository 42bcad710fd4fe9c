/* Which tensor of the file goes where: the plan that weights.c carries out. Inside of the model.
 *
 * The table of rules in weights_plan.c is the only place that knows tensor names. */
#ifndef WICARA_MODEL_WEIGHTS_PLAN_H
#define WICARA_MODEL_WEIGHTS_PLAN_H

#include "engine/model/weights.h"

/* What a source becomes in memory. */
enum source_form {
    SOURCE_VECTOR,      // floats
    SOURCE_MATRIX,      // panels
    SOURCE_STACK,       // panels of several matrices of one shape
    SOURCE_TRANSPOSED,  // panels of several matrices, each stored in the file as [in, out]
};

/* One tensor, or part of one, on its way into the mapping. Matrix m has its rows in the file from
 * row first_row + m * rows_apart on. A stack of which each matrix is a tensor of its own has as
 * many sources of one matrix, one behind the other in the mapping; only the first has a slot. */
struct source {
    const struct tensor_info *tensor;
    void *slot;  // const float **, struct weight * or struct weight_stack *, by form; or NULL
    enum source_form form;
    enum dtype dtype;          // in memory
    size_t n_matrices;         // of this source
    size_t n_stacked;          // of the slot
    size_t n_rows, n_columns;  // of one matrix in memory; a vector is one row
    size_t first_row, rows_apart;
    size_t offset;         // in the mapping
    size_t stride;         // bytes from one matrix of the stack to the next
    size_t first_unit;     // number of its first unit among those of all sources
    size_t n_units;        // panels; matrices when transposed; 0 for a vector
    size_t matrix_panels;  // ceil(n_rows / 16)
    size_t panel_bytes;    // packed
    size_t row_bytes;      // as stored
};

struct plan {
    const struct model_file *file;
    const struct model_config *config;
    struct source *sources;  // [n_sources], in file-independent order
    size_t n_sources;
    size_t n_sources_max;
    size_t n_tensors_used;
    size_t n_units;
    size_t bytes;  // of the mapping
};

/* Checks all tensors and fills the plan with slots in `weights`, whose layers are allocated.
 * Errors: ERR_FORMAT and ERR_UNSUPPORTED naming the tensor, ERR_LIMIT, ERR_MEMORY. */
enum status plan_init(struct plan *plan, struct model_weights *weights,
                      const struct model_file *file, const struct model_config *config,
                      struct error *err) MUST_CHECK;
void plan_release(struct plan *plan);

#endif

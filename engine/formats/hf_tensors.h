/* The tensors of a checkpoint under GGUF's names: a table of the view's tensors and, for each,
 * where its rows come from. Private to engine/formats. */
#ifndef WICARA_FORMATS_HF_TENSORS_H
#define WICARA_FORMATS_HF_TENSORS_H

#include "engine/formats/hf_config.h"
#include "engine/formats/model_file_private.h"
#include "engine/formats/safetensors.h"

/* Fills file->tensors, n_tensors, tensor_names and sources from the shards' headers
 * [file->n_shards]. A tensor that no rule names keeps its own name, so that whoever loads the model
 * can say that it has no place. Errors: ERR_FORMAT naming the tensor, ERR_UNSUPPORTED,
 * ERR_LIMIT, ERR_MEMORY. */
enum status hf_tensors_map(struct model_file *file, const struct safetensors *shards,
                           const struct hf_facts *facts, struct error *err) MUST_CHECK;

#endif

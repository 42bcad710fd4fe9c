/* Checks of a conversation, shared by chat completions and prompt rendering. */
#ifndef WICARA_SERVER_CHAT_REQUEST_H
#define WICARA_SERVER_CHAT_REQUEST_H

#include "engine/base/buf.h"
#include "engine/base/error.h"
#include "engine/base/mem.h"
#include "engine/engine.h"
#include "server/params.h"

/* Checks roles and contents; *out is the JSON text for the template: the client's own text, with
 * the role "developer" written as "system" (templates know no other name for it).
 * Errors: ERR_INVALID / ERR_UNSUPPORTED with a path such as "messages[2].content[0]". */
enum status chat_messages_check(const struct param_value *messages, struct arena *arena,
                                const char **out, struct error *err) MUST_CHECK;

/* chat_tools.c. Function tools only; *out is the client's own text. Errors: ERR_INVALID with a path
 * such as "tools[2].function.name". */
enum status chat_tools_check(const struct param_value *tools, struct arena *arena, const char **out,
                             struct error *err) MUST_CHECK;

struct generation_request;
struct engine_info;

/* tools, tool_choice and parallel_tool_calls into the job. */
enum status chat_tools_read(struct generation_request *request, struct error *err) MUST_CHECK;

/* chat_reasoning.c. The fields that steer reasoning, into the job's template variables, which must
 * have been checked. */
enum status chat_reasoning_read(struct generation_request *request, struct error *err) MUST_CHECK;
/* Once the model is known: lists as ignored (strict: refuses) what its template has no use for. */
enum status chat_reasoning_settle(struct generation_request *request,
                                  const struct engine_info *info, bool strict,
                                  struct error *err) MUST_CHECK;

/* An object that does not shadow what the template gets from us. */
enum status chat_variables_check(const struct param_value *variables, struct arena *arena,
                                 const char **out, struct error *err) MUST_CHECK;

/* How the prompt ends: add_generation_prompt, continue_final_message, and "prefix" of the last of
 * the checked messages. */
enum status chat_end_check(const struct params *params, struct arena *arena,
                           struct job_request *job, struct error *err) MUST_CHECK;

#endif

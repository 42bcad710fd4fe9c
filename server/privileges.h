/* Giving up root. */
#ifndef WICARA_SERVER_PRIVILEGES_H
#define WICARA_SERVER_PRIVILEGES_H

#include "engine/base/error.h"

/* Root becomes `user` for good (the name "root" keeps it); others stay who they are. In any case
 * the process can gain no privileges afterwards. Errors: ERR_INVALID no such user, ERR_IO. */
enum status privileges_drop(const char *user, struct error *err) MUST_CHECK;

#endif

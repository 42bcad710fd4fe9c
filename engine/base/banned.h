/* Functions that have a safer twin here; using one is a compile error. Force-included. */
#ifndef WICARA_BASE_BANNED_H
#define WICARA_BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf strtok atoi atol atoll atof gets
#undef alloca
#pragma GCC poison rand srand setlocale alloca

#endif

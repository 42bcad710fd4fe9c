/* What the binary does beside serving: pull, models, inspect, healthcheck. */
#ifndef WICARA_SERVER_COMMANDS_H
#define WICARA_SERVER_COMMANDS_H

#include <signal.h>
#include <stdbool.h>

/* argv[1] is the name of a command. */
bool commands_is(int argc, char *const *argv);
/* Runs it and gives the exit status: 0, 1 run-time failure, 2 wrong usage. Results go to stdout,
 * progress and errors to stderr. `signals` are blocked and stop a download. */
int commands_run(int argc, char *const *argv, const sigset_t *signals);
/* Lines for --help. */
const char *commands_help(void);

#endif

/* Messages to a service manager (systemd, Type=notify), if there is one. */
#ifndef WICARA_SERVER_NOTIFY_H
#define WICARA_SERVER_NOTIFY_H

/* "READY=1", "STOPPING=1" ... to the socket in $NOTIFY_SOCKET; without one nothing happens. */
void notify_manager(const char *state);

#endif

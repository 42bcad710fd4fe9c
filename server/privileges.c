/* Giving up root; see privileges.h. Done after the socket is bound and before the first byte of a
 * model, a template or a request is read: what parses strangers' bytes is never root. That it is
 * for good is tried out, not assumed. */
#include "server/privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "engine/base/log.h"

enum status privileges_drop(const char *user, struct error *err)
{
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (geteuid() != 0 || strcmp(user, "root") == 0)
        return OK;
    errno = 0;
    const struct passwd *entry = getpwnam(user);
    if (!entry) {
        return error_set(err, ERR_INVALID,
                         "started as root, but there is no user '%.60s' to become (--user)", user);
    }
    if (setgroups(0, NULL) != 0 || setgid(entry->pw_gid) != 0 || setuid(entry->pw_uid) != 0)
        return error_set(err, ERR_IO, "cannot become user %.60s: %s", user, strerror(errno));
    if (setuid(0) == 0)
        return error_set(err, ERR_IO, "root could be regained after becoming %.60s", user);
    log_info("started as root, went on as user %s", user);
    return OK;
}

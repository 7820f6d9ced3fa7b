#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/proc.h"

char *cx_proc_sibling(const char *name)
{
    char own[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", own, sizeof own - 1);

    if (size > 0) {
        own[size] = '\0';

        char *slash = strrchr(own, '/');

        *slash = '\0';

        CX_AUTO(cx_free) char *path = cx_path_join(own, name);

        if (access(path, X_OK) == 0)
            return CX_TAKE(path);
    }
    return cx_strdup(name);
}

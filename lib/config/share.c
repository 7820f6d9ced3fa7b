#include "config/share.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"

/* The folder above that of the running program: of build/cx-config, or of PREFIX/bin/cx-config. */
static char *program_prefix(void)
{
    char path[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);

    if (size <= 0)
        return NULL;
    path[size] = '\0';
    for (int level = 0; level < 2; level++) {
        char *slash = strrchr(path, '/');

        if (slash == NULL)
            return NULL;
        *slash = '\0';
    }
    return cx_strdup(path);
}

static bool is_share(const char *folder)
{
    CX_AUTO(cx_free) char *policies = cx_path_join(folder, "policies");

    return cx_exists(policies);
}

char *cx_share_path(const char *name)
{
    static const char *const below[] = {"share/cx", "share"};
    const char *chosen = getenv("CX_SHARE");
    CX_AUTO(cx_free) char *prefix = program_prefix();

    if (chosen != NULL && chosen[0] != '\0')
        return cx_path_join(chosen, name);
    for (size_t i = 0; prefix != NULL && i < CX_COUNT(below); i++) {
        CX_AUTO(cx_free) char *folder = cx_path_join(prefix, below[i]);

        if (is_share(folder))
            return cx_path_join(folder, name);
    }
    return cx_path_join("/usr/local/share/cx", name);
}

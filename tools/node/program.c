#include "program.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "config/share.h"

static bool is_program(const char *path)
{
    struct stat about;

    return stat(path, &about) == 0 && S_ISREG(about.st_mode) && access(path, X_OK) == 0;
}

static bool try_folder(const char *folder, const char *word, char **path)
{
    CX_AUTO(cx_free) char *candidate = cx_path_join(folder, word);

    if (!is_program(candidate))
        return false;
    *path = CX_TAKE(candidate);
    return true;
}

static bool try_share(const char *word, char **path)
{
    CX_AUTO(cx_free) char *folder = cx_share_path("agents");
    CX_AUTO(cx_free) char *real = realpath(folder, NULL);

    return real != NULL && try_folder(real, word, path);
}

bool node_program_find(const char *word, char **path, cx_err *err)
{
    const char *rest = node_program_path();

    if (word[0] == '/') {
        *path = cx_strdup(word);
        return true;
    }
    if (try_share(word, path))
        return true;
    while (*rest != '\0') {
        size_t size = strcspn(rest, ":");
        CX_AUTO(cx_free) char *folder = cx_strndup(rest, size);

        if (folder[0] == '/' && try_folder(folder, word, path))
            return true;
        rest += size + (rest[size] == ':');
    }
    return cx_fail(err, CX_NOT_FOUND, "no program %s in share/agents or PATH", word);
}

const char *node_program_path(void)
{
    const char *path = getenv("PATH");

    return path == NULL || path[0] == '\0' ? "/usr/local/bin:/usr/bin:/bin" : path;
}

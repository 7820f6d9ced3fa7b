#include "program.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"

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

/* share/agents beside the program: PREFIX/share/cx/agents when it is installed in PREFIX/bin, and
 * share/agents of the sources when it was built there. */
static bool try_share(const char *word, char **path)
{
    static const char *const places[] = {"../share/cx/agents", "../share/agents"};
    char self[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;

    if (size <= 0)
        return false;
    self[size] = '\0';
    slash = strrchr(self, '/');
    if (slash == NULL)
        return false;
    *slash = '\0';
    for (size_t i = 0; i < CX_COUNT(places); i++) {
        CX_AUTO(cx_free) char *folder = cx_path_join(self, places[i]);
        CX_AUTO(cx_free) char *real = realpath(folder, NULL);

        if (real != NULL && try_folder(real, word, path))
            return true;
    }
    return false;
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

#include "family.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { PIDS_MAX = 100000 };

struct pids {
    pid_t *items;
    size_t count;
};

static void pids_free(struct pids *pids)
{
    cx_free(&pids->items);
}

static void add(struct pids *pids, pid_t pid)
{
    pids->items = cx_realloc(pids->items, pids->count + 1, sizeof *pids->items);
    pids->items[pids->count++] = pid;
}

/* The kernel lists the children of each thread apart. */
static void add_children(pid_t pid, struct pids *pids)
{
    char path[64];
    DIR *tasks;
    const struct dirent *task;

    snprintf(path, sizeof path, "/proc/%ld/task", (long)pid);
    tasks = opendir(path);
    while (tasks != NULL && (task = readdir(tasks)) != NULL) {
        char name[96];
        long child;
        FILE *file;

        if (task->d_name[0] == '.')
            continue;
        snprintf(name, sizeof name, "%s/%.16s/children", path, task->d_name);
        file = fopen(name, "re");
        while (file != NULL && pids->count < PIDS_MAX && fscanf(file, "%ld", &child) == 1)
            add(pids, (pid_t)child);
        if (file != NULL)
            fclose(file);
    }
    if (tasks != NULL)
        closedir(tasks);
}

/* Breadth first: each found one is asked for its own. */
static void add_descendants(pid_t pid, struct pids *pids)
{
    add_children(pid, pids);
    for (size_t i = 0; i < pids->count; i++)
        add_children(pids->items[i], pids);
}

void family_signal(pid_t pid, int number)
{
    CX_AUTO(pids_free) struct pids pids = {0};

    add_descendants(pid, &pids);
    for (size_t i = 0; i < pids.count; i++)
        kill(pids.items[i], number);
}

bool family_has_children(pid_t pid)
{
    CX_AUTO(pids_free) struct pids pids = {0};

    add_children(pid, &pids);
    return pids.count > 0;
}

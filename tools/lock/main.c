/* cx-lock: leases of the whole cluster, granted by a majority of its nodes. */
#include "lock.h"

static const cx_command *const commands[] = {
    &lock_run, &lock_acquire, &lock_release, &lock_list, &lock_clear, NULL,
};

int main(int argc, char **argv)
{
    return cx_tool_main("cluster-wide leases, granted by a majority of the nodes", commands, argc,
                        argv);
}

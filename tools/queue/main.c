#include "queue.h"

static const cx_command *const commands[] = {
    &queue_send,          &queue_stats,         &queue_drain,          &queue_messages_stats,
    &queue_messages_list, &queue_messages_show, &queue_messages_retry, NULL,
};

int main(int argc, char **argv)
{
    return cx_tool_main("messages and the queues that they wait in", commands, argc, argv);
}

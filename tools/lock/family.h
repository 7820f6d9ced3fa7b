/* Family: a process's descendants, as /proc knows them. */
#pragma once

#include <sys/types.h>

#include "base/mem.h"

/* Sends a signal to every descendant of the process, not to itself. One that is forked meanwhile may
 * be missed: whoever wants all to end asks again until there are no children. */
void family_signal(pid_t pid, int number);
bool family_has_children(pid_t pid);

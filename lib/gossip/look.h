/* Views of the core's members for those outside. */
#pragma once

#include "gossip/inside.h"

cx_gossip_member cx_look_at(const cx_gossip *core, const cx_member *member);
/* Works out the partition anew; says whether it is another one. */
bool cx_look_partition(cx_gossip *core);

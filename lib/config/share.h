/* Where the files of share/ are (policies, schemas, agents): beside the build, or installed. */
#pragma once

#include "base/mem.h"

/* The path of a file or folder of share/ ("policies/backup.yaml"); caller owns. The folder is
 * $CX_SHARE, else share/cx or share/ beside the folder of the running program (so an installation
 * may be moved), else /usr/local/share/cx. The file itself may be missing. */
char *cx_share_path(const char *name);

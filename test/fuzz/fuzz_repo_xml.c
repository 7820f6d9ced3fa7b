/* What S3 answers. */
#include <stdlib.h>
#include <string.h>

#include "repo/xml.h"

static bool check(const char *path, const char *text, void *arg, cx_err *err)
{
    (void)arg, (void)err;
    if (strlen(path) > CX_XML_PATH_MAX || strlen(text) > CX_XML_TEXT_MAX + 4)
        abort();
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cx_err err;

    (void)!cx_xml_read((cx_bytes){data, size}, check, NULL, &err);
    return 0;
}

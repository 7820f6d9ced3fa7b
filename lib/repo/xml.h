/* The little XML that S3 answers with: elements and text, read once from front to back.
 *
 * Bounded, since it comes from the network: depth, length of a name, of a path and of a text.
 * Attributes are skipped; DTDs, CDATA and unknown entities are refused (MALFORMED). Pure: no I/O. */
#pragma once

#include "base/err.h"

enum { CX_XML_DEPTH_MAX = 16, CX_XML_PATH_MAX = 512, CX_XML_TEXT_MAX = 16 * 1024 };

/* Called at the end of each element: "ListBucketResult/Contents/Key", and the text right in it. */
typedef bool cx_xml_end(const char *path, const char *text, void *arg, cx_err *err);

CX_MUST_CHECK bool cx_xml_read(cx_bytes document, cx_xml_end *end, void *arg, cx_err *err);

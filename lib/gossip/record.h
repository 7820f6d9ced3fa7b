/* Records: structs of the wire as tables. A record travels as a msgpack map whose keys are the field
 * names in ascending order; from one table come reading and writing (sections 3, 4). Pure.
 *
 * Read fields of kinds TEXT, BYTES and ANY are views of the bytes that were read. */
#pragma once

#include "gossip/msgpack.h"

typedef enum cx_record_kind {
    CX_RECORD_U8,     /* uint8_t */
    CX_RECORD_U16,    /* uint16_t */
    CX_RECORD_U32,    /* uint32_t */
    CX_RECORD_U64,    /* uint64_t */
    CX_RECORD_I64,    /* int64_t */
    CX_RECORD_BOOL,   /* bool */
    CX_RECORD_DOUBLE, /* double */
    CX_RECORD_TEXT,   /* cx_bytes */
    CX_RECORD_BYTES,  /* cx_bytes; {NULL, 0} is nil */
    CX_RECORD_ANY,    /* cx_bytes: a value as encoded; {NULL, 0} is nil */
} cx_record_kind;

typedef struct cx_record_field {
    const char *name;
    cx_record_kind kind;
    size_t offset;
    uint8_t declared; /* its place from 0 in a record that comes as an array */
    bool omit_empty;  /* not written when it is 0 or empty */
} cx_record_field;

typedef struct cx_record {
    const char *name;              /* "ping", for errors */
    size_t size;                   /* of the struct */
    const cx_record_field *fields; /* ascending by name */
    size_t count;
} cx_record;

/* Takes a record from the front of *rest into the zeroed struct `values`: fields in any order, unknown
 * ones skipped, missing ones zero, of two with one name the last. */
CX_MUST_CHECK bool cx_record_take(cx_bytes *rest, const cx_record *record, void *values,
                                  cx_err *err);
void cx_record_put(cx_buffer *buffer, const cx_record *record, const void *values);

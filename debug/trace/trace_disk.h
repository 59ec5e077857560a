/*
 * Layout of a trace file, shared by writer and reader. Integers are little-endian.
 */
#ifndef DEBUG_TRACE_DISK_H
#define DEBUG_TRACE_DISK_H

#include <stddef.h>
#include <stdint.h>

#define TRACE_MAGIC       "VMSCOPE\x1a"
#define TRACE_HEAD_BYTES  64u
#define BLOCK_MAGIC       0x31425456u /* "VTB1" */
#define BLOCK_HEAD_BYTES  56u
#define INDEX_ENTRY_BYTES 40u
#define TRACE_END_MAGIC   "VTREND\x1a\n"
#define TRACE_END_BYTES   24u

/* Bounds of what a reader takes, so that a file cannot ask for the host's memory. */
#define RECORD_RAW_MAX (4u << 20)
#define TEXT_RAW_MAX   (256u << 20)
#define BLOCKS_MAX     (16u << 20)

struct block_head {
    uint16_t type;
    uint32_t stored_bytes, raw_bytes;
    uint32_t records;
    uint64_t first_ns, last_ns, dropped;
};

/* CRC-32 as in zip (IEEE 802.3). */
uint32_t trace_crc(const void *bytes, size_t len);

#endif

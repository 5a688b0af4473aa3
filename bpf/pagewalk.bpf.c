// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Reads kernel memory for the page-table walk: through BPF_PROG_TEST_RUN, never
 * attached.
 */
#include "mini.h"

/* What was read; the tool takes it from the map of this variable. */
__u8 page[4096];

/* context[0]: address, context[1]: bytes. Returns 0 or a negative errno. */
SEC("raw_tp") int itlbench_read(__u64 *context)
{
	__u64 bytes = context[1];

	if (bytes > sizeof(page))
		return -7; /* E2BIG */
	return bpf_probe_read_kernel(page, bytes, (void *)context[0]);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

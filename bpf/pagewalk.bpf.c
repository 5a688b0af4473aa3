// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Reads kernel memory for the page-table walk: through BPF_PROG_TEST_RUN, never
 * attached. The only program here that needs the kernel's BTF is the one that
 * finds the top table; where BTF is missing, mapping sizes stay unknown and all
 * else works.
 */
#include "mini.h"
#include <bpf/bpf_core_read.h>

/* What was read; the tool takes it from the map of this variable. */
__u8 page[4096];

struct mm_struct {
	void *pgd;
} __attribute__((preserve_access_index));

struct task_struct {
	struct mm_struct *active_mm;
} __attribute__((preserve_access_index));

/* context[0]: address, context[1]: bytes. Returns 0 or a negative errno. */
SEC("raw_tp") int itlbench_read(__u64 *context)
{
	__u64 bytes = context[1];

	if (bytes > sizeof(page))
		return -7; /* E2BIG */
	return bpf_probe_read_kernel(page, bytes, (void *)context[0]);
}

/* Leaves the virtual address of the caller's top page table in `page`. */
SEC("raw_tp") int itlbench_root(__u64 *context)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	void *pgd = BPF_CORE_READ(task, active_mm, pgd);

	__builtin_memcpy(page, &pgd, sizeof(pgd));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

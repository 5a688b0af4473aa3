// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Finds the top page table, through BPF_PROG_TEST_RUN, never attached. Needs the
 * kernel's BTF, which takes longer to read than all else here: loaded only where
 * nothing else tells.
 */
#include "mini.h"
#include <bpf/bpf_core_read.h>

__u64 top;

struct mm_struct {
	void *pgd;
} __attribute__((preserve_access_index));

struct task_struct {
	struct mm_struct *active_mm;
} __attribute__((preserve_access_index));

/* Leaves the virtual address of the caller's top page table in `top`. */
SEC("raw_tp") int itlbench_root(__u64 *context)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	top = (__u64)BPF_CORE_READ(task, active_mm, pgd);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

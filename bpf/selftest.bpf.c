// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Programs of the selftest; run through BPF_PROG_TEST_RUN, never attached. The
 * tool takes their instructions and loads them itself.
 */
#include "mini.h"
#include <bpf/bpf_core_read.h>

#define FREED 0xcccccccc

/*
 * context[0]: address. context[1] 0: returns the word there, or INT3 if it is
 * not mapped; 1: returns whether it is mapped.
 */
SEC("raw_tp") int look(__u64 *context)
{
	__u32 word = 0;
	long error = bpf_probe_read_kernel(&word, sizeof(word), (void *)context[0]);

	if (context[1])
		return error == 0;
	return error ? FREED : word;
}

struct mm_struct {
	void *pgd;
} __attribute__((preserve_access_index));

struct rt_mutex_waiter {
	struct task_struct *task;
} __attribute__((preserve_access_index));

struct task_struct {
	int tgid;
	struct mm_struct *active_mm;
	struct rt_mutex_waiter *pi_blocked_on;
} __attribute__((preserve_access_index));

/*
 * Loads through pointers that the verifier does not trust, so that each load
 * has an entry in the exception table (BPF_PROBE_MEM). The last one is NULL:
 * nothing runs while it is blocked. context[0]: what to return, context[1]:
 * tgid of the caller.
 */
SEC("raw_tp") int extable(__u64 *context)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mm_struct *mm = task->active_mm;
	struct rt_mutex_waiter *nobody = task->pi_blocked_on;
	void *pgd = mm->pgd, *read = BPF_CORE_READ(mm, pgd);
	__u32 wrong = task->tgid - (__u32)context[1];

	wrong |= pgd != read;
	wrong |= !pgd;
	wrong |= nobody->task != 0;
	return (__u32)context[0] + wrong;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

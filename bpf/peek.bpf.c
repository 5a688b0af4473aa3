// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Reads four bytes of kernel memory through BPF_PROG_TEST_RUN; never attached.
 * Shows whether the memory of an unloaded program has been given back: freed
 * chunks are filled with INT3 (bpf_arch_text_invalidate, 5.19 and later), and
 * an emptied pack is unmapped.
 */
#include "mini.h"

#define FREED 0xcccccccc

SEC("raw_tp") int peek(__u64 *address)
{
	__u32 word;

	if (bpf_probe_read_kernel(&word, sizeof(word), (void *)address[0]))
		return FREED;
	return word;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

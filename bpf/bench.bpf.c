// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What triggers are compared with in benches/triggers.rs: hits of the raw
 * tracepoint as the kernel's selftests make and count them, written anew. No
 * part of the tool.
 */
#include "mini.h"

#define HITS 100
#define CPUS 256

/* Since 6.10, made for tests: hits the raw tracepoint bpf_trigger_tp. */
extern int bpf_modify_return_test_tp(int nonce) __ksym;

SEC("raw_tp") int hit_in_batches(void *context)
{
	for (int i = 0; i < HITS; i++)
		bpf_modify_return_test_tp(0);
	return 0;
}

/* No two CPUs count in one line of the cache. */
struct {
	__u64 value;
} __attribute__((aligned(128))) counted[CPUS];

SEC("raw_tp") int count_hit(void *context)
{
	__u32 cpu = bpf_get_smp_processor_id();

	__sync_add_and_fetch(&counted[cpu % CPUS].value, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

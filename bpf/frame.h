/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What every measured body stands in: where it counts itself, where it jumps
 * to, what it returns; and the entries and empty programs. The tool loads a
 * body many times, each instance with its own counter slot and its own
 * successor patched into the instructions.
 *
 * skb->cb carries the state from one repetition of BPF_PROG_TEST_RUN to the
 * next; the kernel keeps one skb for all repetitions.
 */
#pragma once
#include "mini.h"

#define CB_STATE 0	/* chain: position to start at; walk: PRNG state */
#define CB_PROGRAMS 1	/* number of programs */
#define CB_CHECK 2	/* non-zero: count executions */
#define CB_STRIDE 3	/* chain: positions to advance a repetition */

/* Every program, by position. Reached by index: an indirect tail call. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 4);
} programs SEC(".maps");

/*
 * Stand-in for the small arrays that hold the successors. A constant index
 * makes the JIT emit a direct jump (bpf_tail_call_direct_fixup). The tool
 * patches map and index for each instance.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 4);
} successors SEC(".maps");

/* Stand-in for the array of counters; the tool patches map and offset. */
__u32 executed[1];

/*
 * Stand-in for the case's own word: non-zero in the check pass of programs that
 * are reached by other ways than a test run with an skb of ours.
 */
__u32 checking SEC(".data.checking");

/* The tool patches in what the attach point wants: pass on, drop, nothing. */
#define RETURN_STAND_IN 0x5eed

#define COUNT_IF_CHECKING(skb)						\
	do {								\
		if (skb->cb[CB_CHECK])					\
			executed[0]++;					\
	} while (0)

#define COUNT_IF_HOOK_CHECKING						\
	do {								\
		if (*(volatile __u32 *)&checking)			\
			executed[0]++;					\
	} while (0)

/* A body reached by direct tail calls, and by indirect ones. */
#define CALLED(name, work)						\
SEC("tc") int chain_##name(struct __sk_buff *skb)			\
{									\
	COUNT_IF_CHECKING(skb);						\
	work								\
	bpf_tail_call_static(skb, &successors, 0);			\
	return 0;							\
}									\
SEC("tc") int walk_##name(struct __sk_buff *skb)			\
{									\
	__u32 state = skb->cb[CB_STATE] * 1664525 + 1013904223;		\
									\
	COUNT_IF_CHECKING(skb);						\
	work								\
	skb->cb[CB_STATE] = state;					\
	bpf_tail_call(skb, &programs,					\
		      ((__u64)state * skb->cb[CB_PROGRAMS]) >> 32);	\
	return 0;							\
}

/* A body for attach points: uses no context, so that it loads as every program type. */
#define HOOKED(name, work)						\
SEC("tc") int hook_##name(void *context)				\
{									\
	COUNT_IF_HOOK_CHECKING;						\
	work								\
	return RETURN_STAND_IN;						\
}

/* Starts a chain at the next position; see trigger `chain`. */
SEC("tc") int chain_entry(struct __sk_buff *skb)
{
	__u32 at = skb->cb[CB_STATE];
	__u32 next = at + skb->cb[CB_STRIDE];

	if (next >= skb->cb[CB_PROGRAMS])
		next -= skb->cb[CB_PROGRAMS];
	skb->cb[CB_STATE] = next;
	bpf_tail_call(skb, &programs, at);
	return 1;
}

/* Starts a walk at the position drawn last. */
SEC("tc") int walk_entry(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &programs,
		      ((__u64)skb->cb[CB_STATE] * skb->cb[CB_PROGRAMS]) >> 32);
	return 1;
}

/* The baseline: reached as the measured programs are, does nothing. */
SEC("tc") int empty(struct __sk_buff *skb)
{
	return 0;
}

/* The same at attach points. */
SEC("tc") int hook_empty(void *context)
{
	return RETURN_STAND_IN;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

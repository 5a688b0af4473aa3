// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Measured bodies and the entries that start them. See bpf/README.md for why
 * each looks as it does. The tool loads every body many times, each instance
 * with its own counter slot and its own successor patched into the
 * instructions.
 *
 * skb->cb carries the state from one repetition of BPF_PROG_TEST_RUN to the
 * next; the kernel keeps one skb for all repetitions.
 */
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

/* One 7-byte x86 instruction (add r64, imm32) per step, two dependency chains. */
#define STEP2 asm volatile("r6 += 0x12345\n\tr7 += 0x23456" ::: "r6", "r7");
#define STEPS8 STEP2 STEP2 STEP2 STEP2
#define STEPS32 STEPS8 STEPS8 STEPS8 STEPS8
#define STEPS128 STEPS32 STEPS32 STEPS32 STEPS32

#define COUNT_IF_CHECKING(skb)						\
	do {								\
		if (skb->cb[CB_CHECK])					\
			executed[0]++;					\
	} while (0)

#define BODY(size, work)						\
SEC("tc") int chain_##size(struct __sk_buff *skb)			\
{									\
	COUNT_IF_CHECKING(skb);						\
	work								\
	bpf_tail_call_static(skb, &successors, 0);			\
	return 0;							\
}									\
SEC("tc") int walk_##size(struct __sk_buff *skb)			\
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

#define INIT asm volatile("r6 = 0\n\tr7 = 0" ::: "r6", "r7");

BODY(128, )
BODY(256, INIT STEPS8 STEPS8 )
BODY(512, INIT STEPS32 STEPS8 STEPS8 STEP2)
BODY(1024, INIT STEPS128)
BODY(2048, INIT STEPS128 STEPS128)
BODY(4096, INIT STEPS128 STEPS128 STEPS128 STEPS128)

/* For attach points: uses no context, so that it loads as every program type. */
#define HOOK(size, work)						\
SEC("tc") int hook_##size(void *context)				\
{									\
	if (*(volatile __u32 *)&checking)				\
		executed[0]++;						\
	work								\
	return RETURN_STAND_IN;						\
}

HOOK(128, INIT STEPS8 )
HOOK(256, INIT STEPS8 STEPS8 STEPS8 STEP2)
HOOK(512, INIT STEPS32 STEPS8 STEPS8 STEPS8 STEP2 STEP2 STEP2)
HOOK(1024, INIT STEPS128 STEPS8 )
HOOK(2048, INIT STEPS128 STEPS128 STEPS8 )
HOOK(4096, INIT STEPS128 STEPS128 STEPS128 STEPS128 STEPS32 STEPS8 )

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

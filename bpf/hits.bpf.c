// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What hits an attach point without a system call for every hit: each is run
 * by BPF_PROG_TEST_RUN with a repetition count, or by packets, and is never
 * measured itself. Its cost is in the empty baseline.
 */
#include "mini.h"

struct xdp_md;

/* Since 6.10, made for tests: hits the raw tracepoint bpf_trigger_tp, and nothing else calls it. */
extern int bpf_modify_return_test_tp(int nonce) __ksym;

SEC("tc") int hit_kernel_function(void *context)
{
	bpf_modify_return_test_tp(0);
	return 0;
}

/* Several hits in a run: a repetition of BPF_PROG_TEST_RUN costs a third of what one program on the hook does. */
SEC("tc") int hit_kernel_function_16(void *context)
{
	for (int i = 0; i < 16; i++)
		bpf_modify_return_test_tp(0);
	return 0;
}

/* One entry for each program; the tool makes the real one. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 8);
} outlets SEC(".maps");

#define BROADCAST 8 /* BPF_F_BROADCAST */

/* One packet goes to every outlet, and runs its program there. */
SEC("xdp") int hit_outlets(struct xdp_md *context)
{
	return bpf_redirect_map(&outlets, 0, BROADCAST);
}

/*
 * Functions to attach to: BPF text of our own, so that nothing else can hit
 * them. As many programs per function as a trampoline takes.
 */
#define SPOT(n)								\
__attribute__((noinline)) int spot_##n(void)			\
{									\
	asm volatile("" ::: "memory");					\
	return 0;							\
}
#define CALL(n) spot_##n();

#define EACH(DO)							\
	DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)			\
	DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)		\
	DO(16) DO(17) DO(18) DO(19) DO(20) DO(21) DO(22) DO(23)		\
	DO(24) DO(25) DO(26) DO(27) DO(28) DO(29) DO(30) DO(31)		\
	DO(32) DO(33) DO(34) DO(35) DO(36) DO(37) DO(38) DO(39)		\
	DO(40) DO(41) DO(42) DO(43) DO(44) DO(45) DO(46) DO(47)		\
	DO(48) DO(49) DO(50) DO(51) DO(52) DO(53) DO(54) DO(55)

EACH(SPOT)

SEC("tc") int hit_spots(void *context)
{
	EACH(CALL)
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

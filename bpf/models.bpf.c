// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Measured bodies modelled on what common tools load, written anew. Their input
 * is memory of ours and not the context, so that one body serves every trigger
 * and does the same each time. See bpf/README.md.
 */
#include "frame.h"

#define MAP(name, kind, key, value, entries, flags)			\
struct {								\
	__uint(type, kind);						\
	__uint(max_entries, entries);					\
	__uint(map_flags, flags);					\
	__uint(key_size, sizeof(key));					\
	__uint(value_size, sizeof(value));				\
} name SEC(".maps")

#define NO_PREALLOC 1

struct tuple {
	__u32 source, destination;
	__u16 source_port, destination_port;
	__u32 protocol;
};

struct flow {
	__u64 packets, bytes, seen;
};

struct prefix {
	__u32 bits;
	__u8 address[4];
};

struct event {
	__u64 when;
	__u32 cpu, flags;
	__u8 name[48];
};

struct bucket {
	__u64 tokens, filled;
};

MAP(verdicts, BPF_MAP_TYPE_HASH, struct tuple, __u32, 1024, 0);
MAP(flows, BPF_MAP_TYPE_LRU_HASH, struct tuple, struct flow, 4096, 0);
MAP(routes, BPF_MAP_TYPE_LPM_TRIE, struct prefix, __u32, 256, NO_PREALLOC);
MAP(events, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct event, 1, 0);
MAP(slots, BPF_MAP_TYPE_ARRAY, __u32, __u64, 64, 0);
MAP(counts, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, 1, 0);
MAP(buckets, BPF_MAP_TYPE_ARRAY, __u32, struct bucket, 1, 0);

/* Ethernet, IPv4, UDP to port 53, and the question `www.Example.com A IN`. */
__u8 packet[96] SEC(".data.packet") = {
	2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0,
	0x45, 0, 0, 61, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
	0xc0, 0, 0, 53, 0, 41, 0, 0,
	0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0,
	3, 'w', 'w', 'w', 7, 'E', 'x', 'a', 'm', 'p', 'l', 'e', 3, 'c', 'o', 'm', 0, 0, 1, 0, 1,
};

/* What the last execution found; nobody reads it, and the compiler may not know. */
__u64 found SEC(".data.found");
#define FOUND(value) (*(volatile __u64 *)&found = (value))
#define BYTE(at) (*(volatile __u8 *)&packet[at])
#define HALF(at) ((BYTE(at) << 8) | BYTE((at) + 1))
#define WORD(at) (((__u32)HALF(at) << 16) | HALF((at) + 2))
#define INLINE static __attribute__((always_inline)) inline

INLINE int parse(struct tuple *tuple)
{
	if (HALF(12) != 0x0800 || (BYTE(14) & 0xf) != 5)
		return 0;
	tuple->source = WORD(26);
	tuple->destination = WORD(30);
	tuple->source_port = HALF(34);
	tuple->destination_port = HALF(36);
	tuple->protocol = BYTE(23);
	return tuple->protocol == 17 || tuple->protocol == 6;
}

/* A packet filter: parse, look the five fields up, decide. */
INLINE void classifier(void)
{
	struct tuple tuple = {};
	__u32 *verdict;

	if (!parse(&tuple))
		return;
	verdict = bpf_map_lookup_elem(&verdicts, &tuple);
	FOUND(verdict ? *verdict : 1);
}

/* Connection tracking: look the flow up or begin one, account the packet. */
INLINE void conntrack(void)
{
	struct tuple tuple = {};
	struct flow fresh = {}, *flow;

	if (!parse(&tuple))
		return;
	flow = bpf_map_lookup_elem(&flows, &tuple);
	if (!flow) {
		fresh.packets = 1;
		fresh.bytes = HALF(16);
		fresh.seen = bpf_ktime_get_ns();
		bpf_map_update_elem(&flows, &tuple, &fresh, 0);
		return;
	}
	flow->packets++;
	flow->bytes += HALF(16);
	flow->seen = bpf_ktime_get_ns();
}

/* A tracer of opened files: fill a record. It is sent nowhere, since nobody would read it. */
INLINE void opensnoop(void)
{
	__u32 zero = 0;
	struct event *event = bpf_map_lookup_elem(&events, &zero);

	if (!event)
		return;
	event->when = bpf_ktime_get_ns();
	event->cpu = bpf_get_smp_processor_id();
	event->flags = HALF(20);
	for (int i = 0; i < 48; i++)
		event->name[i] = BYTE(i);
}

/* A histogram of latencies: time since last seen, its logarithm by halving, one more in that slot. */
INLINE void latency(void)
{
	__u64 now = bpf_ktime_get_ns(), delta = now - *(volatile __u64 *)&found, *slot;
	__u32 log = 0;

	FOUND(now);
	if (delta >> 32) { log += 32; delta >>= 32; }
	if (delta >> 16) { log += 16; delta >>= 16; }
	if (delta >> 8) { log += 8; delta >>= 8; }
	if (delta >> 4) { log += 4; delta >>= 4; }
	if (delta >> 2) { log += 2; delta >>= 2; }
	log += delta >> 1;
	slot = bpf_map_lookup_elem(&slots, &log);
	if (slot)
		__sync_fetch_and_add(slot, 1);
}

/* A counter of events on each CPU. */
INLINE void counter(void)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&counts, &zero);

	if (count)
		*count += 1;
}

/* A route by longest prefix. */
INLINE void lpm(void)
{
	struct prefix prefix = { .bits = 32 };
	__u32 *route;

	for (int i = 0; i < 4; i++)
		prefix.address[i] = BYTE(30 + i);
	route = bpf_map_lookup_elem(&routes, &prefix);
	FOUND(route ? *route : 0);
}

/*
 * A filter of system calls as seccomp's classic ones are translated: a ladder
 * of comparisons, which the compiler would make tests of bits if it knew that
 * they are of one value.
 */
#define ALLOW(number)							\
	asm volatile("" : "+r"(call));					\
	if (call == (number))						\
		goto allowed;
#define ALLOW4(n) ALLOW(n) ALLOW((n) + 3) ALLOW((n) + 7) ALLOW((n) + 11)
INLINE void seccomp(void)
{
	__u64 call = HALF(38);
	__u32 verdict = 0x50001;

	if (WORD(26) != 0x0a000001)
		goto decided;
	ALLOW4(0) ALLOW4(60) ALLOW4(90) ALLOW4(130) ALLOW4(180)
	ALLOW4(220) ALLOW4(260) ALLOW4(300) ALLOW(41)
	goto decided;
allowed:
	verdict = 0x7fff0000;
decided:
	FOUND(verdict);
}

/* A token bucket: fill by the time that passed, take a packet's worth. */
INLINE void token_bucket(void)
{
	__u32 zero = 0;
	struct bucket *bucket = bpf_map_lookup_elem(&buckets, &zero);
	__u64 now, tokens;

	if (!bucket)
		return;
	now = bpf_ktime_get_ns();
	tokens = bucket->tokens + ((now - bucket->filled) >> 3);
	if (tokens > 1 << 20)
		tokens = 1 << 20;
	bucket->filled = now;
	if (tokens >= HALF(16))
		tokens -= HALF(16);
	bucket->tokens = tokens;
	FOUND(tokens);
}

/* A parser of DNS questions: over the labels of a name, in lower case, into a hash. */
INLINE void dns(void)
{
	__u32 hash = 5381, left = 0;

	for (int i = 54; i < 90; i++) {
		__u8 byte = BYTE(i);

		if (!left) {
			if (!byte || byte > 63)
				break;
			left = byte;
			continue;
		}
		left--;
		if (byte >= 'A' && byte <= 'Z')
			byte += 'a' - 'A';
		hash = hash * 33 + byte;
	}
	FOUND(hash);
}

/* A filter of devices as container runtimes attach to control groups: rules, first match decides. */
#define RULE(kind, number, wildcard, rights)				\
	if (type == (kind) && major == (number) &&			\
	    ((wildcard) || minor == (number) + 1) && !(access & ~(rights))) { allowed = 1; goto done; }
INLINE void device(void)
{
	__u32 type = BYTE(23) & 3, access = BYTE(15) & 7;
	__u32 major = HALF(36), minor = HALF(34), allowed = 0;

	RULE(2, 1, 0, 7) RULE(2, 3, 0, 6) RULE(2, 5, 0, 7)
	RULE(2, 7, 0, 6) RULE(2, 8, 1, 7) RULE(2, 10, 0, 6)
	RULE(2, 136, 1, 7) RULE(1, 7, 1, 6) RULE(1, 8, 1, 7)
	RULE(1, 53, 1, 7)
done:
	FOUND(allowed);
}

/* Branches that depend on data, half of them taken. */
#define BRANCH(bit) if (state & (1ULL << (bit))) sum += state >> (bit); else sum ^= state << 3;
#define BRANCH8(bit) BRANCH(bit) BRANCH((bit) + 1) BRANCH((bit) + 2) BRANCH((bit) + 3) \
	BRANCH((bit) + 4) BRANCH((bit) + 5) BRANCH((bit) + 6) BRANCH((bit) + 7)
INLINE void branchy(void)
{
	__u64 state = *(volatile __u64 *)&found, sum = 1;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	BRANCH8(0) BRANCH8(8) BRANCH8(16) BRANCH8(24)
	FOUND(state + (sum & 1));
}

/* A parser cut into functions: a checksum of the header, and a mix of two words. Each is JITed code of its own. */
static __attribute__((noinline)) __u32 checksum(__u32 sum)
{
	for (int i = 14; i < 34; i += 2)
		sum += HALF(i);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __attribute__((noinline)) __u32 mix(__u32 a, __u32 b)
{
	a ^= b; a -= (b << 14) | (b >> 18);
	b ^= a; b -= (a << 11) | (a >> 21);
	a ^= b; a -= (b << 25) | (b >> 7);
	b ^= a; b -= (a << 16) | (a >> 16);
	return a ^ b;
}

INLINE void subprograms(void)
{
	FOUND(mix(checksum(0), WORD(30)));
}

#define MODEL(name, work) CALLED(name, work) HOOKED(name, work)

MODEL(classifier, classifier();)
MODEL(conntrack, conntrack();)
MODEL(opensnoop, opensnoop();)
MODEL(latency, latency();)
MODEL(counter, counter();)
MODEL(lpm, lpm();)
MODEL(seccomp, seccomp();)
MODEL(token_bucket, token_bucket();)
MODEL(dns, dns();)
MODEL(device, device();)
MODEL(branchy, branchy();)
MODEL(subprograms, subprograms();)

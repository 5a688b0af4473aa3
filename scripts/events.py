#!/usr/bin/env python3
"""Derives src/counters/data/{cpus,events}.tsv from a Linux kernel tree.

    apt-get install linux-source-7.3; tar xf /usr/src/linux-source-7.3.tar.xz
    python3 scripts/events.py linux-source-7.3             writes both files
    python3 scripts/events.py --check linux-source-7.3     says whether they are what the tree yields

Read are tools/perf/pmu-events/arch/x86/mapfile.csv and the JSON files it names; nothing is looked up elsewhere and
nothing is typed in but the table below, which says which vendor name stands for which role. To follow a newer kernel,
run it over that tree, read the diff, and say the kernel in the commit. src/counters/data/roles.tsv, which says what each
role counts, and generic.tsv are written by hand.
"""

import json
import re
import sys
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "src/counters/data"

# Role: the vendors' names for it, the first that a core has is taken. Intel's are in capitals.
ROLES = {
    "walks-started": ["ITLB_MISSES.MISS_CAUSES_A_WALK", "ITLB_MISSES.MISS_CAUSED_WALK"],
    "walks-completed": [
        "ITLB_MISSES.WALK_COMPLETED",
        "bp_l1_tlb_miss_l2_tlb_miss.all",
        "bp_l1_tlb_miss_l2_tlb_miss",
        "bp_l1_tlb_miss_l2_miss",
    ],
    "walks-completed-4k": ["ITLB_MISSES.WALK_COMPLETED_4K", "bp_l1_tlb_miss_l2_tlb_miss.if4k"],
    "walks-completed-2m": ["ITLB_MISSES.WALK_COMPLETED_2M_4M", "bp_l1_tlb_miss_l2_tlb_miss.if2m"],
    "walks-completed-1g": [
        "ITLB_MISSES.WALK_COMPLETED_1G",
        "ITLB_MISSES.WALK_COMPLETED_1GB",
        "bp_l1_tlb_miss_l2_tlb_miss.if1g",
    ],
    "walks-coalesced-4k": ["bp_l1_tlb_miss_l2_tlb_miss.coalesced_4k"],
    "walk-cycles": ["ITLB_MISSES.WALK_ACTIVE", "ITLB_MISSES.WALK_DURATION"],
    "walks-pending": ["ITLB_MISSES.WALK_PENDING"],
    "stlb-hits": ["ITLB_MISSES.STLB_HIT", "bp_l1_tlb_miss_l2_tlb_hit", "bp_l1_tlb_miss_l2_hit"],
    "stlb-hits-4k": ["ITLB_MISSES.STLB_HIT_4K"],
    "stlb-hits-2m": ["ITLB_MISSES.STLB_HIT_2M"],
    "fetch-stalls-tag": ["ICACHE_TAG.STALLS", "ICACHE_64B.IFTAG_STALL", "FETCH_STALL.ITLB_FILL_PENDING_CYCLES"],
    "slots-lost-itlb": ["TOPDOWN_FE_BOUND.ITLB_MISS", "TOPDOWN_FE_BOUND.ITLB"],
    "itlb-fills": ["ITLB.FILLS", "ITLB.MISS"],
    "fetch-hits": ["bp_l1_tlb_fetch_hit.all", "bp_l1_tlb_fetch_hit"],
    "fetch-hits-4k": ["bp_l1_tlb_fetch_hit.if4k"],
    "fetch-hits-2m": ["bp_l1_tlb_fetch_hit.if2m"],
    "fetch-hits-1g": ["bp_l1_tlb_fetch_hit.if1g"],
    "itlb-reloads": ["bp_tlb_rel"],
    "itlb-flushes": ["ITLB.ITLB_FLUSH"],
    "stlb-flushes": ["TLB_FLUSH.STLB_ANY", "TLB_FLUSHES.STLB_ANY"],
    "tlb-flushes": ["ls_tlb_flush.all", "ls_tlb_flush.all_tlb_flushes", "all_tlbs_flushed", "ls_tlb_flush"],
    "retired-itlb-misses": ["FRONTEND_RETIRED.ITLB_MISS"],
    "retired-stlb-misses": ["FRONTEND_RETIRED.STLB_MISS", "FRONTEND_RETIRED_SOURCE.ITLB_STLB_MISS"],
    "interrupts": ["HW_INTERRUPTS.RECEIVED", "ls_int_taken"],
    "smis": ["ls_smi_rx"],
    # What else makes spread code slow.
    "l1i-misses": [
        "ICACHE_64B.IFTAG_MISS",
        "ICACHE.MISSES",
        "L2_RQSTS.ALL_CODE_RD",
        "ic_tag_hit_miss.instruction_cache_miss",
        "ic_fw32_miss",
        "ic_fills_from_sys.all",
    ],
    "fetch-stalls-data": ["ICACHE_DATA.STALLS", "ICACHE_16B.IFDATA_STALL", "ICACHE.IFDATA_STALL"],
    "slots-lost-l1i": ["TOPDOWN_FE_BOUND.ICACHE"],
    "l2-code-misses": ["L2_RQSTS.CODE_RD_MISS", "l2_cache_req_stat.ic_fill_miss"],
    "resteers": ["BACLEARS.ANY", "BACLEARS.ALL"],
    "resteer-cycles": ["INT_MISC.CLEAR_RESTEER_CYCLES"],
    "unknown-branch-cycles": ["INT_MISC.UNKNOWN_BRANCH_CYCLES"],
    "slots-lost-resteer": ["TOPDOWN_FE_BOUND.BRANCH_DETECT"],
    "l1-btb-corrections": ["bp_l1_btb_correct"],
    "l2-btb-corrections": ["bp_l2_btb_correct", "bp_pipe_correct"],
    "decoder-overrides": ["bp_de_redirect", "bp_early_redir"],
    "branch-misses": ["BR_MISP_RETIRED.ALL_BRANCHES", "ex_ret_brn_misp"],
    "dtlb-misses": ["DTLB_LOAD_MISSES.WALK_COMPLETED", "ls_l1_d_tlb_miss.all_l2_miss", "l2_dtlb_misses"],
}

# Cores older than Haswell, and the Atoms before Goldmont Plus: their counters are not those of any JITed BPF today.
TOO_OLD = {
    "bonnell", "goldmont", "ivybridge", "ivytown", "jaketown", "knightslanding", "nehalemep", "nehalemex",
    "sandybridge", "silvermont", "westmereep-dp", "westmereep-sp", "westmereex",
}  # fmt: skip


def number(text):
    return int(str(text).split(",")[0], 0) if text not in (None, "") else 0


def config(event, vendor):
    """perf_event_attr.config, as arch/x86/events/{intel,amd}/core.c lay out their format attributes."""
    code, umask = number(event.get("EventCode")), number(event.get("UMask"))
    # A unit mask of more than 8 bits goes on in bits 40-47 (umask2_show).
    value = code & 0xFF | (umask & 0xFF) << 8 | (umask >> 8) << 40
    if vendor == "AuthenticAMD":
        return value | (code >> 8 & 0xF) << 32
    bits = {"EdgeDetect": 18, "AnyThread": 21, "Invert": 23}
    value |= sum(number(event.get(key)) << bit for key, bit in bits.items())
    return value | number(event.get("CounterMask")) << 24


def events(folder):
    """(PMU unit, event) of every core event in a folder of JSON files."""
    for file in sorted(folder.glob("*.json")):
        for event in json.loads(file.read_text()):
            if "EventName" in event and event.get("Unit") in (None, "cpu_core", "cpu_atom"):
                yield event.get("Unit"), event


def rows(folder, cpu, vendor):
    """Lines of events.tsv for one CPU, by core type and role."""
    found = {}
    for unit, event in events(folder):
        found.setdefault(unit, {})[event["EventName"]] = event
    for unit in sorted(found, key=str):
        core = unit.removeprefix("cpu_") if unit else "-"
        for role, names in ROLES.items():
            name = next((name for name in names if name in found[unit]), None)
            if name is None:
                continue
            event = found[unit][name]
            frontend = number(event.get("MSRValue")) if number(event.get("MSRIndex")) == 0x3F7 else 0
            counters = event.get("Counter", "-").replace(" ", "")
            errata = (event.get("Errata") or "-").replace(", ", ",")
            yield [cpu, core, role, name, hex(config(event, vendor)), hex(frontend), counters, errata]


def ranges(numbers):
    """0,1,2,5 as 0-2,5 in hexadecimal."""
    spans = []
    for n in sorted(numbers):
        if spans and spans[-1][1] == n - 1:
            spans[-1][1] = n
        else:
            spans.append([n, n])
    return ",".join(f"{a:x}" if a == b else f"{a:x}-{b:x}" for a, b in spans)


def cpus(mapfile):
    """(vendor, family, models, steppings, name, version) of each line of the map; the first line that matches a model has it."""
    taken = set()
    for line in mapfile.read_text().splitlines()[1:]:
        pattern, version, name, kind = line.split(",")
        if kind != "core":
            continue
        vendor, family, rest = pattern.split("-", 2)
        pattern = re.compile(rest.replace("[:xdigit:]", "0-9A-F"))
        models, steppings = set(), set()
        for model in range(256):
            if pattern.fullmatch(f"{model:X}") and (vendor, family, model) not in taken:
                models.add(model)
                taken.add((vendor, family, model))
                continue
            fits = {s for s in range(16) if pattern.fullmatch(f"{model:X}-{s:X}")}
            if fits:
                models.add(model)
                steppings |= fits
        yield vendor, int(family), ranges(models), ranges(steppings) or "*", name, version


def table(path, columns, lines):
    head = f"# Made by scripts/events.py from tools/perf/pmu-events/arch/x86 of a kernel tree: change the script, not this file.\n"
    return path, head + "\n".join("\t".join(map(str, line)) for line in [columns, *lines]) + "\n"


def derive(tree):
    folder = tree / "tools/perf/pmu-events/arch/x86"
    known, codes = [], []
    for vendor, family, models, steppings, name, version in sorted(cpus(folder / "mapfile.csv"), key=lambda c: c[4]):
        if name in TOO_OLD:
            continue
        lines = list(rows(folder / name, name, vendor))
        cores = "/".join(dict.fromkeys(line[1] for line in lines))
        known.append([name, vendor, family, models, steppings, cores, version])
        codes += lines
    return [
        table(OUT / "cpus.tsv", ["cpu", "vendor", "family", "models", "steppings", "cores", "version"], known),
        table(
            OUT / "events.tsv",
            ["cpu", "core", "role", "event", "config", "config1", "counters", "errata"],
            codes,
        ),
    ]


def main(arguments):
    check = arguments[:1] == ["--check"]
    if len(arguments) != 1 + check:
        sys.exit(__doc__)
    tree = Path(arguments[-1])
    if not (tree / "tools/perf/pmu-events/arch/x86/mapfile.csv").exists():
        sys.exit(f"`{tree}` is no kernel tree: it has no tools/perf/pmu-events/arch/x86/mapfile.csv")
    status = 0
    for path, text in derive(tree):
        if not check:
            path.write_text(text)
        elif path.read_text() != text:
            print(f"{path.name} differs from what this tree yields; run scripts/events.py without --check and read the diff")
            status = 1
    sys.exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])

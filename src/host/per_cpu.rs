//! Counters of one CPU in the texts of `/proc`. Called between windows: no allocation, one pass.

/// Interrupts of one CPU since boot, by origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interrupts {
    pub timer: u64,
    pub cpus: u64,
    pub devices: u64,
    pub others: u64,
}

/// Softirqs of one CPU since boot: those that a tick raises, and the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Softirqs {
    pub tick: u64,
    pub others: u64,
}

/// How the calling thread fared, from `/proc/thread-self/schedstat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduled {
    /// Nanoseconds on a run queue without running.
    pub waited_ns: u64,
    /// Times it was put on a CPU.
    pub times: u64,
}

/// `/proc/interrupts`. Numbered lines are devices; `ERR` and `MIS` are sums over all CPUs and left out.
/// `None` if the CPU has no column, as an offline one.
pub fn interrupts(text: &[u8], cpu: u32) -> Option<Interrupts> {
    let mut sums = Interrupts::default();
    rows(text, cpu, |name, count| match name {
        b"LOC" => sums.timer += count,
        b"RES" | b"CAL" | b"TLB" => sums.cpus += count,
        b"ERR" | b"MIS" => {}
        _ if name.iter().all(u8::is_ascii_digit) => sums.devices += count,
        _ => sums.others += count,
    })?;
    Some(sums)
}

/// `/proc/softirqs`.
pub fn softirqs(text: &[u8], cpu: u32) -> Option<Softirqs> {
    let mut sums = Softirqs::default();
    rows(text, cpu, |name, count| match name {
        b"TIMER" | b"SCHED" | b"HRTIMER" | b"RCU" => sums.tick += count,
        _ => sums.others += count,
    })?;
    Some(sums)
}

/// Steal time of `cpu` in `/proc/stat`, in clock ticks.
pub fn steal_ticks(text: &[u8], cpu: u32) -> Option<u64> {
    text.split(|&byte| byte == b'\n').find_map(|line| {
        let mut words = words(line);
        let label = words.next()?.strip_prefix(b"cpu")?;
        // user nice system idle iowait irq softirq steal
        (number(label)? == u64::from(cpu)).then(|| words.nth(7).and_then(number))?
    })
}

/// `/proc/thread-self/schedstat`.
pub fn scheduled(text: &[u8]) -> Option<Scheduled> {
    let mut numbers = words(text).map(number);
    let (_on_cpu_ns, waited_ns, times) = (numbers.next()??, numbers.next()??, numbers.next()??);
    Some(Scheduled { waited_ns, times })
}

/// Calls `each` with the label and the count of `cpu` of every line that has one. The first line names the CPUs online.
fn rows(text: &[u8], cpu: u32, mut each: impl FnMut(&[u8], u64)) -> Option<()> {
    let mut lines = text.split(|&byte| byte == b'\n');
    let is_ours = |word: &[u8]| word.strip_prefix(b"CPU").and_then(number) == Some(u64::from(cpu));
    let column = words(lines.next()?).position(is_ours)?;
    for line in lines {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (label, counts) = (&line[..colon], &line[colon + 1..]);
        if let Some(count) = words(counts).nth(column).and_then(number) {
            each(label.trim_ascii(), count);
        }
    }
    Some(())
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty())
}

/// Decimal digits alone; a word such as `IO-APIC` behind the counts is none.
fn number(word: &[u8]) -> Option<u64> {
    let digit = |sum: u64, byte: &u8| sum.checked_mul(10)?.checked_add(u64::from(byte.checked_sub(b'0')?));
    let digits = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    if digits { word.iter().try_fold(0, digit) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a two-CPU KVM guest of 6.18 prints it, with CPU 1 offline between two others.
    const INTERRUPTS: &[u8] = b"           CPU0       CPU2
 24:          1          0  IO-APIC   5-edge      ACPI:Ged
 36:          7     114781 PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0
NMI:          0          3   Non-maskable interrupts
LOC:     201367     352199   Local timer interrupts
RES:      26029      20492   Rescheduling interrupts
CAL:     518710     204288   Function call interrupts
TLB:      86581      95255   TLB shootdowns
HYP:         74         46   Hypervisor callback interrupts
ERR:          9
MIS:          0
";

    const SOFTIRQS: &[u8] = b"                    CPU0       CPU1
          HI:          0          2
       TIMER:      31508      31977
      NET_TX:          4          0
      NET_RX:       3158       3798
       BLOCK:          0     114780
     TASKLET:        123          8
       SCHED:      49337      43613
     HRTIMER:          0          1
         RCU:      70802     103510
";

    const STAT: &[u8] = b"cpu  129869 0 26656 127347 2568 0 158 70 0 0
cpu0 55972 0 7831 78329 966 0 42 28 0 0
cpu1 73896 0 18824 49018 1602 0 115 41 0 0
cpu11 1 2 3 4 5 6 7 8 9 10
intr 2040 0 1
";

    #[test]
    fn interrupts_are_sorted_by_where_they_come_from() {
        let of_two = Interrupts { timer: 352_199, cpus: 20_492 + 204_288 + 95_255, devices: 114_781, others: 49 };
        assert_eq!(interrupts(INTERRUPTS, 2), Some(of_two));
        let of_zero = Interrupts { timer: 201_367, cpus: 26_029 + 518_710 + 86_581, devices: 8, others: 74 };
        assert_eq!(interrupts(INTERRUPTS, 0), Some(of_zero), "the sum in `ERR` is nobody's");
    }

    #[test]
    fn a_cpu_without_a_column_has_no_counts() {
        assert_eq!(interrupts(INTERRUPTS, 1), None);
        assert_eq!(softirqs(SOFTIRQS, 2), None);
        assert_eq!(steal_ticks(STAT, 2), None);
        assert_eq!(interrupts(b"", 0), None);
    }

    #[test]
    fn softirqs_of_the_tick_stand_apart() {
        let expected = Softirqs { tick: 31_977 + 43_613 + 1 + 103_510, others: 2 + 3798 + 114_780 + 8 };
        assert_eq!(softirqs(SOFTIRQS, 1), Some(expected));
    }

    #[test]
    fn steal_is_the_eighth_number_of_the_cpu() {
        assert_eq!((steal_ticks(STAT, 0), steal_ticks(STAT, 1), steal_ticks(STAT, 11)), (Some(28), Some(41), Some(8)));
        assert_eq!(steal_ticks(b"cpu0 1 2 3 4 5 6 7\n", 0), None, "kernels before 2.6.11 have no such column");
    }

    #[test]
    fn schedstat_tells_waiting_from_running() {
        assert_eq!(scheduled(b"5021 2309362 17\n"), Some(Scheduled { waited_ns: 2_309_362, times: 17 }));
        assert_eq!(scheduled(b"0 0\n"), None);
        assert_eq!(scheduled(b"1 99999999999999999999 1\n"), None, "no number of 64 bits");
    }
}

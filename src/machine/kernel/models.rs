//! What the modelled bodies look up: bpf/models.bpf.c describes the maps.

use libbpf_rs::{MapCore, MapFlags, Object};

use crate::machine::{MachineError, Result};

/// The packet's addresses in bpf/models.bpf.c, as the program reads them.
const SOURCE: u32 = 0x0a00_0001;
const DESTINATION: u32 = 0x0a00_0002;
const PORTS: (u16, u16) = (0xc000, 53);
const UDP: u32 = 17;
/// Beside the packet's own: lookups walk a table as it is, not an empty one.
const OTHERS: u8 = 63;

/// Fills the tables that are only read.
pub fn fill(object: &Object) -> Result<()> {
    for other in 0..=OTHERS {
        let prefix = |bits: u32, address: [u8; 4]| [&bits.to_ne_bytes()[..], &address].concat();
        store(object, "routes", &prefix(24, [10, 0, other, 0]), u32::from(other))?;
        store(object, "routes", &prefix(16, [10, other, 0, 0]), u32::from(other))?;
        store(object, "verdicts", &tuple(SOURCE + u32::from(other)), 2)?;
    }
    store(object, "routes", &[&32u32.to_ne_bytes()[..], &DESTINATION.to_be_bytes()].concat(), 1)
}

/// `struct tuple` from `source` to the packet's destination.
fn tuple(source: u32) -> Vec<u8> {
    let ports = [PORTS.0.to_ne_bytes(), PORTS.1.to_ne_bytes()].concat();
    [&source.to_ne_bytes()[..], &DESTINATION.to_ne_bytes(), &ports, &UDP.to_ne_bytes()].concat()
}

fn store(object: &Object, map: &str, key: &[u8], value: u32) -> Result<()> {
    let failed = |error: String| MachineError::failed(format!("failed to fill map `{map}`: {error}"));
    let map = object.maps().find(|found| found.name() == map).ok_or_else(|| failed("not in the object".to_owned()))?;
    map.update(key, &value.to_ne_bytes(), MapFlags::ANY).map_err(|error| failed(error.to_string()))
}

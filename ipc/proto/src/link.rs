//! Interfaces that are made of others.

use serde::{Deserialize, Serialize};

/// A VLAN over an interface (IEEE 802.1Q).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vlan {
    /// The interface whose frames have the tag.
    pub parent: String,
    /// The VLAN, 1 to 4094.
    pub id: u16,
    /// How urgent the frames are that are sent (PCP), 0 to 7.
    pub priority: u8,
    /// A provider's tag, 0x88a8 (IEEE 802.1ad), not a customer's.
    pub service: bool,
}

//! What a client can do wrong in its memory.

/// The client's memory holds what a working client never writes. The daemon disconnects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerMisbehaved {
    /// Flags this version does not know.
    #[error("descriptor with unknown flags")]
    UnknownFlags,
    /// Bytes outside of the transmit area.
    #[error("descriptor outside of the transmit area")]
    OutsideTransmitArea,
    /// A cell of another lane, or none at all.
    #[error("descriptor for a cell of another lane")]
    ForeignCell,
    /// A datagram shorter than its header or longer than UDP can carry.
    #[error("datagram of impossible length")]
    DatagramLength,
    /// More consumed than there was.
    #[error("more bytes consumed than published")]
    ConsumedTooMuch,
}

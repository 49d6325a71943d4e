//! A protocol module in Rust, to begin from: frames of its EtherType go back to their senders.
//!
//! ```sh
//! cargo build --release
//! io-pkt -d net_tap -p $PWD/target/release/liblsm_pong.so
//! ```
#![deny(unsafe_code)]

use lsm_sdk::{
    Arrival, Context, Host, Level, OpenError, Protocol, Received, Variable, export_protocol,
};

export_protocol!(Pong);

/// For local experiments (IEEE 802).
const ETHERTYPE: u16 = 0x88b6;

/// The module: what its workers share.
struct Pong {
    answered: Variable,
}

impl Protocol for Pong {
    const NAME: &'static str = "pong";
    const OPTIONS: &'static str = "";

    fn open(host: &Host<Self>) -> Result<Self, OpenError> {
        host.log(Level::Info, "frames come back");
        let _ = host.attach_ethertype(ETHERTYPE)?;
        // The operator reads it: iopkt sysctl pong.answered
        Ok(Self { answered: host.add_counter("answered", "Frames sent back.")? })
    }

    /// Frames from the Ethernet header on. They are ours; those that we don't send are freed.
    fn receive(&self, cx: &mut Context<'_, Self>, arrival: Arrival, packets: &mut Received<'_>) {
        let mut answered = 0;
        for mut frame in packets {
            let Some(to) = frame.data_mut().get_mut(..12) else { continue };
            let (to, from) = to.split_at_mut(6);
            to.swap_with_slice(from);
            // One that finds no room is lost, as frames may be.
            answered += i64::from(cx.send_frame(arrival.interface, frame).is_ok());
        }
        cx.host().count(self.answered, answered);
    }
}

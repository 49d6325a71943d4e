//! The macro that declares a block of counters together with its table of names.

/// Declares a block of [`Counter`](crate::Counter)s: field, metric name and help text in one line.
///
/// ```
/// counters::counters! {
///     /// What the UDP layer did.
///     pub struct UdpCounters "udp" {
///         datagrams_received "Datagrams received.",
///         datagrams_sent "Datagrams sent.",
///     }
/// }
///
/// let udp = UdpCounters::default();
/// udp.datagrams_sent.increment();
/// assert_eq!(UdpCounters::SUBSYSTEM, "udp");
/// assert_eq!(udp.rows().last(), Some(("datagrams_sent", "Datagrams sent.", 1)));
/// ```
///
/// The block starts on a cache line of its own, so two workers' blocks never share one.
#[macro_export]
macro_rules! counters {
    ($(#[$meta:meta])* $vis:vis struct $name:ident $subsystem:literal {
        $($field:ident $help:literal),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        #[repr(align(64))]
        $vis struct $name {
            $(#[doc = $help] pub $field: $crate::Counter,)+
        }

        impl $name {
            /// The `<subsystem>` of the metrics' names.
            pub const SUBSYSTEM: &'static str = $subsystem;

            /// Name, help text and present value of every counter, in the order of declaration.
            pub fn rows(
                &self,
            ) -> impl ::core::iter::Iterator<Item = (&'static str, &'static str, u64)> + use<> {
                [$((::core::stringify!($field), $help, self.$field.value()),)+].into_iter()
            }
        }
    };
}

//! Why a frame was discarded.

macro_rules! discards {
    ($($name:ident $label:literal $text:literal)*) => {
        /// Why a frame was discarded. Each has one reason and is counted once.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Discard { $(#[doc = $text] $name,)* }

        impl Discard {
            /// Every reason, in counter order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The reason as a label.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

discards! {
    TooShort "too_short" "Shorter than its header."
    Version "version" "The version is not 42 in either byte order."
    Length "length" "The length goes beyond the frame."
    Checksum "checksum" "The checksum is wrong."
    Unchecked "unchecked" "There is no checksum, and this node wants one."
    Kind "kind" "No such type of frame, or none that may come now."
    Layer "layer" "No such layer."
    Names "names" "A name is empty, too long, without end or not printable."
    Own "own" "The frame is our own, or from a node of our name."
    NotForUs "not_for_us" "Another node is asked."
    Stranger "stranger" "From a node that we do not know and do not add."
    NodesFull "nodes_full" "The table of nodes is at its limit."
    PathsFull "paths_full" "The node has as many paths as we keep."
    ConnectionsFull "connections_full" "As many connections come in as we keep."
    NoConnection "no_connection" "For a connection that is not here."
    Stale "stale" "From a connection that has been replaced."
    Duplicate "duplicate" "Came before."
    Window "window" "Beyond the window."
    Memory "memory" "The memory for frames out of order, or for what waits to be read, is used up."
    Message "message" "Does not continue its message, or makes it too long."
    Acknowledgement "acknowledgement" "Acknowledges what was not sent, or reports holes that can't be."
}

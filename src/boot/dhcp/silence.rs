//! Why a request gets no answer.

/// Why nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Silence {
    /// No subnet of content holds the relay's or the interface's address.
    #[error("no subnet is declared for where it comes from")]
    NoSubnet,
    /// The subnet's mode is off.
    #[error("the subnet's mode is off")]
    Off,
    /// A proxy says nothing to this.
    #[error("another server gives addresses here")]
    NotProxied,
    /// It speaks to another server.
    #[error("it speaks to another server")]
    OtherServer,
    /// It is in another replica's share, and has not waited yet ([`crate::boot::share`]).
    #[error("another replica answers this client")]
    OtherReplica,
    /// RFC 2131 4.3.2: without a record of the client a server must be silent.
    #[error("there is no record of this client")]
    NoRecord,
    /// All addresses are taken.
    #[error("the pool has no free address left")]
    PoolEmpty,
    /// A message that is not answered (DECLINE, RELEASE).
    #[error("the message wants no answer")]
    NoAnswer,
    /// Nothing may be booted, and that is all that was asked.
    #[error("it may boot nothing")]
    NotPermitted,
    /// A relay's address is nobody's we serve, or fields contradict each other.
    #[error("the request contradicts itself")]
    Contradiction,
}

impl Silence {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSubnet => "no-subnet",
            Self::Off => "off",
            Self::NotProxied => "not-proxied",
            Self::OtherServer => "other-server",
            Self::OtherReplica => "other-replica",
            Self::NoRecord => "no-record",
            Self::PoolEmpty => "pool-empty",
            Self::NoAnswer => "no-answer",
            Self::NotPermitted => "not-permitted",
            Self::Contradiction => "contradiction",
        }
    }
}

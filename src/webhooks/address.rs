//! Which addresses the server may send to.
//!
//! Owns the classes of IP addresses, and the look-up of names. A webhook must not become a way into the network of the
//! server: so names are checked when they are resolved for a connection, because the address of a name can change.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

/// The only name of this machine. Other names that resolve to a loopback address are refused.
pub(super) const LOCALHOST: &str = "localhost";

/// Look-ups at the same time. Each takes a thread of the pool that files need too, until the system's resolver gives up, which can
/// take half a minute. Nothing can cancel it.
static LOOK_UPS: Semaphore = Semaphore::const_new(16);

/// From where an address can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// This machine.
    Loopback,
    /// The network of an organization or a provider.
    Private,
    /// The internet.
    Public,
    /// No receiver has such an address. Link-local addresses are here too: clouds serve credentials at one of them.
    Never,
}

/// Private addresses at which clouds serve credentials.
const CREDENTIALS_V4: [u8; 4] = [100, 100, 100, 200];
const CREDENTIALS_V6: [u16; 8] = [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254];

impl Reach {
    pub(super) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    /// The [registry of special addresses](https://www.iana.org/assignments/iana-ipv4-special-registry).
    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            [127, ..] => Self::Loopback,
            [0 | 224..=255, ..]
            | [169, 254, ..]
            | [192, 0, 0 | 2, _]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | CREDENTIALS_V4 => Self::Never,
            // The last two: shared by customers of one provider, and benchmarks.
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] | [198, 18..=19, ..] => Self::Private,
            _ => Self::Public,
        }
    }

    /// The [registry of special addresses](https://www.iana.org/assignments/iana-ipv6-special-registry). An address that
    /// contains an IPv4 address has the reach of that one.
    fn of_v6(address: Ipv6Addr) -> Self {
        let v4 = |high: u16, low: u16| {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Self::of_v4(Ipv4Addr::new(a, b, c, d))
        };
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            // Mapped; translated by NAT64; 6to4.
            [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
                v4(high, low)
            }
            // Credentials; protocol assignments with Teredo; documentation.
            CREDENTIALS_V6 | [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Self::Never,
            // Unique local, and the older site-local.
            [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Self::Private,
            [0x2000..=0x3fff, ..] => Self::Public,
            _ => Self::Never,
        }
    }
}

/// Which addresses a host may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    pub(super) allow_private: bool,
    /// Whether the connection has TLS. Without it, nothing is sent over the internet.
    pub(super) tls: bool,
}

impl Policy {
    /// Whether a host may have this address. `is_local`: the host is named as one of this machine.
    pub(super) fn admits(self, address: IpAddr, is_local: bool) -> bool {
        match Reach::of(address) {
            Reach::Loopback => is_local || self.allow_private,
            Reach::Private => self.allow_private,
            Reach::Public => self.tls,
            Reach::Never => false,
        }
    }
}

/// A name has no address to which the server may send.
#[derive(Debug, thiserror::Error)]
#[error("the name has no address that is allowed; webhook_allow_private allows private ones")]
struct Refused;

/// The addresses of a name. Their port is 0: the connector sets it.
async fn look_up(name: String) -> io::Result<Vec<SocketAddr>> {
    let permit = LOOK_UPS.acquire().await.map_err(io::Error::other)?;
    // The thread has the permit until the look-up returns, even if nobody waits for it any more.
    let looking_up = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        (name.as_str(), 0).to_socket_addrs().map(Iterator::collect)
    });
    looking_up.await.unwrap_or_else(|failed| Err(io::Error::other(failed)))
}

/// Looks names up, and drops the addresses that the policy does not admit. The connector asks it for every connection to
/// a name.
impl Resolve for Policy {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = *self;
        Box::pin(async move {
            let found = look_up(name.as_str().to_owned()).await;
            let is_local = name.as_str() == LOCALHOST;
            let admitted: Vec<SocketAddr> =
                found?.into_iter().filter(|found| policy.admits(found.ip(), is_local)).collect();
            if admitted.is_empty() {
                return Err(Refused.into());
            }
            Ok(Box::new(admitted.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_address_has_its_class() {
        use Reach::{Loopback, Never, Private, Public};
        for (address, reach) in [
            ("127.0.0.1", Loopback),
            ("127.255.255.254", Loopback),
            ("::1", Loopback),
            ("::ffff:127.0.0.1", Loopback),
            ("10.0.0.1", Private),
            ("100.100.100.200", Never),
            ("100.100.100.201", Private),
            ("fd00:ec2::254", Never),
            ("fd00:ec2::253", Private),
            ("172.16.0.1", Private),
            ("172.31.255.255", Private),
            ("172.32.0.1", Public),
            ("192.168.1.1", Private),
            ("100.64.0.1", Private),
            ("100.128.0.1", Public),
            ("198.18.0.1", Private),
            ("fd00::1", Private),
            ("fc00::1", Private),
            ("fec0::1", Private),
            ("::ffff:10.0.0.1", Private),
            ("64:ff9b::10.0.0.1", Private),
            ("2002:c0a8:101::1", Private),
            ("0.0.0.0", Never),
            ("169.254.169.254", Never),
            ("::ffff:169.254.169.254", Never),
            ("192.0.0.8", Never),
            ("192.0.2.1", Never),
            ("198.51.100.1", Never),
            ("203.0.113.1", Never),
            ("224.0.0.1", Never),
            ("240.0.0.1", Never),
            ("255.255.255.255", Never),
            ("::", Never),
            ("::8.8.8.8", Never),
            ("64:ff9b:1::1", Never),
            ("100::1", Never),
            ("fe80::1", Never),
            ("ff02::1", Never),
            ("2001:db8::1", Never),
            ("2001::1", Never),
            ("3fff::1", Never),
            ("8.8.8.8", Public),
            ("192.0.1.1", Public),
            ("::ffff:8.8.8.8", Public),
            ("2606:4700::1111", Public),
            ("2001:4860:4860::8888", Public),
        ] {
            assert_eq!(Reach::of(address.parse().unwrap()), reach, "{address}");
        }
    }

    #[test]
    fn private_addresses_need_the_setting_and_public_ones_need_tls() {
        let [loopback, private, public, never] =
            ["127.0.0.1", "10.0.0.1", "8.8.8.8", "169.254.169.254"].map(|address| address.parse().unwrap());
        for (allow_private, tls) in [(false, false), (false, true), (true, false), (true, true)] {
            let policy = Policy { allow_private, tls };
            assert!(policy.admits(loopback, true));
            assert_eq!(policy.admits(loopback, false), allow_private);
            assert_eq!(policy.admits(private, false), allow_private);
            assert_eq!(policy.admits(public, false), tls);
            assert!(!policy.admits(never, false));
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_a_refused_address_has_no_address() {
        let resolve = async |name: &str, policy: Policy| policy.resolve(name.parse().unwrap()).await;
        let policy = Policy { allow_private: false, tls: true };
        let local: Vec<SocketAddr> = resolve("localhost", policy).await.unwrap().collect();
        assert!(!local.is_empty() && local.iter().all(|found| found.ip().is_loopback()), "{local:?}");
        // A literal address needs no name server.
        assert!(resolve("10.0.0.1", policy).await.is_err());
        assert!(resolve("127.0.0.1", policy).await.is_err());
        assert!(resolve("10.0.0.1", Policy { allow_private: true, ..policy }).await.is_ok());
    }
}

//! Which addresses a tenant's template may make the controller talk to (design section 7). Checked after DNS and after
//! every redirect: a name that leads to a cloud's metadata service is refused like the address itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    /// Let link-local and metadata addresses through.
    pub allow_link_local: bool,
}

/// Metadata services outside of the link-local ranges: AWS by IPv6, Alibaba Cloud.
const METADATA: [IpAddr; 2] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
];

impl AddressPolicy {
    /// Whether to talk to this address.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn check(self, address: IpAddr) -> Result<(), String> {
        if !self.allow_link_local && is_metadata(address) {
            return Err(format!(
                "{address} is a link-local or cloud metadata address, which metric providers must not use; start the controller with --allow-link-local-providers if it is meant"
            ));
        }
        Ok(())
    }
}

fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || METADATA.contains(&address),
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || METADATA.contains(&address)
                || embedded(v6).is_some_and(|v4| is_metadata(v4.into()))
        }
    }
}

/// The IPv4 address inside a mapped (`::ffff:…`) or NAT64 (`64:ff9b::…`) one.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    v6.to_ipv4_mapped().or_else(|| match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_addresses_are_refused_in_every_disguise() {
        let policy = AddressPolicy::default();
        for refused in [
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fd00:ec2::254",
            "100.100.100.200",
        ] {
            assert!(policy.check(refused.parse().unwrap()).is_err(), "{refused}");
            assert!(
                AddressPolicy { allow_link_local: true }
                    .check(refused.parse().unwrap())
                    .is_ok()
            );
        }
        for allowed in ["127.0.0.1", "10.0.0.1", "192.168.1.1", "::1", "8.8.8.8", "fd00::1"] {
            assert!(policy.check(allowed.parse().unwrap()).is_ok(), "{allowed}");
        }
    }
}

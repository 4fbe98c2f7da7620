use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::value::{SettingValue, items};

/// IP networks separated by commas; a bare address is a network of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Returns whether one of the networks has this address.
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Adds the loopback addresses.
    pub fn trust_this_machine(&mut self) {
        self.0.extend([IpNet::from(IpAddr::V4(Ipv4Addr::LOCALHOST)), IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST))]);
    }
}

impl SettingValue for Networks {
    fn from_text(text: &str) -> Result<Self, String> {
        let parse = |item: &str| {
            let network = item.parse().or_else(|_| item.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| format!("{item:?} is no address or network, such as 10.0.0.0/8"))
        };
        items(text).map(parse).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_addresses_are_taken() {
        let networks = Networks::from_text("10.0.0.0/8, 2001:db8::1").expect("networks");
        let contain = |text: &str| networks.contain(text.parse().expect("an address"));
        assert!(contain("10.9.8.7") && contain("2001:db8::1") && !contain("11.0.0.1") && !contain("2001:db8::2"));
        assert!(Networks::from_text("10.0.0.0/33").is_err() && Networks::from_text("proxy").is_err());
    }
}

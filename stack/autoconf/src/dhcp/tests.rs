//! A client and a server's answers, in virtual time.

use super::*;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const OURS: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 50);
const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const SERVER_IP: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 1);

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

/// An answer to what was sent.
fn answer(to: &Outgoing, kind: u8, options: &[u8]) -> Vec<u8> {
    let mut bytes = to.message[..FIXED_LEN].to_vec();
    bytes[0] = REPLY;
    bytes[16..20].copy_from_slice(&OURS.octets());
    bytes.extend(COOKIE);
    bytes.extend([KIND, 1, kind, SERVER, 4]);
    bytes.extend(SERVER_IP.octets());
    bytes.extend(options);
    bytes.push(END);
    bytes
}

/// 24 bits, a router, MTU 1400, 100 s.
const GIVEN: [u8; 22] = [
    MASK, 4, 255, 255, 255, 0, ROUTERS, 4, 198, 18, 77, 1, MTU, 2, 0x05, 0x78, TIME, 4, 0, 0, 0,
    100,
];

fn kind(sent: &Outgoing) -> u8 {
    sent.message[FIXED_LEN + 6]
}

fn sent(client: &mut Client, now: Instant) -> Outgoing {
    client.timeout(now, 1000);
    client.poll_transmit().unwrap()
}

fn bound() -> Client {
    let mut client = Client::new(MAC, at(0), 7 << 32);
    let discover = sent(&mut client, at(0));
    client.input(&answer(&discover, 2, &GIVEN), at(1));
    let request = sent(&mut client, at(1));
    assert_eq!(kind(&request), 3);
    client.input(&answer(&request, 5, &GIVEN), at(1));
    assert!(client.take_changed());
    client
}

#[test]
fn four_messages_give_an_address() {
    let client = bound();
    let lease = *client.lease().unwrap();
    assert_eq!((lease.address, lease.prefix_len, lease.server), (OURS, 24, SERVER_IP));
    assert_eq!((lease.router, lease.mtu), (Some(SERVER_IP), Some(1400)));
    assert_eq!(client.next_timeout(), Some(at(51)));
}

#[test]
fn a_silent_network_is_asked_ever_more_rarely() {
    let mut client = Client::new(MAC, at(0), 1);
    let mut gaps = Vec::new();
    for _ in 0..7 {
        let now = client.next_timeout().unwrap();
        let discover = sent(&mut client, now);
        assert_eq!((kind(&discover), discover.to), (1, Ipv4Addr::BROADCAST));
        assert_eq!(discover.message[10..12], [0x80, 0], "to everybody, please");
        gaps.push(client.next_timeout().unwrap().since(now).as_secs());
    }
    assert_eq!(gaps, [4, 8, 16, 32, 64, 64, 64]);
}

#[test]
fn a_lease_is_renewed_at_half_time_by_its_server() {
    let mut client = bound();
    let renew = sent(&mut client, at(51));
    assert_eq!((kind(&renew), renew.source, renew.to), (3, OURS, SERVER_IP));
    assert_eq!(renew.message[12..16], OURS.octets());
    client.input(&answer(&renew, 5, &GIVEN), at(52));
    assert!(!client.take_changed(), "it is the same");
    assert_eq!(client.next_timeout(), Some(at(102)));
}

#[test]
fn without_an_answer_any_server_is_asked_and_then_the_lease_ends() {
    let mut client = bound();
    let mut last = Ipv4Addr::UNSPECIFIED;
    while let Some(due) = client.next_timeout().filter(|due| *due < at(101)) {
        last = sent(&mut client, due).to;
    }
    assert_eq!(last, Ipv4Addr::BROADCAST);
    assert!(client.lease().is_some());
    assert_eq!(kind(&sent(&mut client, at(101))), 1, "from the beginning");
    assert!(client.take_changed() && client.lease().is_none());
}

#[test]
fn a_refusal_ends_the_lease_at_once() {
    let mut client = bound();
    let renew = sent(&mut client, at(51));
    client.input(&answer(&renew, 6, &[]), at(52));
    assert!(client.take_changed() && client.lease().is_none());
    client.timeout(at(52), 1000);
    assert!(client.poll_transmit().is_none(), "a server that refuses sets no pace");
    assert_eq!(kind(&sent(&mut client, at(53))), 1);
}

#[test]
fn a_lease_of_no_time_is_not_renewed_at_once() {
    let mut client = Client::new(MAC, at(0), 7 << 32);
    let discover = sent(&mut client, at(0));
    let nothing = [&GIVEN[..18], &[0, 0, 0, 1]].concat();
    client.input(&answer(&discover, 2, &nothing), at(1));
    let request = sent(&mut client, at(1));
    client.input(&answer(&request, 5, &nothing), at(1));
    client.timeout(at(1), 1000);
    assert!(client.poll_transmit().is_none());
}

#[test]
fn a_link_that_comes_up_again_is_asked_whether_the_lease_holds() {
    let mut client = bound();
    client.restart();
    let reboot = sent(&mut client, at(20));
    assert_eq!((kind(&reboot), reboot.source, reboot.to), (3, NONE, Ipv4Addr::BROADCAST));
    assert_eq!(reboot.message[12..16], [0; 4], "an address that is asked for is not used yet");
    let named = |code: u8| reboot.message[FIXED_LEN..].windows(2).any(|w| w == [code, 4]);
    assert!(named(REQUESTED) && !named(SERVER));
    client.input(&answer(&reboot, 5, &GIVEN), at(21));
    assert!(!client.take_changed(), "it is the same");
    assert_eq!(client.next_timeout(), Some(at(71)));

    client.restart();
    let reboot = sent(&mut client, at(30));
    client.input(&answer(&reboot, 6, &[]), at(31));
    assert!(client.take_changed() && client.lease().is_none(), "it is another link");
}

#[test]
fn where_nobody_answers_a_lease_is_used_until_its_end() {
    let mut client = bound();
    client.restart();
    let mut kinds = Vec::new();
    while let Some(due) = client.next_timeout().filter(|due| *due < at(101)) {
        client.timeout(due.max(at(2)), 1000);
        kinds.extend(client.poll_transmit().as_ref().map(kind));
    }
    assert_eq!((kinds.len(), kinds.iter().all(|kind| *kind == 3)), (6, true), "{kinds:?}");
    assert!(client.lease().is_some() && !client.take_changed());
    client.restart();
    assert_eq!(kind(&sent(&mut client, at(101))), 1);
    assert!(client.take_changed() && client.lease().is_none());
}

#[test]
fn an_address_that_is_of_no_use_is_declined_and_another_asked_for_later() {
    let mut client = bound();
    client.decline(at(2));
    let decline = client.poll_transmit().unwrap();
    assert_eq!((kind(&decline), decline.source, decline.to), (4, NONE, Ipv4Addr::BROADCAST));
    let options = &decline.message[FIXED_LEN..];
    let named = |code, address: Ipv4Addr| {
        let option = [&[code, 4], &address.octets()[..]].concat();
        options.windows(6).any(|w| w == option)
    };
    assert!(named(REQUESTED, OURS) && named(SERVER, SERVER_IP));
    assert!(client.lease().is_none());
    client.timeout(at(11), 1000);
    assert!(client.poll_transmit().is_none(), "not at once");
    assert_eq!(kind(&sent(&mut client, at(12))), 1);
}

#[test]
fn the_address_is_given_back() {
    let client = bound();
    let release = client.release().unwrap();
    assert_eq!((kind(&release), release.to, release.source), (7, SERVER_IP, OURS));
    assert!(Client::new(MAC, at(0), 1).release().is_none());
}

#[test]
fn answers_to_others_and_broken_ones_change_nothing() {
    let mut client = Client::new(MAC, at(0), 7 << 32);
    let discover = sent(&mut client, at(0));
    let good = answer(&discover, 2, &GIVEN);
    for at_byte in [0, 4, 28, 236] {
        let mut bad = good.clone();
        bad[at_byte] ^= 0xff;
        client.input(&bad, at(1));
    }
    for len in 0..good.len() {
        client.input(&good[..len.min(FIXED_LEN + 20)], at(1));
    }
    client.input(&answer(&discover, 2, &[MASK, 4, 255, 0, 255, 0, TIME, 4, 0, 0, 0, 9]), at(1));
    client.input(&answer(&discover, 2, &[TIME, 4, 0, 0, 0, 0]), at(1));
    client.input(&answer(&discover, 5, &GIVEN), at(1));
    assert_eq!(client.next_timeout(), Some(at(4)), "still waiting for an offer");
}

//! The simulated kernel on its own, driven with operations.

mod contract;
mod datagrams;
mod soak;
mod steer;
mod streams;

use std::net::SocketAddr;

use super::{Faults, SimRing, World};
use crate::config::{HostOrAddr, TcpConnectConfig, TcpListenConfig};
use crate::ring::op::{Completion, Fd, Op, Sock, Tag, Token, Wait};
use crate::sys::addr::SockAddr;

const GROUP: u16 = 7;
const BUFFER_LEN: usize = 256;

/// One node with some memory to receive into.
struct Host {
    ring: SimRing,
    buffers: Vec<Box<[u8]>>,
}

impl Host {
    fn new(world: &World, buffer_count: u16) -> Self {
        let mut ring = world.ring();
        ring.group_register(GROUP, 64).unwrap();
        let mut host = Self { ring, buffers: Vec::new() };
        for bid in 0..buffer_count {
            host.buffers.push(Box::from([0; BUFFER_LEN]));
            host.give_back(bid);
        }
        host
    }

    fn give_back(&mut self, bid: u16) {
        let ptr = self.buffers[usize::from(bid)].as_mut_ptr();
        self.ring.group_provide(GROUP, bid, ptr, BUFFER_LEN as u32);
        self.ring.group_publish(GROUP);
    }

    /// One tick.
    fn poll(&mut self) -> Vec<Completion> {
        self.ring.enter(Wait::None).unwrap();
        let mut into = [Completion::EMPTY; 8];
        let mut all = Vec::new();
        loop {
            let count = self.ring.reap(&mut into);
            all.extend_from_slice(&into[..count]);
            if count < into.len() {
                return all;
            }
        }
    }

    fn data(&mut self, completion: &Completion) -> Vec<u8> {
        let bid = completion.buffer().unwrap();
        let data = self.buffers[usize::from(bid)][..completion.result as usize].to_vec();
        self.give_back(bid);
        data
    }

    fn recv(&mut self, fd: Fd) {
        self.ring.push(Op::RecvMulti { sock: Sock::plain(fd), group: GROUP }, recv_token(fd));
    }

    fn send(&mut self, fd: Fd, bytes: &[u8]) {
        let (ptr, len) = (bytes.as_ptr(), bytes.len() as u32);
        self.ring.push(Op::Send { sock: Sock::plain(fd), ptr, len }, send_token(fd));
    }
}

fn recv_token(fd: Fd) -> Token {
    Token::new(Tag::Recv, 0, fd as u32)
}

fn send_token(fd: Fd) -> Token {
    Token::new(Tag::Send, 0, fd as u32)
}

/// Polls everyone until nothing is to come; what each saw.
fn settle(world: &World, hosts: &mut [&mut Host]) -> Vec<Vec<Completion>> {
    let mut seen = vec![Vec::new(); hosts.len()];
    for _ in 0..10_000 {
        for (host, seen) in hosts.iter_mut().zip(&mut seen) {
            seen.extend(host.poll());
        }
        if !world.advance_to_next() {
            return seen;
        }
    }
    panic!("the world does not come to rest");
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn listen(host: &mut Host, backlog: u32) -> (Fd, SocketAddr) {
    let config = TcpListenConfig::new(any_port()).with(|c| c.backlog = backlog);
    let fd = host.ring.tcp_listen(&config).unwrap();
    let addr = host.ring.local_addr(fd).unwrap().ip().unwrap();
    (fd, addr)
}

/// Starts to connect; the address must live until it is complete.
fn connect(host: &mut Host, to: &SockAddr) -> Fd {
    let config = TcpConnectConfig::new(HostOrAddr::Addr(to.ip().unwrap()));
    let fd = host.ring.tcp_socket(&config, to).unwrap();
    let token = Token::new(Tag::Connect, 0, fd as u32);
    host.ring.push(Op::Connect { sock: Sock::plain(fd), addr: to }, token);
    fd
}

/// Two nodes and a TCP connection: the descriptors at the client and at the server.
fn pair(faults: Faults) -> (World, Host, Host, Fd, Fd) {
    let world = World::new(1, faults);
    let mut client = Host::new(&world, 8);
    let mut server = Host::new(&world, 8);
    let (listener, addr) = listen(&mut server, 16);
    let to = SockAddr::from(addr);
    let fd = connect(&mut client, &to);
    let seen = settle(&world, &mut [&mut client, &mut server]);
    assert_eq!(seen[0][0].result, 0);
    let (accepted, from) = server.ring.accept(listener).unwrap().unwrap();
    assert_eq!(from, client.ring.local_addr(fd).unwrap());
    server.ring.close_now(listener);
    (world, client, server, fd, accepted)
}

/// Two nodes and a Unix connection.
fn unix_pair(faults: Faults) -> (World, Host, Host, Fd, Fd) {
    let world = World::new(1, faults);
    let mut client = Host::new(&world, 8);
    let mut server = Host::new(&world, 8);
    let listener = server.ring.uds_listen(&crate::config::UdsListenConfig::new("@pair")).unwrap();
    let fd = client.ring.uds_connect("@pair".as_ref()).unwrap().unwrap();
    let (accepted, from) = server.ring.accept(listener).unwrap().unwrap();
    assert!(from.is_unix());
    server.ring.close_now(listener);
    (world, client, server, fd, accepted)
}

fn results(completions: &[Completion], tag: Tag) -> Vec<i32> {
    completions.iter().filter(|c| c.token.tag() == tag).map(|c| c.result).collect()
}

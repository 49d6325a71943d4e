//! Tests of the public interface of `fib`.

mod growth;
mod ipv6;
mod lookup;
mod net;
mod paths;
mod rib;

use core::cell::Cell;

use fib::{Address, Ahead, Fib, Ipv4Net, NextHop};

/// The prefix that `text`, such as `10.0.0.0/8`, spells.
fn net(text: &str) -> Ipv4Net {
    let (addr, prefix_len) = text.split_once('/').unwrap();
    Ipv4Net::new(addr.parse().unwrap(), prefix_len.parse().unwrap()).unwrap()
}

/// Counts what is asked for.
#[derive(Default)]
struct Asked(Cell<usize>);

impl Ahead for Asked {
    fn fetch<T>(&self, _: &T) {
        self.0.set(self.0.get() + 1);
    }
}

/// What all these lookups find, made together. Each asks for its piece, its node and its value at least.
fn together<A: Address>(fib: &Fib<A>, to: &[A]) -> Vec<Option<NextHop<A>>> {
    let (mut numbers, asked) = (vec![u32::MAX; to.len()], Asked::default());
    fib.numbers(to, &mut numbers, &asked);
    assert!(asked.0.get() >= 3 * to.len());
    numbers.into_iter().map(|number| fib.numbered(number)?.first()).collect()
}

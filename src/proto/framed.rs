//! [`Framed`]: messages cut by the application's [`Framing`] function.

use super::Step;
use crate::code;
use crate::config::{Frame, Framing};

/// The machine around one framing function. What the function answers is checked, since it stands
/// between a peer and the engine.
#[derive(Debug)]
pub(crate) struct Framed {
    framing: Framing,
}

impl Framed {
    pub(crate) const fn new(framing: Framing) -> Self {
        Self { framing }
    }

    pub(crate) const fn framing(&self) -> Framing {
        self.framing
    }

    pub(crate) fn step(&self, input: &[u8]) -> Step {
        let kind = self.framing.kind();
        match self.framing.next(input) {
            Frame::Ready(len) if len > self.framing.len_max() => {
                Step::Close { code: code::FRAME_TOO_LONG }
            }
            Frame::Ready(len) if len > 0 && len <= input.len() => Step::frame(kind, len),
            Frame::Need(need) if need > self.framing.len_max() => {
                Step::Close { code: code::FRAME_TOO_LONG }
            }
            Frame::Need(need) => Step::Need { need: need.max(input.len() + 1) },
            Frame::Ready(_) | Frame::Bad => Step::Close { code: code::BAD_FRAME },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MessageKind;

    fn length_prefixed(bytes: &[u8]) -> Frame {
        match bytes.first() {
            Some(255) => Frame::Bad,
            Some(n) if bytes.len() > usize::from(*n) => Frame::Ready(usize::from(*n) + 1),
            Some(n) => Frame::Need(usize::from(*n) + 1),
            None => Frame::Need(1),
        }
    }

    #[test]
    fn checks_what_the_function_says() {
        let kind = MessageKind::User(3);
        let machine = Framed::new(Framing::new(kind, length_prefixed).with_len_max(100));
        let rows: [(&[u8], Step); 5] = [
            (&[2, 1, 2], Step::frame(kind, 3)),
            (&[2, 1, 2, 9], Step::frame(kind, 3)),
            (&[2, 1], Step::Need { need: 3 }),
            (&[200], Step::Close { code: code::FRAME_TOO_LONG }),
            (&[255], Step::Close { code: code::BAD_FRAME }),
        ];
        for (input, step) in rows {
            assert_eq!(machine.step(input), step, "{input:?}");
        }
        let liar = Framed::new(Framing::new(kind, |b| Frame::Ready(b.len() + 1)));
        assert_eq!(liar.step(&[1]), Step::Close { code: code::BAD_FRAME });
        let stuck = Framed::new(Framing::new(kind, |_| Frame::Need(0)));
        assert_eq!(stuck.step(&[1, 2]), Step::Need { need: 3 });
    }
}

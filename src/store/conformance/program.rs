//! What one client of the crash suite does: it writes, elects a leader with all others, waits for what the leader publishes,
//! meets the others at a barrier, and begins anew.
//!
//! Pure, and of plain types only: the same program runs against a store in this process, and (taken in by path in
//! `tests/crash`) against a server over HTTP. A question stays the same until it is answered, however often it is asked.

/// Numbers that look random and are the same for the same seed (xorshift64*).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number from 0 to one below `sides`.
    pub fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Write a key, whatever it holds. The id is the `Idempotency-Key`.
    Write { key: String, value: String, id: String },
    /// Read the document.
    Read,
    /// Ask for a claim.
    Claim { claim: String },
    /// The claim's work is done: publish a key with it.
    Done { claim: String, fence: u64, key: String, value: String, id: String },
    /// Wait for the key that the claim's leader publishes.
    Await { key: String, claim: String },
    /// Join a set and wait at its barrier for everybody.
    Join { set: String },
}

/// Who held a claim before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub machine: String,
    pub fence: u64,
}

/// The opening of a barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    pub version: u64,
    pub joined: u32,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To a write.
    Written { version: u64 },
    /// To a read: the document's version.
    Read { version: u64 },
    /// To the question for a claim.
    Claim { leader: bool, fence: u64, done: bool, previous: Option<Holder> },
    /// To the end of a claim.
    Ended { version: u64 },
    /// The claim is another's by now.
    FenceLost,
    /// The key that was waited for.
    Key { version: u64, value: String },
    /// Nobody holds the claim that should produce the key.
    Vacant,
    /// Not there yet.
    NotYet,
    /// Joined; the opening where it is open.
    Joined { ordinal: u32, opened: Option<Opening> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Write { left: u64 },
    Read,
    Elect,
    Finish { fence: u64 },
    Follow,
    Barrier,
}

/// One client's walk.
#[derive(Debug)]
pub struct Program {
    /// Who asks.
    pub machine: String,
    /// The round it is in, from 0.
    pub round: u64,
    dice: Dice,
    step: Step,
    /// It led this round once and let go, as a machine does that dies.
    abandoned: bool,
    asked: u64,
    pending: Option<Question>,
}

impl Program {
    /// A client at its beginning.
    pub fn new(machine: String, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let left = 1 + dice.below(4);
        Self { machine, round: 0, dice, step: Step::Write { left }, abandoned: false, asked: 0, pending: None }
    }

    /// What it asks now; the same until it is answered. `None` after the last round.
    pub fn question(&mut self, rounds: u64) -> Option<Question> {
        if self.round >= rounds {
            return None;
        }
        if self.pending.is_none() {
            self.asked += 1;
            let (round, id) = (self.round, format!("{}-{}", self.machine, self.asked));
            self.pending = Some(match &self.step {
                Step::Write { .. } => {
                    let hot = self.dice.below(3) == 0;
                    let key = if hot { "hot".to_owned() } else { format!("own/{}", self.machine) };
                    Question::Write { key, value: id.clone(), id }
                }
                Step::Read => Question::Read,
                Step::Elect => Question::Claim { claim: format!("lead-{round}") },
                Step::Finish { fence } => Question::Done {
                    claim: format!("lead-{round}"),
                    fence: *fence,
                    key: format!("out-{round}"),
                    value: id.clone(),
                    id,
                },
                Step::Follow => Question::Await { key: format!("out-{round}"), claim: format!("lead-{round}") },
                Step::Barrier => Question::Join { set: format!("set-{round}") },
            });
        }
        self.pending.clone()
    }

    /// Takes in the answer to its question.
    pub fn answered(&mut self, answer: &Answer) {
        self.pending = None;
        self.step = match (&self.step, answer) {
            (Step::Write { left: 1 }, Answer::Written { .. }) => Step::Read,
            (Step::Write { left }, Answer::Written { .. }) => Step::Write { left: left - 1 },
            (Step::Read, Answer::Read { .. }) => Step::Elect,
            (Step::Elect, Answer::Claim { leader: true, done: false, fence, .. }) => {
                if !self.abandoned && self.dice.below(5) == 0 {
                    self.abandoned = true;
                    Step::Follow
                } else {
                    Step::Finish { fence: *fence }
                }
            }
            (Step::Elect, Answer::Claim { leader: true, done: true, .. })
            | (Step::Finish { .. }, Answer::Ended { .. })
            | (Step::Follow, Answer::Key { .. }) => Step::Barrier,
            (Step::Elect, Answer::Claim { .. }) | (Step::Follow, Answer::NotYet) => Step::Follow,
            (Step::Finish { .. }, Answer::FenceLost) | (Step::Follow, Answer::Vacant) => Step::Elect,
            (Step::Barrier, Answer::Joined { opened: Some(_), .. }) => {
                self.round += 1;
                self.abandoned = false;
                Step::Write { left: 1 + self.dice.below(4) }
            }
            (Step::Barrier, Answer::Joined { .. } | Answer::NotYet) => Step::Barrier,
            (step, answer) => panic!("{} at {step:?} was answered {answer:?}", self.machine),
        };
    }
}

//! Clients that share one session, the messages between them and the table, and the clock.

use crate::item::{Item, Mutation, Outcome, Rule, Ticks, Violation};

/// How long a request may be under way, and how far clocks disagree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delays {
    /// The longest from when a function reads its clock until its last attempt reaches the table:
    /// in `store`, the deadline of an operation.
    pub(crate) flight: Ticks,
    /// How far the clock of a function may be off, either way.
    pub(crate) skew: Ticks,
}

impl Delays {
    /// By how much a clock may be off.
    pub(crate) fn clocks(self) -> impl Iterator<Item = Ticks> {
        -self.skew..=self.skew
    }
}

/// A client: the token that it would present, and its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Client {
    pub(crate) token: u8,
    pub(crate) request: Request,
}

/// Where a client's request is. One that its client has given up and that is still under way looks
/// like that of another client with the same token, so one for each is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Request {
    /// There is none.
    None,
    /// The function has read its clock, which was off by `off`, `age` ticks ago. Attempts may reach
    /// the table.
    Asked { presented: u8, age: Ticks, off: Ticks },
    /// Has read the item and will write. In one mutation only.
    Read { presented: u8, age: Ticks, off: Ticks },
    /// The token has been reused: the session is about to be deleted.
    Deleting,
    /// The answer is on its way.
    Answered { presented: u8, token: u8 },
}

/// What can happen. Clients are meant by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The clock.
    Tick,
    /// A client presents its token to a function whose clock is off by so much.
    Ask(usize, Ticks),
    /// An attempt reaches the table and is answered.
    Reach(usize),
    /// An attempt reaches the table, and the function does not hear of it: it tries again, with the
    /// time that it has read.
    ReachUnheard(usize),
    /// The write after a read. In one mutation only.
    Write(usize),
    /// The session is deleted and the client told.
    Delete(usize),
    /// The client gets its answer.
    Deliver(usize),
    /// Whatever is under way is lost: the request, the deletion, or the answer.
    Lose(usize),
    /// A client takes over the newest token that any of the others has.
    Learn(usize),
}

/// All there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World<const N: usize> {
    pub(crate) item: Option<Item>,
    pub(crate) clients: [Client; N],
    /// Whether the session has been ended.
    pub(crate) over: bool,
    /// How often it has rotated, up to [`MANY`].
    pub(crate) rotations: u8,
    pub(crate) violation: Option<Violation>,
}

/// As many rotations as any.
pub(crate) const MANY: u8 = 4;

impl Client {
    /// A client with a token.
    pub(crate) fn with(token: u8) -> Self {
        Self { token, request: Request::None }
    }

    /// Whether its answer is a newer token than it presented.
    pub(crate) fn gets_newer(self) -> bool {
        matches!(self.request, Request::Answered { presented, token } if token > presented)
    }
}

impl<const N: usize> World<N> {
    /// A session that has just begun, and clients that all have its token.
    pub(crate) fn new() -> Self {
        Self {
            item: Some(Item::NEW),
            clients: [Client::with(0); N],
            over: false,
            rotations: 0,
            violation: None,
        }
    }

    /// The same world with its clients in order: they are all alike.
    pub(crate) fn sorted(mut self) -> Self {
        self.clients.sort_unstable();
        self
    }

    /// The steps that a client's request can take, and the clock. Asking and learning are for the
    /// models to allow.
    pub(crate) fn steps(&self, steps: &mut Vec<Step>) {
        steps.push(Step::Tick);
        for (i, client) in self.clients.iter().enumerate() {
            match client.request {
                Request::None => {}
                Request::Asked { .. } => {
                    steps.extend([Step::Reach(i), Step::ReachUnheard(i), Step::Lose(i)]);
                }
                Request::Read { .. } => steps.push(Step::Write(i)),
                Request::Deleting => steps.extend([Step::Delete(i), Step::Lose(i)]),
                Request::Answered { .. } => steps.extend([Step::Deliver(i), Step::Lose(i)]),
            }
        }
    }

    /// The world after a step.
    pub(crate) fn after(mut self, step: Step, rule: Rule, delays: Delays) -> Self {
        if let Err(violation) = self.take(step, rule, delays) {
            self.violation = Some(violation);
        }
        self.lower();
        self
    }

    fn take(&mut self, step: Step, rule: Rule, delays: Delays) -> Result<(), Violation> {
        match step {
            Step::Tick => self.tick(rule, delays),
            Step::Ask(i, off) => {
                let presented = self.clients[i].token;
                self.clients[i].request = Request::Asked { presented, age: 0, off };
            }
            Step::Reach(i) => self.reach(i, rule)?,
            Step::ReachUnheard(i) => {
                let request = self.clients[i].request;
                self.reach(i, rule)?;
                self.clients[i].request = request;
            }
            Step::Write(i) => {
                let Request::Read { presented, age, off } = self.clients[i].request else {
                    return Ok(());
                };
                let Some(item) = &mut self.item else { return Err(Violation::Outlived) };
                let token = rule.rotate(item, presented, off - age)?;
                self.clients[i].request = Request::Answered { presented, token };
            }
            Step::Delete(i) => {
                self.clients[i].request = Request::None;
                self.over = true;
                if rule.mutation != Mutation::ReuseLives {
                    self.item = None;
                }
            }
            Step::Deliver(i) => {
                let client = &mut self.clients[i];
                if let Request::Answered { token, .. } = client.request {
                    client.token = token;
                }
                client.request = Request::None;
            }
            Step::Lose(i) => self.clients[i].request = Request::None,
            Step::Learn(i) => {
                let newest = self.clients.iter().map(|client| client.token).max();
                self.clients[i].token = newest.unwrap_or_default();
            }
        }
        Ok(())
    }

    /// A request that is too old by now is given up.
    fn tick(&mut self, rule: Rule, delays: Delays) {
        let Delays { flight, skew } = delays;
        if let Some(item) = &mut self.item {
            // By the oldest reading of a clock that is still under way, it is a grace ago.
            item.tick(rule.grace + flight + skew);
        }
        for client in &mut self.clients {
            if let Request::Asked { age, .. } | Request::Read { age, .. } = &mut client.request {
                *age += 1;
                if *age > flight {
                    client.request = Request::None;
                }
            }
        }
    }

    /// An attempt reaches the table.
    fn reach(&mut self, i: usize, rule: Rule) -> Result<(), Violation> {
        let Request::Asked { presented, age, off } = self.clients[i].request else {
            return Ok(());
        };
        let now = off - age;
        if rule.mutation == Mutation::ReadThenWrite
            && self.item.is_some_and(|item| rule.would_rotate(item, presented, now))
        {
            self.clients[i].request = Request::Read { presented, age, off };
            return Ok(());
        }
        let before = self.item;
        let outcome = rule.refresh(&mut self.item, presented, now)?;
        if self.item != before {
            self.rotations = (self.rotations + 1).min(MANY);
        }
        self.clients[i].request = match outcome {
            Outcome::Live(_) if self.over => return Err(Violation::Outlived),
            Outcome::Live(token) => Request::Answered { presented, token },
            Outcome::Reuse => Request::Deleting,
            Outcome::Refused => Request::None,
        };
        Ok(())
    }

    /// Keeps counters small.
    fn lower(&mut self) {
        let Some(item) = &mut self.item else { return };
        let by = item.excess();
        item.counter -= by;
        for client in &mut self.clients {
            client.token = client.token.saturating_sub(by);
            match &mut client.request {
                Request::Asked { presented, .. } | Request::Read { presented, .. } => {
                    *presented = presented.saturating_sub(by);
                }
                Request::Answered { presented, token } => {
                    *presented = presented.saturating_sub(by);
                    *token = token.saturating_sub(by);
                }
                Request::None | Request::Deleting => {}
            }
        }
    }
}

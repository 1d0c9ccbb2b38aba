//! Models the clients that share a session, their messages to and from the table, and the clock.

use crate::item::{Item, Mutation, Outcome, Rule, Ticks, Violation};

/// The maximum age of a request, and the maximum clock skew.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delays {
    /// The maximum time from the moment when a function reads its clock until its last attempt reaches the table. In
    /// `store`, this is the operation deadline.
    pub(crate) flight: Ticks,
    /// The maximum error of a function's clock, in either direction.
    pub(crate) skew: Ticks,
}

impl Delays {
    /// All errors that a function's clock may have.
    pub(crate) fn clock_errors(self) -> impl Iterator<Item = Ticks> {
        -self.skew..=self.skew
    }
}

/// A client: the token that it would present, and its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Client {
    pub(crate) token: u8,
    pub(crate) request: Request,
}

/// The state of a client's request. One request per client is enough: an abandoned request that is still in
/// flight looks like the request of another client with the same token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Request {
    /// The client has no request.
    None,
    /// The function read its clock `age` ticks ago, with this error, and its attempts may reach the table.
    Asked { presented: u8, age: Ticks, clock_error: Ticks },
    /// The function has read the item and will write it. Occurs only with [`Mutation::ReadThenWrite`].
    Read { presented: u8, age: Ticks, clock_error: Ticks },
    /// The token was reused, and the function is about to delete the session.
    Deleting,
    /// The answer is in flight.
    Answered { presented: u8, token: u8 },
}

/// A step of the model. A `usize` is the index of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The clock advances.
    Tick,
    /// A client presents its token to a function whose clock has this error.
    Ask(usize, Ticks),
    /// An attempt reaches the table, and the function gets the answer.
    Reach(usize),
    /// An attempt reaches the table, and its answer is lost. The function retries with the same time.
    ReachUnheard(usize),
    /// The function writes the item that it has read. Occurs only with [`Mutation::ReadThenWrite`].
    Write(usize),
    /// The function deletes the session and answers the client.
    Delete(usize),
    /// The client receives its answer.
    Deliver(usize),
    /// The request, the deletion or the answer in flight is lost.
    Lose(usize),
    /// A client takes the newest token that any client has.
    Learn(usize),
}

/// The state of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World<const N: usize> {
    pub(crate) item: Option<Item>,
    pub(crate) clients: [Client; N],
    /// Whether the session has been ended.
    pub(crate) over: bool,
    /// The number of rotations, capped at [`MANY`].
    pub(crate) rotations: u8,
    pub(crate) violation: Option<Violation>,
}

/// The number up to which rotations are counted.
pub(crate) const MANY: u8 = 4;

impl Client {
    /// A client that has `token` and no request.
    pub(crate) fn with(token: u8) -> Self {
        Self { token, request: Request::None }
    }

    /// Whether the answer in flight contains a newer token than the one that the client presented.
    pub(crate) fn gets_newer(self) -> bool {
        matches!(self.request, Request::Answered { presented, token } if token > presented)
    }
}

impl<const N: usize> World<N> {
    /// Creates a new session. Every client has its first token.
    pub(crate) fn new() -> Self {
        Self {
            item: Some(Item::NEW),
            clients: [Client::with(0); N],
            over: false,
            rotations: 0,
            violation: None,
        }
    }

    /// Sorts the clients, which are interchangeable.
    pub(crate) fn sorted(mut self) -> Self {
        self.clients.sort_unstable();
        self
    }

    /// Adds the possible steps of the clock and of all requests. The models decide when a client may ask or learn.
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
            Step::Ask(i, clock_error) => {
                let presented = self.clients[i].token;
                self.clients[i].request = Request::Asked { presented, age: 0, clock_error };
            }
            Step::Reach(i) => self.reach(i, rule)?,
            Step::ReachUnheard(i) => {
                let request = self.clients[i].request;
                self.reach(i, rule)?;
                self.clients[i].request = request;
            }
            Step::Write(i) => {
                let Request::Read { presented, age, clock_error } = self.clients[i].request else {
                    return Ok(());
                };
                let Some(item) = &mut self.item else { return Err(Violation::Outlived) };
                let token = rule.rotate(item, presented, clock_error - age)?;
                self.clients[i].request = Request::Answered { presented, token };
            }
            Step::Delete(i) => {
                self.clients[i].request = Request::None;
                self.over = true;
                if rule.mutation != Mutation::ReuseTolerated {
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

    /// Advances the clock and drops requests that are past their deadline.
    fn tick(&mut self, rule: Rule, delays: Delays) {
        let Delays { flight, skew } = delays;
        if let Some(item) = &mut self.item {
            // Times that are older than this horizon need not be distinguished: all of them are at least a grace
            // period before even the oldest clock reading in flight.
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

    /// Lets an attempt reach the table.
    fn reach(&mut self, i: usize, rule: Rule) -> Result<(), Violation> {
        let Request::Asked { presented, age, clock_error } = self.clients[i].request else {
            return Ok(());
        };
        let now = clock_error - age;
        if rule.mutation == Mutation::ReadThenWrite
            && self.item.is_some_and(|item| rule.would_rotate(item, presented, now))
        {
            self.clients[i].request = Request::Read { presented, age, clock_error };
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

    /// Lowers all counters together, so that the state space is finite.
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

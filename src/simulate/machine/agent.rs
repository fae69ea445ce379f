//! What a machine's agent does: exchange, check-in, what is next, and answers that stand or are asked for again.

use super::super::AGENT_VERSION;
use super::super::acts::{Answer, Ask, Do, Happened, Kind, Standing, Token, Verdict};
use super::super::record::Fact;
use super::{BACKOFF, EMPTY_DISK_MAX, HOLD, Machine, Phase, REFUSALS_MAX, read};
use crate::wire::{CheckInRequest, ClusterToken, ExchangeAnswer, ExchangeRequest, NextAnswer, NextRequest, PROTOCOL};
use std::time::Duration;

impl Machine {
    pub(super) fn exchange(&mut self) -> Do {
        let Some(ask) = self.exchange_ask() else { return self.power_off() };
        self.phase = Phase::Exchange;
        self.ask(ask)
    }

    fn exchange_ask(&self) -> Option<Ask> {
        let boot = self.boot.as_ref()?;
        let id = boot.file.ticket.split('.').next().unwrap_or_default();
        let request = ExchangeRequest {
            ticket: boot.file.ticket.clone(),
            public_key: boot.key.public(),
            signature: boot.key.sign(&format!("formwork-exchange-v1\n{id}")),
            boot_id: boot.id.clone(),
            protocol: PROTOCOL,
            agent_version: AGENT_VERSION.to_owned(),
            hardware: self.hardware.clone(),
        };
        Some(Ask::new(Kind::Exchange, Token::None, "POST", "/v1/agent/exchange".into()).json(&request))
    }

    fn check_in(&mut self) -> Do {
        let Some(boot) = &self.boot else { return self.power_off() };
        let request = CheckInRequest {
            boot_id: boot.id.clone(),
            environment: boot.file.environment.clone(),
            architecture: "x86_64".into(),
            firmware: "uefi".into(),
            agent_version: AGENT_VERSION.to_owned(),
            kernel: "6.1.0-simulated".into(),
            address: None,
            hardware: self.hardware.clone(),
        };
        self.phase = Phase::CheckIn;
        self.ask(Ask::new(Kind::CheckIn, Token::Machine, "POST", "/v1/agent/check-in".into()).json(&request))
    }

    /// Asks what is next. The first time it is not held: a machine whose run is done should hear it at once.
    pub(in crate::simulate) fn ask_next(&mut self) -> Do {
        let Some(boot) = &self.boot else { return self.power_off() };
        self.phase = Phase::Next;
        let hold = if self.waited { HOLD } else { Duration::ZERO };
        let request = NextRequest { boot_id: boot.id.clone(), running: None, wait_seconds: hold.as_secs() };
        self.ask(Ask::new(Kind::Next, Token::Machine, "POST", "/v1/agent/next".into()).json(&request).held(hold))
    }

    pub(in crate::simulate) fn ask(&mut self, ask: Ask) -> Do {
        self.pending = Some(ask);
        self.tries = 0;
        self.send()
    }

    fn send(&mut self) -> Do {
        let Some(mut ask) = self.pending.clone() else { return self.ask_next() };
        let boot = self.boot.as_ref();
        ask.bearer = match &ask.token {
            Token::None => None,
            Token::Machine => boot.map(|boot| boot.token.clone()),
            Token::Cluster(name) => boot.and_then(|boot| boot.clusters.get(name).cloned()),
        };
        ask.lose_answer = self.dice.happens(self.habits.drop_replies);
        Do::Ask(Box::new(ask))
    }

    pub(super) fn backoff(&mut self) -> Duration {
        let doubled = BACKOFF.0.saturating_mul(1 << self.tries.min(8)).min(BACKOFF.1);
        doubled.mul_f64(0.5 + self.dice.part() / 2.0)
    }

    /// An answer that stands, or what is done until there is one.
    pub(super) fn settled(&mut self, happened: Happened) -> Result<Answer, Do> {
        // A pause inside a job: nothing was asked.
        if self.pending.is_none() {
            return Ok(Answer { status: 0, log_length: None, retry_after: None, body: Vec::new() });
        }
        let answer = match happened {
            Happened::Answered(answer) => answer,
            Happened::Lost(_) => {
                self.tries += 1;
                return Err(Do::Pause(self.backoff()));
            }
            _ => return Err(self.send()),
        };
        if answer.status == 429 || answer.status >= 500 {
            self.tries += 1;
            let pause =
                answer.retry_after.map_or_else(|| self.backoff(), |seconds| Duration::from_secs(seconds.min(120)));
            return Err(Do::Pause(pause));
        }
        let exchange = self.pending.as_ref().is_some_and(|ask| ask.kind == Kind::Exchange);
        if !exchange && answer.status == 401 {
            self.outer = self.pending.take();
            let Some(ask) = self.exchange_ask() else { return Err(self.power_off()) };
            return Err(self.ask(ask));
        }
        if exchange && !(200..300).contains(&answer.status) {
            self.refusals += 1;
            if self.refusals >= REFUSALS_MAX {
                let text = String::from_utf8_lossy(&answer.body).chars().take(300).collect::<String>();
                return Err(Do::End(Verdict::Broken(format!("its ticket is refused ({}): {text}", answer.status))));
            }
            self.tries += 1;
            return Err(Do::Pause(self.backoff()));
        }
        if exchange {
            let Some(given) = read::<ExchangeAnswer>(&answer) else { return Err(Do::Pause(self.backoff())) };
            self.refusals = 0;
            if let Some(boot) = &mut self.boot {
                boot.token = given.token;
            }
            self.take_tokens(given.clusters);
            if let Some(outer) = self.outer.take() {
                return Err(self.ask(outer));
            }
        }
        Ok(answer)
    }

    pub(in crate::simulate) fn take_tokens(&mut self, tokens: Vec<ClusterToken>) {
        if let Some(boot) = &mut self.boot {
            boot.clusters.extend(tokens.into_iter().map(|given| (given.cluster, given.token)));
        }
    }

    pub(super) fn answered(&mut self, now: Duration, answer: &Answer) -> Do {
        match self.phase {
            Phase::Exchange => {
                self.pending = None;
                self.check_in()
            }
            Phase::CheckIn => {
                self.pending = None;
                if !(200..300).contains(&answer.status) {
                    self.phase = Phase::Kernel;
                    self.tries += 1;
                    return Do::Pause(self.backoff());
                }
                let environment = self.boot.as_ref().map(|boot| boot.file.environment.clone()).unwrap_or_default();
                self.note(Fact::Boots { environment });
                self.struck_at_boot = false;
                self.blow = None;
                self.waited = false;
                if self.work.is_some() {
                    self.phase = Phase::Job;
                    return self.work_on(now);
                }
                self.ask_next()
            }
            Phase::Next => {
                self.pending = None;
                self.next(now, answer)
            }
            _ => self.job_answered(now, answer),
        }
    }

    fn next(&mut self, now: Duration, answer: &Answer) -> Do {
        if !(200..300).contains(&answer.status) {
            // Such as "not checked in": an agent stands up anew.
            self.phase = Phase::Kernel;
            return Do::Pause(Duration::from_secs(1));
        }
        let Some(next) = read::<NextAnswer>(answer) else {
            return Do::End(Verdict::Broken("the answer to `what is next` cannot be read".into()));
        };
        match next {
            NextAnswer::Job(grant) => {
                self.waited = false;
                self.phase = Phase::Job;
                self.begin(now, *grant)
            }
            NextAnswer::Wait { .. } => {
                self.waited = true;
                self.ask_standing()
            }
            NextAnswer::Abandon { .. } => self.ask_next(),
            // Somebody presses the button of one that was switched off.
            NextAnswer::Reboot { .. } | NextAnswer::PowerOff { .. } => self.power_off(),
        }
    }

    /// An administrator was told how its run stands.
    pub(super) fn told(&mut self, happened: Happened) -> Do {
        match happened {
            Happened::Stands(Standing::Finished) => {
                Do::End(if self.worked { Verdict::Finished } else { Verdict::Idle })
            }
            Happened::Stands(Standing::Failed(why)) => Do::End(Verdict::Failed(why)),
            Happened::Stands(Standing::Open) if self.boot.is_some() => self.ask_next(),
            Happened::Stands(Standing::Open) => {
                self.empty_disk += 1;
                if self.empty_disk >= EMPTY_DISK_MAX {
                    let why = "its run goes on in `local`, but no destructive job has installed its disk";
                    return Do::End(Verdict::Broken(why.into()));
                }
                self.power_off()
            }
            Happened::Lost(_) => {
                self.tries += 1;
                Do::Pause(self.backoff())
            }
            _ => self.ask_standing(),
        }
    }
}

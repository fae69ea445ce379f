//! Claims: free → held (fence, expiry) → done; a fall in between makes them vacant for the next.

use super::apply::Draft;
use super::limits::{CLAIM_TTL_MAX_MS, CLAIM_TTL_MIN_MS, NAMES_MAX, check_name, reason};
use super::{
    Answer, Caller, Claim, ClaimAnswer, ClaimStanding, ClaimState, Content, Fall, Grant, Previous, Refusal, keys,
};
use crate::journal::Event;

/// First in leads; the same machine in the same run is told the same again.
pub(super) fn ask(draft: &mut Draft<'_>, name: &str, ttl_ms: u64) -> Result<Answer, Refusal> {
    check_name(name)?;
    check_ttl(ttl_ms)?;
    let Caller::Machine { machine, run, .. } = &draft.context.caller else {
        return Err(Refusal::WrongCaller { who: "a machine".to_owned() });
    };
    let previous = match draft.document.claims.get(name).cloned() {
        None => {
            if draft.document.claims.size() >= NAMES_MAX {
                return Err(Refusal::TooLarge { message: format!("the document has {NAMES_MAX} claims, the limit") });
            }
            None
        }
        Some(claim) => match fallen(draft, &claim, machine, *run) {
            None => return Ok(answer(draft, name)),
            Some(fall) => {
                // A claim that only time ended has no event yet; one that was vacated has.
                if matches!(claim.state, ClaimState::Held { .. }) {
                    tell(draft, name, &claim, change_of(&fall), reason_of(&fall));
                }
                let Grant { machine, run, fence, .. } = claim.grant;
                Some(Previous { machine, run, fence, fall })
            }
        },
    };
    let claim = Claim {
        version: draft.version,
        grant: Grant {
            fence: draft.version,
            machine: machine.clone(),
            run: *run,
            previous,
            at_unix_ms: draft.context.now_unix_ms,
        },
        state: held(draft, ttl_ms),
    };
    tell(draft, name, &claim, "granted", None);
    store(draft, name, claim);
    Ok(answer(draft, name))
}

/// How a claim fell, where it can be given to `machine` in `run`.
fn fallen(draft: &Draft<'_>, claim: &Claim, machine: &str, run: u64) -> Option<Fall> {
    match (&claim.state, claim.standing(draft.context.now_ms)) {
        (ClaimState::Vacant { fall }, _) => Some(fall.clone()),
        (_, ClaimStanding::Vacant) => Some(Fall::Expired),
        (_, ClaimStanding::Held) if claim.grant.machine == machine && run > claim.grant.run => {
            Some(Fall::Revoked { reason: format!("{machine} began run {run}") })
        }
        _ => None,
    }
}

/// Holds on for another lifetime.
pub(super) fn renew(draft: &mut Draft<'_>, name: &str, fence: u64, ttl_ms: Option<u64>) -> Result<Answer, Refusal> {
    let mut claim = holding(draft, name, fence)?;
    if let ClaimState::Held { ttl_ms: before, .. } = claim.state {
        let ttl_ms = ttl_ms.unwrap_or(before);
        check_ttl(ttl_ms)?;
        claim.state = held(draft, ttl_ms);
        store(draft, name, claim);
    }
    Ok(answer(draft, name))
}

/// Publishes and ends the expiry, in one write. Saying it again changes nothing.
pub(super) fn done(
    draft: &mut Draft<'_>,
    name: &str,
    fence: u64,
    publish: &[(String, Content)],
) -> Result<Answer, Refusal> {
    let mut claim = holding(draft, name, fence)?;
    if claim.state == ClaimState::Done {
        return Ok(answer(draft, name));
    }
    for (key, value) in publish {
        keys::write(draft, key, value, false)?;
    }
    claim.state = ClaimState::Done;
    tell(draft, name, &claim, "done", None);
    store(draft, name, claim);
    Ok(answer(draft, name))
}

/// Gives the claim back, or ends it for good.
pub(super) fn fail(draft: &mut Draft<'_>, name: &str, fence: u64, retry: bool, why: &str) -> Result<Answer, Refusal> {
    let mut claim = holding(draft, name, fence)?;
    if claim.state == ClaimState::Done {
        return Err(lost(draft, name, fence));
    }
    let why = reason(why);
    tell(draft, name, &claim, if retry { "released" } else { "failed" }, Some(why.clone()));
    claim.state = if retry {
        ClaimState::Vacant { fall: Fall::Released { reason: why } }
    } else {
        ClaimState::Failed { reason: why }
    };
    store(draft, name, claim);
    Ok(answer(draft, name))
}

/// Writes down expiries that nobody asked about.
pub(super) fn settle(draft: &mut Draft<'_>) -> Answer {
    let now_ms = draft.context.now_ms;
    drop_where(draft, Fall::Expired, |claim| claim.standing(now_ms) == ClaimStanding::Vacant)
}

/// Revokes what a machine holds.
pub(super) fn machine_ended(draft: &mut Draft<'_>, machine: &str, why: &str) -> Answer {
    drop_where(draft, Fall::Revoked { reason: reason(why) }, |claim| claim.grant.machine == machine)
}

/// Revokes everything that is held.
pub(super) fn fall_all(draft: &mut Draft<'_>, why: &str) {
    drop_where(draft, Fall::Revoked { reason: reason(why) }, |_| true);
}

fn drop_where(draft: &mut Draft<'_>, fall: Fall, falls: impl Fn(&Claim) -> bool) -> Answer {
    let names: Vec<(String, Claim)> = draft
        .document
        .claims
        .iter()
        .filter(|(_, claim)| matches!(claim.state, ClaimState::Held { .. }) && falls(claim))
        .map(|(name, claim)| (name.clone(), claim.clone()))
        .collect();
    if names.is_empty() {
        return draft.unchanged();
    }
    for (name, mut claim) in names {
        tell(draft, &name, &claim, change_of(&fall), reason_of(&fall));
        claim.state = ClaimState::Vacant { fall: fall.clone() };
        store(draft, &name, claim);
    }
    draft.written(false)
}

/// The claim, where the caller holds it (or held it when it was done) with this fence.
fn holding(draft: &Draft<'_>, name: &str, fence: u64) -> Result<Claim, Refusal> {
    check_name(name)?;
    let own = |claim: &&Claim| {
        claim.grant.fence == fence
            && matches!(claim.standing(draft.context.now_ms), ClaimStanding::Held | ClaimStanding::Done)
            && matches!(&draft.context.caller, Caller::Machine { machine, run, .. }
                if *machine == claim.grant.machine && *run == claim.grant.run)
    };
    draft.document.claims.get(name).filter(own).cloned().ok_or_else(|| lost(draft, name, fence))
}

fn lost(draft: &Draft<'_>, name: &str, fence: u64) -> Refusal {
    Refusal::FenceLost {
        claim: name.to_owned(),
        fence,
        state: draft.document.standing(name, draft.context.now_ms),
        latest: draft.document.claims.get(name).map(|claim| claim.grant.fence),
    }
}

fn held(draft: &Draft<'_>, ttl_ms: u64) -> ClaimState {
    ClaimState::Held { ttl_ms, expires_ms: draft.context.now_ms.saturating_add(ttl_ms) }
}

fn check_ttl(ttl_ms: u64) -> Result<(), Refusal> {
    if (CLAIM_TTL_MIN_MS..=CLAIM_TTL_MAX_MS).contains(&ttl_ms) {
        Ok(())
    } else {
        Err(Refusal::BadRequest { message: "a claim's ttl is between one second and one day".to_owned() })
    }
}

fn store(draft: &mut Draft<'_>, name: &str, mut claim: Claim) {
    claim.version = draft.version;
    draft.document.claims.insert_mut(name.to_owned(), claim);
    draft.changed = true;
}

fn answer(draft: &Draft<'_>, name: &str) -> Answer {
    match draft.document.claims.get(name) {
        Some(claim) => Answer::Claim(ClaimAnswer::of(name, claim, draft.document.epoch, draft.context)),
        None => Answer::Refused(Refusal::NotFound { what: "claim".to_owned(), name: name.to_owned() }),
    }
}

fn change_of(fall: &Fall) -> &'static str {
    match fall {
        Fall::Expired => "expired",
        Fall::Revoked { .. } => "revoked",
        Fall::Released { .. } => "released",
    }
}

fn reason_of(fall: &Fall) -> Option<String> {
    match fall {
        Fall::Expired => None,
        Fall::Revoked { reason } | Fall::Released { reason } => Some(reason.clone()),
    }
}

fn tell(draft: &mut Draft<'_>, name: &str, claim: &Claim, change: &str, reason: Option<String>) {
    draft.events.push(Event::Claim {
        claim: name.to_owned(),
        change: change.to_owned(),
        machine: Some(claim.grant.machine.clone()),
        fence: claim.grant.fence,
        reason,
    });
}

"""What is true after a step: the same credential, told to the journal.

Each function takes the record as it was loaded and returns it as it now is; none of them asks
anybody anything. Progress clears the failures; only looking and failing do not count as progress.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from keyman.core.frozen import replace
from keyman.core.model import (
    Credential,
    Observed,
    OrderKind,
    OrderState,
    Place,
    Stage,
    State,
    Verdict,
    Version,
)
from keyman.core.picture import NO_TIME, SAME_EXPIRY, looks
from keyman.core.policy import fraction
from keyman.core.situation import NEITHER_ACCEPTED, Situation
from keyman.core.steps import Abandon, Accept, Request

NO_OVERLAP = timedelta(0)
TOLD_APART = timedelta(seconds=2)  # two expiries that nobody takes for one, whoever rounds them
OWNERS = 2**16


def observed_now(c: Credential, o: Observed) -> Credential:
    """The provider was asked. If its tags know a later owner than we do, our journal is old."""
    waited_for = c.open_version is not None or _leaks(c)
    c = _prepared(replace(c, doubt_at=None), "observe", waited_for=waited_for)
    c = _to_be_proven_anew(c, o) if c.spec.slots else _ends_as_shown(c, o)
    ours = [key.epoch for key in o.keys if key.owner == c.spec.installation]
    latest = max(ours, default=0)
    if latest <= c.epoch or c.claimed:
        return c  # claimed by us in this life and by another one since: it drives, and we don't
    c = replace(c, epoch=_behind(latest, c.epoch % OWNERS), fenced=False, unanswered_at=o.at)
    return reported(c, c.current.number, o.at) if c.current else c


def _ends_as_shown(c: Credential, o: Observed) -> Credential:
    """Somebody may have changed when a key of its own ends; its secret is what it was."""
    for v in c.versions:
        seen = o.slot(v.place) if v.issued_at else None
        ends = seen.expires_at if seen else None
        if ends and (v.expires_at is None or abs(ends - v.expires_at) > SAME_EXPIRY):
            c = c.with_version(v.number, expires_at=ends)
    return c


def _to_be_proven_anew(c: Credential, o: Observed) -> Credential:
    """What was accepted or refused before says nothing of a secret that is off by now."""
    for v in c.all_at(Stage.PENDING):
        seen = o.slot(v.place)
        off = seen is not None and seen.state != State.ACTIVE
        if off and looks(seen, v.mask, v.expires_at):
            c = c.with_version(v.number, probe_from=None, probed_at=None, verified_at=None)
            c = c.with_version(v.number, successes=0, refusals=0)
    return c


def claimed(c: Credential, epoch: int, now: datetime, *, fenced: bool) -> Credential:
    """Our mark is on the key."""
    c = _prepared(c, "claim", waited_for=_underway(c))
    return replace(c, claimed=epoch, fenced=fenced, doubt_at=now)


def requested(
    c: Credential, step: Request, o: Observed | None, attempt: str, now: datetime
) -> Credential:
    """The wish. What was in the slot counts as dead from here on, before the call is sent."""
    number = c.next_number
    place = Place(step.handle, step.slot) if step.handle else None
    before = o.slot(place) if o else None
    source = c.version(step.carries) if step.carries is not None else None
    if source is not None:
        assert not source.compromised
        attempt = source.attempt
    elif place is not None:
        c = _evicted(c, place)
        c = replace(c, silence=None if c.silence == place.slot else c.silence)
    version = Version(
        number=number,
        stage=Stage.REQUESTED,
        attempt=attempt,
        requested_at=now,
        expires_at=step.expires_at,
        slot=step.slot,
        handle=step.handle,
        carries=step.carries,
        mask_before=before.mask if before and source is None else None,
        expires_before=before.expires_at if before and source is None else None,
    )
    return replace(c, versions=(*c.versions, version))


def _evicted(c: Credential, place: Place) -> Credential:
    for v in c.versions:
        if v.place == place and v.stage is not Stage.REVOKED:
            c = c.with_version(v.number, stage=Stage.REVOKED)
    return c


def created(c: Credential, v: Version, handle: str, standby: str | None) -> Credential:
    """There is an object now; the wish goes into its slot."""
    home = c.key_id or handle  # a further key becomes the home with its first promotion
    return replace(c, home=home, silence=standby).with_version(v.number, handle=handle)


def issued(
    c: Credential,
    v: Version,
    *,
    handle: str,
    mask: str | None,
    expires_at: datetime | None,
    fingerprint: str,
    now: datetime,
) -> Credential:
    """Stored and read back. The slot's earlier secrets are destroyed."""
    place = Place(handle, v.slot)
    for earlier in c.versions:
        if v.slot and earlier.place == place and earlier.number != v.number:
            gone_at = earlier.revoked_at or now
            c = c.with_version(earlier.number, stage=Stage.REVOKED, revoked_at=gone_at)
    c = c.with_version(
        v.number,
        stage=Stage.PENDING,
        handle=handle,
        mask=mask,
        expires_at=expires_at or v.expires_at,
        fingerprint=fingerprint,
        issued_at=now,
    )
    return replace(_progressed(c), doubt_at=now)


def carried(c: Credential, v: Version, fingerprint: str, now: datetime) -> Credential:
    """The earlier version's secret now lies under the new number too."""
    assert v.carries is not None
    source = c.version(v.carries)
    assert source
    return _progressed(
        c.with_version(
            v.number,
            stage=Stage.PENDING,
            mask=source.mask,
            mask_before=source.mask_before,
            expires_before=source.expires_before,
            fingerprint=fingerprint,
            issued_at=now,
            compromised_at=v.compromised_at or source.compromised_at,
            revoke_first=v.revoke_first or source.revoke_first,
            restored_at=source.restored_at,
        )
    )


def start_over(c: Credential, v: Version, attempt: str, now: datetime) -> Credential:
    """The wish was granted and its secret lost: nobody used it, so wish again.

    For a slightly shorter life: what the slot then shows tells whether this one was granted too.
    """
    ends = v.expires_at and v.expires_at - TOLD_APART
    c = c.with_version(v.number, attempt=attempt, requested_at=now, expires_at=ends)
    return replace(c, doubt_at=now)


def activated(c: Credential, place: Place, now: datetime) -> Credential:
    v = c.tenant(place)
    c = c.with_version(v.number, activated_at=now) if v else c
    c = _switched(c, OrderKind.ACTIVATE, place, now)
    return replace(_progressed(c), doubt_at=now)


def _switched(c: Credential, kind: OrderKind, place: Place, now: datetime) -> Credential:
    """The provider agreed: a picture that shows the slot as it was before is an old one."""
    for order in c.orders:
        if order.open and order.kind is kind and Place(c.key_id or "", order.slot) == place:
            c = c.with_order(order.id, state=OrderState.DONE, finished_at=now, error=None)
    return c


def probed(
    c: Credential, v: Version, verdict: Verdict, control: Verdict | None, now: datetime
) -> Credential:
    """One probe of a new secret, with that of the current one beside it where it was needed."""
    verify = c.policy.verify
    pause = v.probed_at is None or not NO_TIME <= now - v.probed_at <= verify.within
    v = replace(v, probed_at=now, verified_at=None)
    if pause:
        v = replace(v, probe_from=now, successes=0, refusals=0)
    if verdict is Verdict.ACCEPTED:
        v = replace(v, successes=v.successes + 1)
        if v.successes >= verify.wanted(v.refusals):
            v = replace(v, verified_at=now, restored_at=None)
        return _progressed(_put(c, v))
    if verdict is Verdict.REFUSED and control in (None, Verdict.ACCEPTED):
        return _put(c, replace(v, successes=0, refusals=v.refusals + 1))
    return _undecided(_put(c, v), verdict, control, now)


def _undecided(
    c: Credential, verdict: Verdict, control: Verdict | None, now: datetime
) -> Credential:
    """Nothing can be said of the new secret while the current one fares no better."""
    if control is Verdict.REFUSED and c.current:
        c = reported(c, c.current.number, now)
    both = "neither the new nor the current secret is accepted"
    why = {
        Verdict.SILENT: "the inference endpoint gives no verdict on the new secret",
        Verdict.FORBIDDEN: "the new secret is known but not allowed to call the model",
    }.get(verdict, both)
    hint = {Verdict.SILENT: "check base_url, network and proxy with `keyman check`"}
    advice = hint.get(verdict, f"see that it may: `keyman policy {c.name}` says what that takes")
    return failed(c, "verify", why, advice, now)


def examined(
    c: Credential, v: Version, verdict: Verdict, o: Observed | None, now: datetime
) -> Credential:
    """A probe of what lookups hand out. The provider's word outweighs a probe without verdict,
    and what a client reported waits for one.
    """
    s = Situation(c, o, now)
    refused = verdict is Verdict.REFUSED
    dead = not s.takes_two(v) if refused else bool(s.contradiction(v)) and verdict is Verdict.SILENT
    alive = verdict is Verdict.ACCEPTED
    dead_at = (v.dead_at or now) if dead else (None if alive else v.dead_at)
    c = _progressed(c) if c.failed_step == "examine" else c
    waits = verdict is Verdict.SILENT and v.reported_at is not None and not dead
    c = c.with_version(
        v.number,
        examined_at=now,
        dead_at=dead_at,
        reported_at=min(v.reported_at or now, now) if waits else None,
        refusals=int(refused),
    )
    if v.restored_at is None:
        return c
    if alive and (c.doubt_at is None or not c.spec.observes):
        return c.with_version(v.number, restored_at=None)
    return c if alive or dead else _still_unproven(c, verdict, now)


def _still_unproven(c: Credential, verdict: Verdict, now: datetime) -> Credential:
    """A probe that teaches nothing is made again after a rest; until then nothing is handed out."""
    why = {
        Verdict.SILENT: "the provider gives no verdict on the secret out of the backup",
        Verdict.FORBIDDEN: "the secret out of the backup is known but not allowed to be used",
    }[verdict]
    return failed(c, "examine", why, "check base_url, network and permissions: `keyman check`", now)


def lost(c: Credential, v: Version) -> Credential:
    """Its secret can't be read from the store, now or ever; its place may still be depended on."""
    return c.with_version(v.number, stored=False, reported_at=None)


def found_again(c: Credential, v: Version) -> Credential:
    """What was taken for lost is in the store: it may be handed out as before."""
    return c.with_version(v.number, stored=True)


def reported(c: Credential, number: int, now: datetime) -> Credential:
    """A client, or a probe beside another one, met a refusal: to be examined."""
    return c.with_version(number, reported_at=now)


def promoted(c: Credential, v: Version, now: datetime) -> Credential:
    """The switch: from this record on lookups hand out the new version."""
    assert v.stage is Stage.PENDING
    old = c.current
    if old is not None:
        wish = next((o.overlap for o in c.orders if o.open and o.overlap is not None), None)
        overlap = NO_OVERLAP if old.compromised else c.policy.overlap if wish is None else wish
        # A token that nobody can look up or take back is of no use once there is another one.
        over = c.spec.mints and not overlap and not old.compromised
        gone = over or old.dead_at or old.expired(now)
        stage = Stage.REVOKED if gone else Stage.PREVIOUS
        c = c.with_version(old.number, stage=stage, replaced_at=now, overlap=overlap)
    c = c.with_version(v.number, stage=Stage.CURRENT, promoted_at=now)
    home = v.handle if v.slot else c.home
    # Going back to an older key: the slot to silence was the newer one's.
    silence = None if v.carries is not None and home != c.home else c.silence
    claimed = c.claimed if home == c.home else 0  # our mark is on the key that is left
    return _progressed(replace(c, home=home, silence=silence, claimed=claimed))


def clock_moved(c: Credential, by: timedelta) -> Credential:
    """The wall clock was set: what is a span goes on for the rest of it.

    How long a token lives was told as one. An overlap is never shorter for it: set ahead, the clock
    says that it went by; set back, it may just have been put right.
    """
    for v in c.all_at(Stage.PREVIOUS):
        if v.replaced_at is not None and by > NO_TIME:
            c = c.with_version(v.number, replaced_at=v.replaced_at + by)
    for v in c.versions:
        if v.given_up == NEITHER_ACCEPTED and v.probed_at is not None:
            c = c.with_version(v.number, probed_at=v.probed_at + by)
    for v in c.versions if c.spec.mints else ():
        if v.expires_at is not None and v.revoked_at is None:
            issued = v.issued_at + by if v.issued_at else None
            c = c.with_version(v.number, expires_at=v.expires_at + by, issued_at=issued)
    return c


def retired(c: Credential, place: Place, v: Version | None, now: datetime) -> Credential:
    if v is not None and v.stage is Stage.PREVIOUS:
        c = c.with_version(v.number, stage=Stage.RETIRED, retired_at=now)
    if v is None and c.silence == place.slot:
        c = replace(c, silence=None)
    c = _switched(c, OrderKind.DEACTIVATE, place, now)
    return replace(_progressed(c), doubt_at=now)


def revoked(c: Credential, v: Version, now: datetime) -> Credential:
    """Destroyed at the provider, and with it every version that shares the secret."""
    for w in c.versions:
        if w.attempt == v.attempt:
            c = c.with_version(w.number, stage=Stage.REVOKED, revoked_at=w.revoked_at or now)
    return replace(_progressed(c), doubt_at=now)


def accepted(c: Credential, step: Accept, now: datetime) -> Credential:
    """What was tried without an answer, and is seen to be so, failed no longer."""
    c = _progressed(c) if c.failed_step in ("retire", "revoke", None) else c
    if step.stage is Stage.RETIRED:
        return c.with_version(step.version.number, stage=Stage.RETIRED, retired_at=now)
    gone_at = step.version.revoked_at or now
    return c.with_version(step.version.number, stage=Stage.REVOKED, revoked_at=gone_at)


def abandoned(c: Credential, step: Abandon) -> Credential:
    if step.version.handle != c.key_id:
        c = replace(c, silence=None)
    return c.with_version(
        step.version.number,
        stage=Stage.REVOKED,
        given_up=step.reason,
        slot_refused=step.for_good,
    )


def dropped(c: Credential, v: Version) -> Credential:
    return c.with_version(v.number, stored=False)


def failed(
    c: Credential,
    step: str,
    message: str,
    hint: str,
    now: datetime,
    *,
    retry_after: float | None = None,
    unanswered: bool = False,
) -> Credential:
    """It didn't work: rest, then decide again. An unanswered change is looked at first."""
    failures = c.failures + 1
    rest = c.policy.retry.delay(failures, c.name)
    asked = timedelta(seconds=retry_after or 0)
    if asked >= c.policy.retry.first:  # "at once" is no advice after a failure
        rest = min(asked, c.policy.retry.longest)
    if step == "observe" and c.retry_at and c.failed_step != step:
        rest = max(rest, min(c.retry_at - now, c.policy.retry.longest))  # another step's rest
    c = replace(
        c,
        failures=failures,
        failed_step=step,
        retry_at=now + rest,
        last_error=message,
        last_hint=hint,
        doubt_at=now,
    )
    return left_unanswered(c, now) if unanswered else c


def left_unanswered(c: Credential, at: datetime) -> Credential:
    """A change was sent at that moment, and may yet be carried out: our mark does not keep it
    out, since it was sent with it. The next one does, where the provider heeds marks.

    That is a step of one, lest it pass the mark of a copy of this home: what we claimed before
    stays on record, so that another's mark after it is still told from an old journal.
    """
    epoch = c.epoch + (c.claimed == c.epoch)
    return replace(c, unanswered_at=at, doubt_at=at, epoch=epoch, fenced=False)


def taken_over(c: Credential, driver: int, owner: str, now: datetime, *, clean: bool) -> Credential:
    """A new owner drives this credential; a change of the last one may still be under way.

    Epochs grow, and no two owners have the same one: two copies of one home that begin to count
    from the same journal would otherwise take each other's claims for their own.
    """
    epoch = _behind(c.epoch, int(fraction(owner) * OWNERS))
    c = replace(c, driver=driver, epoch=epoch, claimed=0, fenced=False, doubt_at=now)
    c = _progressed(c) if c.failed_step == "read" else c
    return c if clean or not _underway(c) else replace(c, unanswered_at=now)


def _behind(epoch: int, owner: int) -> int:
    """A later one, that no other owner counts to."""
    return (epoch // OWNERS + 1) * OWNERS + owner


def _put(c: Credential, v: Version) -> Credential:
    return replace(c, versions=tuple(v if w.number == v.number else w for w in c.versions))


def _prepared(c: Credential, step: str, *, waited_for: bool) -> Credential:
    """A step before others succeeded. That is no progress of what waited for it: that goes on
    counting its failures, since the step comes again whenever it gets no answer.
    """
    if c.failed_step != step:
        return c
    return replace(c, failed_step=None, retry_at=None) if waited_for else _progressed(c)


def _leaks(c: Credential) -> bool:
    return any(v.compromised and v.revoked_at is None for v in c.versions)


def _underway(c: Credential) -> bool:
    old = any(v.stage is Stage.PREVIOUS for v in c.versions)
    return bool(c.open_version or c.silence or c.orders) or old or _leaks(c)


def _progressed(c: Credential) -> Credential:
    return replace(c, failures=0, failed_step=None, retry_at=None, last_error=None, last_hint=None)

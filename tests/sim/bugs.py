"""The bugs that the simulator must find, each a substitution in the real source.

Between them they break every invariant; `planting.py` puts them in and hunts for them.
"""

from __future__ import annotations

from tests.sim.planting import Bug

CORE = "keyman.core."
ROTATION, SITUATION, ORDERS = CORE + "rotation", CORE + "situation", CORE + "orders"
SEEN, COPIES = CORE + "picture", CORE + "copies"
FOLLOWER, COMPARING = "keyman.mirroring.follower", "keyman.mirroring.comparing"
TRANSITIONS, ROTATOR, PERFORMER = CORE + "transitions", "keyman.rotator", "keyman.performer"

SAVE = (
    "        saved = self.journal.save("
    "after, seen, lease=lease, now=now, events=events, told=told)\n"
)
RETAKE = "                managed, lease = self._managed(name), self._lease(name)\n"
OBEY = "    order = s.c.order_of(OrderKind.ACTIVATE, OrderKind.DEACTIVATE)\n"
LOST = "        lost = isinstance(error, errors.Unknown) and isinstance(step, MUTATIONS)\n"
UNCLAIMED = "    if not s.spec.claims or place is None or s.c.claimed == s.c.epoch:\n"
UNFENCED = "        if self.c.unanswered_at is None or self.c.fenced or not self.spec.slots:\n"
READY = "                managed.store.ready(c.name)  # what is issued is shown only once\n"
TOLD = (
    "        self._make(moves)\n"
    "        return Shown(frozenset(), frozenset(), points=True, pointed=self.aim.current)\n"
)
PROMOTE = (
    "                # Reading may take long, and the overlap begins when the record is written.\n"
    "                return transitions.promoted(c, version, self.clock.now())\n"
)
CONFIRMED = "        self.put(managed, c.name, version, issued.secret)\n"
CHECKED = "                    return self._missing(managed, c, version)\n" + PROMOTE
PROBED = (
    "            return self._missing(managed, c, version)\n"
    "        verdict = managed.provider.verify(secret)\n        control = None\n"
)
UNPROBED = (
    "            return transitions.probed(c, version, Verdict.ACCEPTED, None, self.clock.now())\n"
)
PICTURE = (
    "    picture = _as_the_provider_shows_it(s, v)\n    if picture is not None:\n"
    "        return picture\n"
)

BUGS = (
    Bug(
        "promoted before it is verified",
        "I3",
        ((ROTATION, "    if proven or verify.successes == 0:\n", "    if True:\n"),),
    ),
    Bug(
        "a filled slot is taken for active",
        "L",
        ((ROTATION, PICTURE, ""),),
        setup="rejected",
    ),
    Bug(
        "the slot in use is filled",
        "I8",
        (
            (
                SITUATION,
                "        free = [(*self._reluctance(p), p) for p in places if self._free(p)]\n",
                "        free = [(not self.c.tenant(p), False, False, p) for p in places]\n",
            ),
        ),
    ),
    Bug(
        "retired without waiting for the overlap",
        "I5",
        (
            (
                SITUATION,
                "v.replaced_at + (self.c.policy.overlap if v.overlap is None else v.overlap)",
                "v.replaced_at",
            ),
        ),
    ),
    Bug(
        "the last use is ignored",
        "I5",
        (
            (
                SITUATION,
                "        return seen.last_used_at <= v.replaced_at or",
                "        return True or",
            ),
        ),
        setup="stubborn",
    ),
    Bug(
        "what was stored is not read back",
        "I3",
        (
            (
                PERFORMER,
                "        if managed.store.get(name, version.number) != secret:\n",
                "        if False:\n",
            ),
            (
                PERFORMER,
                "        if found is None or version.is_of(found, self.spec.installation):\n",
                "        if True:\n",
            ),
        ),
        setup="minted",
    ),
    Bug(
        "a leaked version is revoked by a slot that was filled since",
        "I1/I2",
        (
            (
                SEEN,
                "        if v.issued_at and not self.c.in_place(v):\n",
                "        if False:\n",
            ),
            (
                SEEN,
                "        overwritten = self.contradiction(v) is not None and not self.shows(v)\n",
                "        overwritten = False\n",
            ),
            (
                TRANSITIONS,
                "with_version(earlier.number, stage=Stage.REVOKED, revoked_at=gone_at)",
                "with_version(earlier.number, stage=Stage.REVOKED)",
            ),
        ),
        since=20,
    ),
    Bug(
        "no backoff",
        "L",
        ((ROTATION, "    if not s.resting:\n", "    if True:\n"),),
    ),
    Bug(
        "no claim, yet late calls count as fenced off",
        "I1/I2",
        (
            (ROTATION, UNCLAIMED, "    if True:\n"),
            (SITUATION, UNFENCED, "        if True:\n"),
        ),
        setup="unmatched",
        since=12,
    ),
    Bug(
        "changes go out without if-match",
        "I1/I2",
        ((PERFORMER, "    return key.etag if key else None\n", "    return None\n"),),
        setup="stubborn",
        since=44,
    ),
    Bug(
        "a stale holder goes on",
        "I4",
        (
            (ROTATOR, SAVE, SAVE.replace(" lease=lease, now=now,", "")),
            (ROTATOR, RETAKE, "                pass\n"),
        ),
    ),
    Bug(
        "saved over whatever is there",
        "I4",
        (
            (
                ROTATOR,
                SAVE,
                "        latest = self.journal.load(after.spec)[0].revision\n"
                "        after = replace(after, revision=latest)\n" + SAVE,
            ),
        ),
        since=11,
    ),
    Bug(
        "a leak is not marked under the number that carries it on",
        "I6",
        (
            (
                ORDERS,
                "            if v.attempt == version.attempt and v.revoked_at is None:\n",
                "            if v.number == number and v.revoked_at is None:\n",
            ),
            (
                ROTATION,
                "    return s.shares_the_current_secret(v) or s.wanted_for_replacement(v)\n",
                "    return v.stage is Stage.CURRENT or s.wanted_for_replacement(v)\n",
            ),
        ),
        begin="retire#1:roll-back",
        since=60,
    ),
    Bug(
        "two refusals at once are believed, and a slot is filled",
        "I5",
        ((ROTATION, "    if s.patient_until:\n", "    if False:\n"),),
        begin="turn#8:report",
        since=38,
    ),
    Bug(
        "late calls are ignored",
        "I1/I2",
        ((SITUATION, UNFENCED, "        if True:\n"),),
        setup="unmatched",
        since=16,
    ),
    Bug(
        "a call without an answer is forgotten with its record",
        "I1/I2",
        ((ROTATOR, "        if lost is not None:\n", "        if False:\n"),),
        setup="tight-unmatched",
        begin="issue#1:late-2s",
    ),
    Bug(
        "an old picture is believed",
        "L",
        (
            (
                ROTATION,
                "    if s.c.doubt_at is None or not s.handles or not s.spec.observes:\n",
                "    if True:\n",
            ),
        ),
        setup="bare",
        since=40,
    ),
    Bug(
        "the leaked current is revoked before its replacement is there",
        "I6",
        (
            (
                ROTATION,
                "    return s.shares_the_current_secret(v) or s.wanted_for_replacement(v)\n",
                "    return s.wanted_for_replacement(v)\n",
            ),
        ),
    ),
    Bug(
        "a secret still needed is dropped",
        "I3",
        (
            (
                ROTATION,
                "if v.stage is Stage.REVOKED and v.stored)",
                "if v.stage is not Stage.REQUESTED and v.stored)",
            ),
        ),
    ),
    Bug(
        "dead secrets are kept",
        "L",
        ((ROTATION, "    return next((Drop(v) for v in dead), None)\n", "    return None\n"),),
    ),
    Bug(
        "what a person switched off is switched on again",
        "I10",
        (
            (
                ROTATION,
                OBEY,
                "    for v in s.c.all_at(Stage.PREVIOUS, Stage.RETIRED):\n"
                "        seen = s.seen(v)\n"
                "        off = seen is not None and seen.state == State.INACTIVE\n"
                "        if off and s.c.in_place(v) and v.place:\n"
                "            return _owned(s, v.place, Activate(v.place))\n" + OBEY,
            ),
        ),
        since=25,
    ),
    Bug(
        "what is dead is not asked about while another installation drives the key",
        "I1/I10",
        (
            (ROTATION, "    leave_it_to_its_owner,\n", ""),
            (
                ROTATION,
                "    examine_the_doubtful,\n",
                "    leave_it_to_its_owner,\n    examine_the_doubtful,\n",
            ),
        ),
        setup="taken-over",
    ),
    Bug(
        "another installation's key is driven all the same",
        "I4",
        ((ROTATION, "    leave_it_to_its_owner,\n", ""),),
        setup="taken-over",
    ),
    Bug(
        "what dies right after its promotion is believed to live until pictures count again",
        "I1/I10",
        ((ROTATION, "    return Examine(v) if s.suspected(v) else None\n", "    return None\n"),),
        setup="first",
        since=14,
    ),
    Bug(
        "nobody looks what the console did",
        "I1/I10",
        (
            (
                ROTATION,
                "    return _look(s) if s.must_look else None\n",
                "    return None\n",
            ),
        ),
    ),
    Bug(
        "a lost answer counts as done",
        "I7",
        (
            (
                PERFORMER,
                LOST,
                LOST + "        if lost and isinstance(step, Retire):\n"
                "            return transitions.retired(c, step.place, step.version, now)\n",
            ),
        ),
        since=36,
    ),
    Bug(
        "a second wish beside the first",
        "I4",
        (
            (
                ROTATION,
                "    why = s.why_due\n    if why is None or s.c.open_version:\n",
                "    why = s.why_due\n    if why is None:\n",
            ),
            (ROTATION, "    finish_what_was_begun,\n", ""),
            (
                ROTATION,
                "    request_when_due,\n",
                "    request_when_due,\n    finish_what_was_begun,\n",
            ),
        ),
    ),
    Bug(
        "a lease that ran out is not taken anew",
        "L",
        ((ROTATOR, RETAKE, "                pass\n"),),
    ),
    Bug(
        "an overlap that a later version carries on is forgotten",
        "AssertionError",
        (
            (
                ROTATION,
                "        if not s.c.in_place(v) or s.taken_over_later(v):\n",
                "        if not s.c.in_place(v):\n",
            ),
        ),
        since=30,
    ),
    Bug(
        "dead is handed out until it expires",
        "I1/I10",
        (
            (
                TRANSITIONS,
                "    dead_at = (v.dead_at or now) if dead else (None if alive else v.dead_at)\n",
                "    dead_at = None\n",
            ),
        ),
    ),
    Bug(
        "what comes by hand is asked of the provider",
        "AssertionError",
        ((ROTATION, "    if not s.spec.issues:\n", "    if False:\n"),),
        setup="by-hand",
    ),
    Bug(
        "what came by hand is never probed",
        "I1/I10",
        ((ROTATION, "    if not s.spec.probes or v", "    if not s.spec.issues or v"),),
        setup="by-hand",
    ),
    Bug(
        "a token that a client reported is not replaced",
        "I1/I10",
        (
            (
                SITUATION,
                "        if v.reported_at and not self.spec.probes:\n",
                "        if False:\n",
            ),
        ),
        setup="minted",
    ),
    Bug(
        "the second slot of one key is silenced in another",
        "I1/I2",
        (
            (
                TRANSITIONS,
                "    silence = None if v.carries is not None and home != c.home else c.silence\n",
                "    silence = c.silence\n",
            ),
            (ROTATION, "    return None if s.depends_on(place) else _owned", "    return _owned"),
        ),
        setup="blind",
        begin="save#22:new-key",
        since=72,
    ),
    Bug(
        "the provider is asked for what nobody can keep",
        "S",
        ((PERFORMER, READY, ""),),
    ),
    Bug(
        "direct readers are given what is not promoted yet",
        "P",
        (
            (COPIES, "for v in c.versions if sound(v, now))", "for v in c.versions if v.stored)"),
            (
                COPIES,
                "    current = c.current\n",
                "    current = c.at(Stage.PENDING) or c.current\n",
            ),
        ),
        setup="pointing",
    ),
    Bug(
        "what a store was told is taken for what it shows",
        "P",
        (
            (COMPARING, "        self._make(moves)\n        return self.look()\n", TOLD),
            (COMPARING, "            raise failed[0]\n", "            pass\n"),
        ),
        setup="pointing",
        begin="point#1:down",
    ),
    Bug(
        "a mirror that failed is not tried again",
        "P",
        (
            (
                FOLLOWER,
                "        return self.tried != aim or boot",
                "        return self.tried != aim and boot",
            ),
        ),
        setup="mirrored",
        begin="copy#1:down",
    ),
    Bug(
        "what leaked stays readable in the mirror",
        "P",
        (
            (COPIES, "            yield Point(None)\n", "            pass\n"),
            (COPIES, "    if shown.points and shown.pointed != aim.current:\n", "    if False:\n"),
        ),
        setup="mirrored",
    ),
    Bug(
        "a copy is never looked at",
        "P",
        (
            (
                COMPARING,
                "        right = numbers & set(self.aim.numbers)\n",
                "        right = frozenset(self.aim.numbers)\n",
            ),
            (COMPARING, "        if not self.own:\n", "        if False:\n"),
        ),
        setup="mirrored",
    ),
    # The same over a store that keyman has.
    Bug(
        "promoted before it is stored",
        "I3",
        (
            (PERFORMER, CONFIRMED, ""),
            (PERFORMER, PROBED, PROBED.replace(PROBED.splitlines(keepends=True)[0], UNPROBED)),
            (PERFORMER, CHECKED, "                    pass\n" + PROMOTE),
        ),
        setup="vault/plain",
    ),
    Bug(
        "the step that promotes has the vault show it before",
        "P",
        (
            (
                PERFORMER,
                PROMOTE,
                "                managed.store.point(c.name, version.number)\n" + PROMOTE,
            ),
        ),
        setup="vault/plain",
    ),
    Bug(
        "what a vault refused once is not put into it again",
        "P",
        (
            (
                FOLLOWER,
                "        return self.tried != aim or boot",
                "        return self.tried != aim and boot",
            ),
        ),
        setup="vault/mirrored",
        begin="WriteSecret#1:down",
    ),
)

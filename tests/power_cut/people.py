"""People with orders for keyman, and one in the provider's console who asks nobody.

An order whose answer was lost is given once more at the end, under the same key, as anybody would.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from keyman import client
from keyman.errors import Error
from tests.power_cut.case import Case
from tests.power_cut.cloud import RefusedByConsoleError
from tests.power_cut.evidence import Ordered, Put, digest, now
from tests.power_cut.outside import Keyman

STUCK = ("at-risk", "down")
BY_HAND = "put"


class People(threading.Thread):
    """Does something every few seconds until told to stop. `calm` people leave the console be."""

    def __init__(
        self,
        case: Case,
        keyman: Keyman,
        stop: threading.Event,
        dice: random.Random,
        *,
        calm: bool,
    ) -> None:
        super().__init__(name="people", daemon=True)
        self._case, self._keyman, self._evidence = case, keyman, case.evidence
        self._stopping, self._dice, self._calm = stop, dice, calm
        self._orders = 0
        self._was_ill = False
        self._revocations: dict[str, str] = {}  # orders under way, and what is to be destroyed
        self._one_at_a_time = threading.Lock()
        self._putting = threading.Lock()

    def run(self) -> None:
        known: dict[str, Callable[[], None]] = {
            "rotate": self.rotate,
            "rollback": self._roll_back,
            "switch": self.switch,
            "reload": self._reload,
            "revoke": self.revoke,
            "revoke now": lambda: self._revoke_stage("current", first=True),
            "revoke previous": self._revoke_the_previous,
            BY_HAND: self.put,
            "drift": self._drift,
        }
        wishes = dict(self._case.wishes)
        wishes["drift"] = 0 if self._calm else wishes.get("drift", 0)
        acts, weights = [known[wish] for wish in wishes], list(wishes.values())
        while not self._stopping.wait(self._dice.uniform(0.5, 3.0)):
            self.care()
            self._dice.choices(acts, weights)[0]()
            self.hold_them_to_their_word()

    # Orders.

    def rotate(self) -> None:
        self._order("rotate", {"reason": "people"})

    def care(self) -> None:
        """Whoever sees that nothing but a person helps any more does what the hint says."""
        status = self._keyman.status(self._case.name)
        ill = status is not None and status["health"] in STUCK and not status["order"]
        if BY_HAND in self._case.wishes:
            if ill or (status is not None and status["health"] == "due"):
                self.put()
        elif ill and self._was_ill and "switch" in self._case.wishes:
            self._order("rotate", {"new_key": True})
        self._was_ill = ill

    def _roll_back(self) -> None:
        self._order("rollback", {})

    def switch(self) -> None:
        slot = self._dice.choice(("key-one", "key-two"))
        self._order(self._dice.choice(("activate", "deactivate")), {"slot": slot}, slot=slot)

    def revoke(self) -> None:
        self._revoke_stage("current", first=False)

    def _revoke_the_previous(self) -> None:
        self._revoke_stage("previous", first=self._dice.random() < 0.3)

    def _revoke_stage(self, stage: str, *, first: bool) -> None:
        try:
            found = client.lookup(self._case.name, stage=stage)
        except Error:
            return  # nothing is handed out that could leak
        body: dict[str, object] = {"version": found["version"], "now": first}
        self._order("revoke", body, leaked=digest(str(found["value"])))

    def _order(
        self,
        verb: str,
        body: dict[str, object],
        *,
        leaked: str | None = None,
        slot: str | None = None,
    ) -> None:
        with self._one_at_a_time:
            self._orders += 1
            key, at = f"{self._case.name}-{self._orders}", now()
            # Noted before it is sent: what follows from it may be seen before its answer.
            place = len(self._evidence.ordered)
            order = Ordered(at, verb, body, key, answered=False, leaked=leaked, slot=slot)
            self._evidence.ordered.append(order)
            outcome = self._send(order)
            if outcome is not None:
                kept = leaked if outcome < 400 else None
                self._evidence.ordered[place] = replace(order, answered=True, leaked=kept)

    def _send(self, order: Ordered) -> int | None:
        """The status; None if nobody answered. A revocation's receipt is asked for later on."""
        path = f"/api/v1/credentials/{self._case.name}/{order.verb}"
        try:
            status, said = self._keyman.call("POST", path, order.body, Idempotency_Key=order.key)
        except Error:
            return None
        if order.leaked and status < 400:
            self._revocations[str(said["order"])] = order.leaked
        return status

    def repeat_what_got_no_answer(self) -> None:
        """Once the daemon stays up: leaks that nobody confirmed are reported again."""
        for place, order in enumerate(self._evidence.ordered):
            if not order.answered and order.leaked and (self._send(order) or 0) >= 400:
                self._evidence.ordered[place] = replace(order, answered=True, leaked=None)

    def hold_them_to_their_word(self) -> None:
        """A receipt that says `done` means that the cloud takes the secret no more."""
        for order, secret in list(self._revocations.items()):
            try:
                _, said = self._keyman.call("GET", f"/api/v1/orders/{order}")
            except Error:
                return
            if said.get("state") != "done":
                continue
            del self._revocations[order]
            time.sleep(self._case.heard_within)
            if secret in self._case.taken() and not self._lives_as_said(said):
                ended = f"{said['revoked']} as of {said['finished_at']}"
                self._evidence.said.append(f"I6: {secret[:8]} lives at {now()}, revoked: {ended}")

    def _lives_as_said(self, receipt: Mapping[str, Any]) -> bool:
        """Nobody can take a token back: the receipt says until when it works, or a bit less."""
        until = receipt.get("until")
        told = datetime.fromisoformat(until) if until else None
        heard = now() - timedelta(seconds=self._case.heard_within)
        return not self._case.revokes and told is not None and told > heard

    # By hand.

    def put(self) -> None:
        """Bring a new secret; one in a few ends soon, while people are about."""
        if not self._putting.acquire(blocking=False):
            return  # somebody is at it
        try:
            self._bring(self._case.fresh_secret())
        finally:
            self._putting.release()

    def put_beside(self) -> None:
        """The same without waiting for what comes of it."""
        threading.Thread(target=self.put, daemon=True).start()

    def _bring(self, secret: str) -> None:
        ends = None
        if self._dice.random() < 0.2 and not self._stopping.is_set():
            ends = now() + timedelta(seconds=self._dice.uniform(3, 8))
            ends = ends.replace(microsecond=0)
        place, brought = len(self._evidence.put), Put(now(), digest(secret), ends)
        self._evidence.put.append(brought)
        body = {"secret": secret, **({"expires_at": ends.isoformat()} if ends else {})}
        try:
            path = f"/api/v1/credentials/{self._case.name}/put"
            status, said = self._keyman.call("POST", path, body)
        except Error:
            return
        version = said["current"]["version"] if status < 400 and said["current"] else None
        self._evidence.put[place] = replace(brought, answered=now(), version=version)

    def _reload(self) -> None:
        """A changed configuration is written, and taken up by whichever way."""
        self._keyman.configure(observe_every=self._dice.choice(("1500ms", "1200ms", "1800ms")))
        if self._dice.random() < 0.5:
            self._keyman.hang_up()
            return
        try:
            self._keyman.call("POST", "/api/v1/reload", {})
        except Error:
            return  # it will be taken up at the next start

    # The console.

    def _drift(self) -> None:
        at = now()
        try:
            if self._case.drift(self._dice):
                self._evidence.drifted.append(at)
        except RefusedByConsoleError:
            return  # the cloud does not let people do that in this state either

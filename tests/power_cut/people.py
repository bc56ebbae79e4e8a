"""People with orders for keyman, and one in the provider's console who asks nobody.

An order whose answer was lost is given once more at the end, under the same key, as anybody would.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from keyman import client
from keyman.errors import Error
from tests.power_cut.evidence import Evidence, Ordered, digest, now
from tests.power_cut.outside import NAME, Cloud, Keyman, RefusedByConsoleError

STUCK = ("at-risk", "down")
HEARD_WITHIN = 0.5  # seconds in which all of the cloud has heard of a revocation


class People(threading.Thread):
    """Does something every few seconds until told to stop. `calm` people leave the console be."""

    def __init__(
        self,
        keyman: Keyman,
        cloud: Cloud,
        evidence: Evidence,
        stop: threading.Event,
        dice: random.Random,
        *,
        calm: bool,
    ) -> None:
        super().__init__(name="people", daemon=True)
        self._keyman, self._cloud, self._evidence = keyman, cloud, evidence
        self._stopping, self._dice, self._calm = stop, dice, calm
        self._orders = 0
        self._was_ill = False
        self._revocations: dict[str, str] = {}  # orders under way, and what is to be destroyed
        self._one_at_a_time = threading.Lock()

    def run(self) -> None:
        acts: list[tuple[int, Callable[[], None]]] = [
            (30, self.rotate),
            (14, self._roll_back),
            (12, self.switch),
            (8, self._reload),
            (7, lambda: self._revoke(first=False)),
            (4, lambda: self._revoke(first=True)),
            (4, self._revoke_the_previous),
            (0 if self._calm else 25, self._drift),
        ]
        weights = [weight for weight, _ in acts]
        while not self._stopping.wait(self._dice.uniform(0.5, 3.0)):
            self._dice.choices([act for _, act in acts], weights)[0]()
            self.care()
            self.hold_them_to_their_word()

    # Orders.

    def rotate(self) -> None:
        self._order("rotate", {"reason": "people"})

    def care(self) -> None:
        """Whoever sees that no slot can be filled any more orders a new key, as the hint says."""
        status = self._keyman.status()
        ill = status is not None and status["health"] in STUCK and not status["order"]
        if ill and self._was_ill:
            self._order("rotate", {"new_key": True})
        self._was_ill = ill

    def _roll_back(self) -> None:
        self._order("rollback", {})

    def switch(self) -> None:
        slot = self._dice.choice(("key-one", "key-two"))
        self._order(self._dice.choice(("activate", "deactivate")), {"slot": slot}, slot=slot)

    def _revoke(self, *, first: bool) -> None:
        self._revoke_stage("current", first=first)

    def _revoke_the_previous(self) -> None:
        self._revoke_stage("previous", first=self._dice.random() < 0.3)

    def _revoke_stage(self, stage: str, *, first: bool) -> None:
        try:
            found = client.lookup(NAME, stage=stage)
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
            key, at = f"order-{self._orders}", now()
            # Noted before it is sent: what follows from it may be seen before its answer.
            place = len(self._evidence.ordered)
            order = Ordered(at, verb, body, key, answered=False, leaked=leaked, slot=slot)
            self._evidence.ordered.append(order)
            outcome = self._send(order)
            if outcome is not None:
                kept = leaked if outcome < 400 else None
                done = Ordered(at, verb, body, key, answered=True, leaked=kept, slot=slot)
                self._evidence.ordered[place] = done

    def _send(self, order: Ordered) -> int | None:
        """The status; None if nobody answered. A revocation's receipt is asked for later on."""
        path = f"/api/v1/credentials/{NAME}/{order.verb}"
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
            time.sleep(HEARD_WITHIN)
            if secret in self._cloud.accepted():
                self._evidence.said.append(f"I6: {secret[:8]} was revoked, says {order}, and lives")

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
        keys = [key for key in self._cloud.truth() if not key["deleted"]]
        if not keys:
            return
        key = self._dice.choice(keys[-2:])
        action = self._dice.choice(("renew", "activate", "deactivate", "deactivate", "revoke"))
        body = {"action": action, "key_id": key["id"]}
        slot = self._dice.choice([slot["keyName"] for slot in key["slots"]])
        try:
            self._cloud.ask("POST", "drift", {**body, "slot": slot})
        except RefusedByConsoleError:
            return  # the cloud does not let people do that in this state either
        self._evidence.drifts += 1

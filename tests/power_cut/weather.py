"""What a cloud gets wrong: a few rules at a time, some of them rare and some on every third call.

Slow answers to changes come by way of losing them late, so that a call marked `delay` in the log
is always one that a kill was aimed at.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

Rule = dict[str, object]
BUSY: Rule = {"effect": "incorrect_state"}
GARBAGE = ("{}", "[]", "null", '{"id": "x", "keys": []}', "<html></html>", '{"keys": null}')


def control(dice: random.Random, operations: Sequence[str], *more: Rule) -> Rule:
    """One thing that goes wrong with one of these calls; `more` are the vendor's own."""
    effects: list[Rule] = [
        {"effect": "lost_before"},
        {"effect": "lost_after"},
        {"effect": "lost_after", "seconds": 0.4},
        {"effect": "lost_after", "seconds_after": 0.4},
        {"effect": "truncated"},
        {"effect": "garbage", "body": dice.choice(GARBAGE)},
        {"effect": "throttle"},
        {"effect": "throttle", "retry_after": 1},
        {"effect": "status", "status": dice.choice((500, 502, 503, 504))},
        {"effect": "html"},
        *more,
    ]
    return {**dice.choice(effects), "operation": dice.choice(operations)}


def slow(dice: random.Random, operations: Sequence[str]) -> Rule:
    late: Rule = {"effect": "delay", "seconds": dice.uniform(0.05, 0.5)}
    return {**late, "operation": dice.choice(operations)}


def inference(dice: random.Random, operations: Sequence[str] = ("ChatCompletions",)) -> Rule:
    effects: list[Rule] = [
        {"effect": "throttle"},
        {"effect": "status", "status": dice.choice((500, 503))},
        {"effect": "lost_before"},
        {"effect": "truncated"},
        {"effect": "html"},
    ]
    return {**dice.choice(effects), "operation": dice.choice(operations)}


def spell(dice: random.Random, *kinds: tuple[int, Callable[[], Rule]]) -> list[Rule]:
    """The rules of one spell of weather, drawn by weight; none in a quarter of them."""
    if dice.random() < 0.25:
        return []
    makers, weights = [make for _, make in kinds], [weight for weight, _ in kinds]
    drawn = dice.choices(makers, weights, k=dice.randint(1, 4))
    return [{**make(), "chance": dice.choice((0.1, 0.25, 0.5))} for make in drawn]

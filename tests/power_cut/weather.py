"""What the cloud gets wrong: a few rules at a time, some of them rare and some on every third call.

Slow answers to changes come by way of losing them late, so that a call marked `delay` in the log
is always one that a kill was aimed at.
"""

from __future__ import annotations

import random

from tests.power_cut.outside import Cloud

Rule = dict[str, object]
CHANGES = ("CreateApiKey", "RenewApiKey", "SetApiKeyState", "UpdateApiKey")
READS = ("GetApiKey", "ListApiKeys")
GARBAGE = ("{}", "[]", "null", '{"id": "x", "keys": []}', "<html></html>", '{"keys": null}')


def _control(dice: random.Random) -> Rule:
    effects: list[Rule] = [
        {"effect": "lost_before"},
        {"effect": "lost_after"},
        {"effect": "lost_after", "seconds": 0.4},
        {"effect": "lost_after", "seconds_after": 0.4},
        {"effect": "truncated"},
        {"effect": "garbage", "body": dice.choice(GARBAGE)},
        {"effect": "throttle"},
        {"effect": "throttle", "retry_after": 1},
        {"effect": "incorrect_state"},
        {"effect": "status", "status": dice.choice((500, 502, 503, 504))},
        {"effect": "html"},
    ]
    return {**dice.choice(effects), "operation": dice.choice((*CHANGES, *READS, "*ApiKey*"))}


def _reading(dice: random.Random) -> Rule:
    slow = {"effect": "delay", "seconds": dice.uniform(0.05, 0.5)}
    return {**slow, "operation": dice.choice(READS)}


def _inference(dice: random.Random) -> Rule:
    effects: list[Rule] = [
        {"effect": "throttle"},
        {"effect": "status", "status": dice.choice((500, 503))},
        {"effect": "lost_before"},
        {"effect": "truncated"},
        {"effect": "html"},
    ]
    return {**dice.choice(effects), "operation": "ChatCompletions"}


def some(dice: random.Random) -> list[Rule]:
    """The rules of one spell of weather; none in a quarter of them."""
    if dice.random() < 0.25:
        return []
    kinds = dice.choices((_control, _reading, _inference), weights=(5, 1, 1), k=dice.randint(1, 4))
    return [{**kind(dice), "chance": dice.choice((0.1, 0.25, 0.5))} for kind in kinds]


def change(cloud: Cloud, rules: list[Rule]) -> None:
    """Let these rules be in force, and no others."""
    cloud.ask("DELETE", "faults")
    if rules:
        cloud.ask("POST", "faults", rules)

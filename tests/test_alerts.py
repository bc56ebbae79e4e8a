"""The alert rules in deploy/: over metrics that exist, with words that occur, and right in time.

tests/alerts/keyman.rules.test.yaml tells by examples what is on when; promtool judges that.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from keyman.cli.main import COMMANDS
from keyman.core.health import Health
from keyman.meter import DONE, FAILED, OUTCOMES, WORDS
from tests.commands.world import Home, cloud, home, until
from tests.servers import require
from tests.serving.world import UnixConnection

ROOT = Path(__file__).parent.parent
RULES = ROOT / "deploy/prometheus/keyman.rules.yaml"
EXAMPLES = ROOT / "tests/alerts/keyman.rules.test.yaml"
PROMETHEUS_OWN = {"up"}  # the metric that it makes itself of each scrape
MORE = """\
  partner: {provider: static, mirrors: [copy]}
stores:
  copy: {kind: sealed-file, path: "{home}/elsewhere/copy.db"}
notify:
- {url: 'json://127.0.0.1:9/', name: hook}
"""
SELECTOR = re.compile(r"\b([a-z]+(?:_[a-z]+)+|up)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|=)"([^"]*)"')
WORDS_OF = {
    "health": {str(one) for one in Health},
    "outcome": {*OUTCOMES, DONE, FAILED, *(word for _, word in WORDS)},
}
FUNCTIONS = {"min_over_time"}

Labels = dict[str, set[str]]  # name of a metric → labels of its samples


def rules(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]
    ]
    return found


def selected(expression: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Each metric that an expression names, with the labels and words it is picked by."""
    for name, picked in SELECTOR.findall(expression):
        if name not in FUNCTIONS:
            yield name, [(label, word) for label, _, word in MATCHER.findall(picked)]


def mistakes(text: str, exported: Labels) -> list[str]:
    """What in these rules is about nothing."""
    found = []
    for rule in rules(text):
        names = list(selected(rule["expr"]))
        found += [f"{rule['alert']}: names no metric"] if not names else []
        for name, picked in names:
            if name not in exported and name not in PROMETHEUS_OWN:
                found.append(f"{rule['alert']}: nobody exports {name}")
            for label, word in picked:
                if name in exported and label not in exported[name]:
                    found.append(f"{rule['alert']}: {name} has no label {label}")
                if label in WORDS_OF and set(word.split("|")) - WORDS_OF[label]:
                    found.append(f"{rule['alert']}: {word} never occurs")
    return found


@pytest.fixture(scope="module")
def exported() -> Iterator[Labels]:
    """What a daemon at work shows: it rotates, follows a mirror, and tells people."""
    with cloud() as sky, home(sky) as place:
        place.config.write_text(place.config.read_text() + MORE)
        (place.state / "elsewhere").mkdir(parents=True, mode=0o700)
        place.state.chmod(0o700)
        with place.daemon():
            yield shown(place)


def shown(place: Home) -> Labels:
    assert place.keyman("put", "partner", stdin="sk-1\n").status == 0
    wanted = ("keyman_rotations_total", "keyman_credential_expiry_timestamp_seconds")
    until(lambda: all(name in scrape(place) for name in wanted))
    found: Labels = {}
    for family in text_string_to_metric_families(scrape(place)):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels, {"instance", "job"})
    return found


def scrape(place: Home) -> str:
    with closing(UnixConnection(place.state / "agent.sock")) as connection:
        connection.request("GET", "/metrics", headers={"Host": "keyman"})
        return connection.getresponse().read().decode()


def test_every_metric_label_and_word_of_the_rules_exists(exported: Labels) -> None:
    assert mistakes(RULES.read_text(), exported) == []


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("keyman_mirror_behind[", "keyman_miror_behind[", "nobody exports keyman_miror_behind"),
        ("absent(keyman_up)", "absent(keyman_running)", "nobody exports keyman_running"),
        ('{health="down"}', '{helth="down"}', "keyman_credential_health has no label helth"),
        ('{health="down"}', '{health="dead"}', "dead never occurs"),
        ('{outcome="given-up"}', '{outcome="given_up"}', "given_up never occurs"),
    ],
)
def test_a_slip_of_the_pen_is_found(exported: Labels, right: str, wrong: str, said: str) -> None:
    text = RULES.read_text()
    assert right in text
    assert any(said in one for one in mistakes(text.replace(right, wrong), exported))


def test_each_is_severe_in_a_known_way_and_names_a_next_move() -> None:
    for rule in rules(RULES.read_text()):
        assert rule["labels"]["severity"] in ("warning", "critical")
        said = rule["annotations"]["description"]
        assert "Next: " in said
        for command in re.findall(r"`keyman ([a-z]+)", said):
            assert command in COMMANDS


def test_each_rule_has_an_example() -> None:
    tried = {one["alertname"] for test in examples() for one in test["alert_rule_test"]}
    untried = {rule["alert"] for rule in rules(RULES.read_text())} - tried
    assert untried <= {"KeymanCredentialAtRisk", "KeymanRotationStuck"}, "like their neighbours"


def examples() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(EXAMPLES.read_text())["tests"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("what", [["check", "rules", str(RULES)], ["test", "rules", str(EXAMPLES)]])
def test_prometheus_own_judge_agrees(what: list[str]) -> None:
    promtool = shutil.which("promtool")
    require("promtool", found=promtool, hint="apt-get install prometheus")
    done = subprocess.run([str(promtool), *what], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

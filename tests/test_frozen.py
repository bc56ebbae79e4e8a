"""Copies of records: the same as the standard library's, for each kind of record in the core."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from keyman.core import frozen
from tests.contract.journal_cases import full_credential, full_observed

CREDENTIAL, OBSERVED = full_credential(), full_observed()
KEY = OBSERVED.keys[0]
RECORDS = [CREDENTIAL, CREDENTIAL.versions[0], CREDENTIAL.orders[0], OBSERVED, KEY, KEY.slots[0]]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_copy_is_the_standard_one(record: Any) -> None:
    assert frozen.replace(record) == record
    assert frozen.replace(record) is not record
    for field in dataclasses.fields(record):
        before = dataclasses.replace(record)
        changed = frozen.replace(record, **{field.name: "changed"})
        assert changed == dataclasses.replace(record, **{field.name: "changed"})
        assert type(changed) is type(record)
        assert record == before


def test_several_fields_at_once() -> None:
    order = CREDENTIAL.orders[0]
    both = frozen.replace(order, error="e", until=None)
    assert both == dataclasses.replace(order, error="e", until=None)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_field_that_there_is_not_is_refused(record: Any) -> None:
    with pytest.raises(KeyError, match="nobody"):
        frozen.replace(record, nobody=1)

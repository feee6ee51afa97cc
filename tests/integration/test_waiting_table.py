"""What waits is one row a submission, as far as it waits: over blocks, failures, restarts and damage."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.builders import GENESIS, LEDGER, Scribe, keep, statement, statements
from tests.integration.test_check import execute

from tallystick.ledger.block import Block
from tallystick.ledger.certificate import Statement
from tallystick.ledger.messages import Entry
from tallystick.node.events import PersistBlock
from tallystick.problems import DamagedStore, StoreError
from tallystick.storage.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.create(tmp_path / "chain.db", GENESIS) as made:
        yield made


def waiting(store: Store) -> list[str]:
    return [entry.certificate.subject for entry in store.waiting()]


def reopened(store: Store) -> list[str]:
    """What a reader, or the next start, finds."""
    with Store.open(store.path, read_only=True) as other:
        return waiting(other)


def submit(store: Store, *subjects: str) -> list[Statement]:
    made = [statement(subject, ledger=LEDGER) for subject in subjects]
    store.keep_certificates([Entry(one) for one in made])
    return made


def fail_after(store: Store, gone: Statement, far: Block) -> None:
    """Keep one, settle another, and fail, in one transaction."""
    with store.batch():
        submit(store, "third")
        store.forget_certificate(gone.id)
        store.append(PersistBlock(far, ()))


def rows(store: Store) -> int:
    return int(store.database.select("SELECT count(*) FROM waiting")[0][0])


def test_a_submission_is_one_row_as_long_as_any_of_it_waits(store: Store) -> None:
    first, second, third = submit(store, "first", "second", "third")
    submit(store, "fourth")
    assert rows(store) == 2
    keep(store, Scribe().forge(second), [])
    assert reopened(store) == waiting(store) == ["first", "third", "fourth"]
    for one in (first, third):
        store.forget_certificate(one.id)
    assert (reopened(store), rows(store)) == (["fourth"], 1)


def test_a_large_submission_takes_rows_that_can_be_read(store: Store) -> None:
    many = list(statements(2_500))
    store.keep_certificates([Entry(one) for one in many])
    assert rows(store) == 3
    assert [entry.certificate for entry in store.waiting()] == many
    with Store.open(store.path, read_only=True) as other:
        assert [entry.certificate for entry in other.waiting()] == many


def test_a_row_takes_no_number_of_another_after_the_first_is_gone(store: Store) -> None:
    (first,) = submit(store, "first")
    submit(store, "second")
    store.forget_certificate(first.id)
    submit(store, "third")
    assert reopened(store) == ["second", "third"]


def test_what_is_kept_twice_waits_once_where_it_stands_last(store: Store) -> None:
    (first, _) = submit(store, "first", "second")
    store.keep_certificates([Entry(first)])
    assert reopened(store) == ["second", "first"]
    store.forget_certificate(first.id)
    assert reopened(store) == ["second"]


def test_a_change_that_fails_leaves_what_waited(store: Store) -> None:
    (first, second), scribe = submit(store, "first", "second"), Scribe()
    far = [scribe.forge(statement(subject, ledger=LEDGER)) for subject in ("one", "two")][1]
    with pytest.raises(StoreError, match="does not come next"):
        fail_after(store, first, far)
    assert waiting(store) == reopened(store) == ["first", "second"]
    store.forget_certificate(second.id)
    submit(store, "fourth")
    assert waiting(store) == reopened(store) == ["first", "fourth"]


def test_many_that_are_forgotten_together_are_written_once_a_row(store: Store) -> None:
    many = list(statements(1_000))
    store.keep_certificates([Entry(one) for one in many])
    before = store.database.connection.total_changes
    with store.batch():
        for one in many[:900]:
            store.forget_certificate(one.id)
    assert store.database.connection.total_changes - before == 1
    assert [entry.certificate for entry in store.waiting()] == many[900:]


@pytest.mark.parametrize("column", ["digest", "encoded"])
def test_an_altered_row_is_no_submission(store: Store, column: str) -> None:
    submit(store, "first", "second")
    (value,) = store.database.select(f"SELECT {column} FROM waiting")[0]
    changed = value.replace(b"second", b"minute") if column == "encoded" else bytes(32)
    store.close()
    execute(store.path, f"UPDATE waiting SET {column} = x'{changed.hex()}'")
    with Store.open(store.path) as altered, pytest.raises(DamagedStore):
        list(altered.waiting())


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=4, unique=True), max_size=6), st.data())
def test_whatever_is_kept_and_settled_a_restart_finds_what_waits(
    tmp_path_factory: pytest.TempPathFactory, submissions: list[list[int]], data: st.DataObject
) -> None:
    made, model = [statement(str(number), ledger=LEDGER) for number in range(12)], list[int]()
    with Store.create(tmp_path_factory.mktemp("waiting") / "chain.db", GENESIS) as store:
        for numbers in submissions:
            store.keep_certificates([Entry(made[number]) for number in numbers])
            model = [one for one in model if one not in numbers] + numbers
            for gone in data.draw(st.lists(st.integers(0, 11), max_size=3, unique=True)):
                store.forget_certificate(made[gone].id)
                model = [one for one in model if one != gone]
            assert reopened(store) == [str(one) for one in model]

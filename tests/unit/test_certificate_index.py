"""Where certificates stand: the compact index against a dictionary, whatever the ids and however they come."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kept_elsewhere import KeptElsewhere

from tallystick.ledger.certificate_index import CertificateIndex, Found, Place


@pytest.fixture(autouse=True, scope="module", params=[8, 262_144])
def most_in_dictionary(request):
    """Few certificates leave the dictionary, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tallystick.ledger.certificate_index._MOST_IN_DICTIONARY", request.param)
        yield


def digest(number: int) -> bytes:
    return sha256(number.to_bytes(8, "big", signed=True)).digest()


def issuer_of(certificate_id: bytes) -> bytes:
    """One of a few keys; none for one in four."""
    return b"" if certificate_id[0] % 4 == 0 else digest(certificate_id[0] % 4)


def filled(counts: list[int]) -> tuple[CertificateIndex, dict[bytes, Place]]:
    places, expected, number = CertificateIndex(), {}, 0
    for block_index, count in enumerate(counts, start=1):
        ids = [digest(one) for one in range(number, number + count)]
        number += count
        places.extend(b"".join(ids), [count], [issuer_of(one) for one in ids])
        expected.update({one: Place(block_index, position) for position, one in enumerate(ids)})
    return places, expected


@given(st.lists(st.integers(0, 40), max_size=60))
def test_every_certificate_is_found_where_it_stands_and_no_other(counts):
    places, expected = filled(counts)
    assert (len(places), places.last_block) == (len(expected), len(counts))
    assert {one: places.place_of(one) for one in expected} == expected
    numbered = enumerate(sorted(expected, key=expected.__getitem__))
    assert all(places.find(one) == Found(number, issuer_of(one) or None) for number, one in numbered)
    for number in range(len(expected), len(expected) + 50):
        assert places.place_of(digest(number)) is None
        assert places.find(digest(number)) is None


@given(st.lists(st.integers(0, 40), max_size=40), st.lists(st.integers(0, 40), max_size=20), st.integers(0, 40))
def test_what_was_taken_out_of_an_index_makes_the_same_index_again(counts, more, after):
    places, expected = filled(counts + more)
    again = CertificateIndex()
    if after < len(counts):
        begun, _ = filled((counts + more)[:after])
        again.extend(*begun.between(0, after))
        again.extend(*places.between(after, places.last_block))
    else:
        again.extend(*places.between(0, places.last_block))
    assert (len(again), again.last_block) == (len(places), places.last_block)
    assert {one: again.place_of(one) for one in expected} == expected
    assert [again.find(one) for one in expected] == [places.find(one) for one in expected]


@given(st.lists(st.integers(0, 40), max_size=20), st.lists(st.integers(0, 40), min_size=1, max_size=20))
def test_what_was_asked_for_before_it_came_is_known_once_it_is_there(counts, more):
    (places, there), (_, expected) = filled(counts), filled(counts + more)
    others = [digest(-1 - number) for number in range(9)]
    for _ in range(2):
        assert places.known([*expected, *others]) == there.keys()
    whole, _ = filled(counts + more)
    places.extend(*whole.between(places.last_block, whole.last_block))
    for _ in range(2):
        assert places.known([*expected, *others]) == expected.keys()


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=40), st.booleans())
def test_an_index_says_the_same_whether_it_keeps_the_oldest_or_the_host_does(blocks, starts_anew):
    whole, expected = filled([count for count, _ in blocks])
    ids = sorted(expected, key=expected.__getitem__)
    places, number, size = CertificateIndex(), 0, 0
    for at, (count, lets_go) in enumerate(blocks):
        places.extend(*whole.between(at, at + 1))
        if lets_go:  # all, or what the blocks before had
            size = number + count if count % 2 else number
            places.let_go(KeptElsewhere(ids[:size], issuer_of), size)
        number += count
    if starts_anew and size:
        until = next(at for at in range(len(blocks) + 1) if sum(count for count, _ in blocks[:at]) == size)
        places = CertificateIndex(KeptElsewhere(ids[:size], issuer_of), [count for count, _ in blocks[:until]])
        places.extend(*whole.between(until, len(blocks)))
    assert (len(places), places.last_block) == (len(whole), whole.last_block)
    assert {one: places.place_of(one) for one in ids} == expected
    assert [places.find(one) for one in ids] == [whole.find(one) for one in ids]
    assert not any(digest(number) in places for number in range(len(ids), len(ids) + 50))
    assert all(sorted(places.with_prefix(f"{one:02x}")) == whole.with_prefix(f"{one:02x}") for one in range(256))
    assert [places.ids(first, 3) for first in range(len(ids))] == [whole.ids(first, 3) for first in range(len(ids))]
    if size:
        with pytest.raises(ValueError, match="are the host's"):
            places.between(0, len(blocks))


@given(st.integers(0, 60), st.integers(0, 60), st.randoms())
def test_no_more_ids_than_allowed_are_looked_up_with_the_host_and_others_it_may_have_count_as_known(most, size, chance):
    places, expected = filled([30, 30])
    ids = sorted(expected, key=expected.__getitem__)
    host = KeptElsewhere(ids[:size])
    places.let_go(host, size)
    alike = [one[:8] + sha256(one).digest()[8:] for one in ids[:size:2]]
    absent = [digest(-1 - number) for number in range(20)]
    named = 2 * [*ids, *alike, *absent]
    chance.shuffle(named)
    known = places.known(named, most)
    assert len(host.read) == len({*host.read}) == min(most, size + len(alike))
    assert known == expected.keys() | ({*alike} - {*host.read})
    assert places.known(named) == expected.keys(), "what was not looked up is not taken for absent"


def test_ids_found_absent_are_remembered_up_to_a_bound():
    """INV-5: a peer names as many as it likes."""
    host = KeptElsewhere([digest(10**6)])
    places = CertificateIndex(host, [1])
    first, parts = digest(0), range(1, 40_000, 1_000)
    for part in parts:
        places.known([first, *(digest(number) for number in range(part, part + 1_000))])
    assert 1 < host.asked.count(first) < 4, "it was forgotten with all others when there were too many, not each time"


def test_ids_that_are_alike_but_for_a_few_bits_are_told_apart():
    alike = [bytes([bit]) + bytes(30) + bytes([other]) for bit in range(32) for other in range(32)]
    places = CertificateIndex()
    places.extend(b"".join(alike), [len(alike)], [b""] * len(alike))
    assert [places.place_of(one) for one in alike] == [Place(1, position) for position in range(len(alike))]
    assert places.place_of(bytes(31) + b"\xff") is None


def test_ids_and_counts_that_do_not_agree_change_nothing():
    places, expected = filled([2, 3])
    for ids, counts in ((bytes(32), [2]), (bytes(31), [1]), (bytes(64), [1])):
        with pytest.raises(ValueError, match="bytes of ids and"):
            places.extend(ids, counts, [b""] * sum(counts))
    for issuers in ([], [b"", b""]):
        with pytest.raises(ValueError, match=f"{len(issuers)} issuers for 1 certificates"):
            places.extend(bytes(32), [1], issuers)
    assert (len(places), places.last_block) == (5, 2)
    assert {one: places.place_of(one) for one in expected} == expected


def test_an_index_of_many_certificates_is_small_and_its_chains_stay_short(monkeypatch):
    monkeypatch.setattr("tallystick.ledger.certificate_index._MOST_IN_DICTIONARY", 1_000)
    places, count = CertificateIndex(), 50_000
    for start in range(0, count, 250):
        places.extend(b"".join(digest(one) for one in range(start, start + 250)), [250], [b""] * 250)
    buckets = places._buckets
    held = (places._ids, places._ends, buckets._heads, buckets._next, buckets._hashes, places._issuers)
    assert sum(len(one) * getattr(one, "itemsize", 1) for one in held) <= 49 * count
    assert len(places._numbers) <= 1_000
    longest = max(sum(1 for _ in chain(buckets, bucket)) for bucket in range(len(buckets._heads)))
    assert longest <= 24, f"{longest} certificates in one bucket"


def chain(buckets, bucket):
    end = buckets._heads[bucket]
    while end:
        yield end
        end = buckets._next[end - 1]

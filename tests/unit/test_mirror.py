"""A mirror's paths and files: those of C2SP tlog-tiles, each in one form, and bounded."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import digests, headers, indexes

from tallystick.ledger.checkpoint import parse_checkpoint
from tallystick.ledger.errors import Refused
from tallystick.ledger.fields import MAX_INDEX
from tallystick.ledger.merkle import Frontier, leaf_hash
from tallystick.ledger.note import parse_note
from tallystick.storage.log_tiles import Tree
from tallystick.storage.mirror import (
    ENTRIES,
    HEADERS,
    IDS,
    MirroredHeader,
    Part,
    bundle,
    header_codec,
    id_rows,
    items_in,
    max_bytes,
    parse_path,
    parse_state_path,
    part_with,
    parts_of,
    places_in,
    state_path,
    tile_path,
    tile_series,
    tiles,
)

OTHERS = Path(__file__).parents[1] / "vectors" / "c2sp"

series = st.sampled_from([ENTRIES, HEADERS, IDS, *(tiles(level, tree) for tree in Tree for level in range(7))])
parts = st.builds(
    lambda of, number, width: Part(of, number, min(width, of.span)),
    series,
    st.one_of(st.integers(0, 2_000_000), st.integers(0, MAX_INDEX // 65_536 - 1)),
    st.one_of(st.integers(1, 65_536), st.just(65_536)),
)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("tile/0/x001/x234/067", Part(tiles(0), 1_234_067, 256)),  # the example of C2SP tlog-tiles
        ("tile/1/000.p/17", Part(tiles(1), 0, 17)),
        ("tile/entries/273.p/112", Part(ENTRIES, 273, 112)),
        ("tallystick/tile/2/x001/000", Part(tiles(2, Tree.HEADERS), 1_000, 256)),
        ("tallystick/ids/000.p/65535", Part(IDS, 0, 65_535)),
        ("tallystick/headers/999.p/1", Part(HEADERS, 999, 1)),
    ],
)
def test_a_part_has_the_path_of_the_specification(path: str, part: Part) -> None:
    assert part.path == path
    assert parse_path(path) == part


@given(parts)
def test_a_path_leads_back_to_its_part(part: Part) -> None:
    assert parse_path(part.path) == part


@pytest.mark.parametrize(
    "path",
    [
        "", "checkpoint", "tile", "tile/0", "tile/0/", "tile/0/1", "tile/0/01", "tile/0/0001", "tile/0/x000/001",
        "tile/0/x001/x001", "tile/0/001/002", "tile/0/000.p/0", "tile/0/000.p/01", "tile/0/000.p/256",
        "tile/0/000.p/257", "tile/0/000.p/", "tile/0/000.p", "tile/0/000.p/-1", "tile/0/000/", "/tile/0/000",
        "tile//000", "tile/00/000", "tile/7/000", "tile/10/000", "tile/-1/000", "tile/headers/000",
        "tile/0/x\u0661\u0662\u0663/000",
        "tile/0/../0/000", "tile/0/X001/000", "tile/0/000.p/1\n", "tile/entries/000.p/256",
        "tallystick/ids/000.p/65536",
        "tallystick/tile/entries/000", "tallystick/state/1", "tile/0/" + "x999/" * 5 + "999", "tile/0/" + "x001/" * 900,
    ],
)  # fmt: skip
def test_no_other_form_is_a_path(path: str) -> None:
    assert parse_path(path) is None


@given(indexes.filter(bool))
def test_a_state_has_one_path(size: int) -> None:
    assert parse_state_path(state_path(size)) == size
    for other in (f"tallystick/state/0{size}", f"tallystick/state/+{size}", f"tallystick/state/{size}/", "0"):
        assert parse_state_path(other) is None


@given(series, st.integers(0, 200_000), st.integers(0, 200_000))
def test_parts_cover_all_items_once(of: object, count: int, since: int) -> None:
    assert isinstance(of, type(ENTRIES))
    found = list(parts_of(of, count, min(since, count)))
    assert all(one.width == of.span for one in found[:-1])
    for one, following in pairwise(found):
        assert one.end == following.first
    if since < count:
        assert found[0].first <= since < found[0].end
        assert found[-1].end == count
        assert part_with(of, since, count) == found[0]


def test_a_part_outside_is_none() -> None:
    with pytest.raises(IndexError, match="item 5 of 5"):
        part_with(ENTRIES, 5, 5)


def test_a_tree_of_70_000_has_three_levels() -> None:
    found = [[one.path for one in parts_of(of, count)][-1] for of, count in tile_series(70_000)]
    assert found == ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]
    assert [one.path for of, count in tile_series(256) for one in parts_of(of, count)] == [
        "tile/0/000",
        "tile/1/000.p/1",
    ]


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_a_bundle_leads_back_to_its_items(items: list[bytes]) -> None:
    assert items_in(Part(ENTRIES, 0, len(items)), bundle(items)) == items


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5), st.integers(1, 3))
def test_a_bundle_cut_off_or_with_more_is_refused(items: list[bytes], by: int) -> None:
    part, data = Part(ENTRIES, 0, len(items)), bundle(items)
    for damaged in (data[:-by], data + bytes(by), data + bundle([b""])):
        with pytest.raises(Refused):
            items_in(part, damaged)


def test_a_file_is_bounded() -> None:
    part = Part(tiles(0), 0, 2)
    with pytest.raises(Refused, match="96 bytes, 64 allowed"):
        items_in(part, bytes(96))
    with pytest.raises(Refused, match="does not hold 2 items"):
        items_in(part, bytes(63))
    assert max_bytes(Part(ENTRIES, 0, 2)) == 2 * 65_537


@given(st.lists(digests, min_size=1, max_size=300, unique=True), digests)
def test_rows_of_ids_lead_to_places(ids: list[bytes], other: bytes) -> None:
    part, data = Part(IDS, 3, len(ids)), id_rows(ids)
    for place, one in enumerate(ids):
        assert part.first + place in places_in(part, data, one)
    assert all(ids[at - part.first][:8] == other[:8] for at in places_in(part, data, other))


def test_ids_that_begin_alike_are_all_found() -> None:
    ids = [bytes(8) + bytes([last]) * 24 for last in range(3)]
    assert places_in(Part(IDS, 0, 3), id_rows(ids), ids[1]) == [0, 1, 2]
    with pytest.raises(Refused, match="place 7"):
        places_in(Part(IDS, 0, 1), bytes(11) + b"\x07", bytes(32))


@given(st.builds(MirroredHeader, headers, indexes, digests))
def test_a_mirrored_header_fits_its_bound(one: MirroredHeader) -> None:
    assert header_codec.decode(one.encoded) == one


@pytest.mark.parametrize("log", ["log-1", "log-5"])
def test_logs_made_by_others_are_read(log: str) -> None:
    """Path coding, tiles and bundles agree with those of sunlight."""
    folder = OTHERS / log
    head = parse_checkpoint(parse_note((folder / "checkpoint").read_text()).text)
    ((hashes, _),) = ((of, count) for of, count in tile_series(head.size))
    (tile,), (entries,) = parts_of(hashes, head.size), parts_of(ENTRIES, head.size)
    leaves = items_in(tile, (folder / tile.path).read_bytes())
    items = items_in(entries, (folder / entries.path).read_bytes())
    assert tile_path(0, 0, head.size) == tile.path
    assert [leaf_hash(one) for one in items] == leaves
    assert bundle(items) == (folder / entries.path).read_bytes()
    assert Frontier().extend(leaves).root() == head.root

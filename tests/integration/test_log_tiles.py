"""Tiles of hashes: paths and roots of every tree that ever was, whoever writes, and damage is found and mended."""

import random
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from tests.builders import GENESIS, FinalScribe, found, statement
from tests.integration.test_store import execute
from tests.log_proofs import inclusion_proof
from tests.log_proofs import root as root_of

from tallystick.integrity.check import Check, Report
from tallystick.integrity.repair import put_blocks, repair
from tallystick.integrity.salvage import salvage
from tallystick.ledger.block import genesis_block
from tallystick.ledger.merkle import EMPTY_ROOT, Frontier, leaf_hash, root_from_path
from tallystick.problems import DamagedStore
from tallystick.storage.log_tiles import HashTiles, Tree, leaves_of
from tallystick.storage.sqlite_file import copy_database
from tallystick.storage.store import Store

LEAVES = [leaf_hash(b"%d" % number) for number in range(70_000)]


class Grown:
    """Tiles of given leaves, whose blocks are lists: a tree is as quick to have as its hashes."""

    def __init__(self, path: Path, height: int) -> None:
        self.height, self.blocks = height, {tree: list[Sequence[bytes]]() for tree in Tree}
        self.store = Store.create(path, GENESIS)
        self.tiles = self.reader(self.store)

    def reader(self, store: Store) -> HashTiles:
        return HashTiles(store.database, self.leaves, self.height)

    def leaves(self, tree: Tree, start: int) -> Iterator[tuple[int, Sequence[bytes]]]:
        return iter(list(enumerate(self.blocks[tree]))[start:])

    def add(self, tree: Tree, leaf_hashes: Sequence[bytes]) -> None:
        self.blocks[tree].append(leaf_hashes)
        with self.store.database.transaction():
            self.tiles.append(tree, len(self.blocks[tree]) - 1, leaf_hashes)

    def rows(self) -> list[tuple[int, int, int, bytes, bytes]]:
        return self.store.database.select("SELECT tree, level, number, root, hashes FROM tiles ORDER BY 1, 2, 3")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Grown]:
    """With tiles of four hashes."""
    grown = Grown(tmp_path / "small.db", 2)
    yield grown
    grown.store.close()


def some(size: int, count: int, seed: int) -> list[int]:
    """Leaves of a tree of this size: the first, the last, and some in between."""
    return sorted({0, size - 1, *random.Random(seed).choices(range(size), k=count)}) if size else []


def assert_paths(tiles: HashTiles, tree: Tree, size: int, indexes: Sequence[int], root: bytes) -> None:
    assert tiles.root(tree, size) == root
    for index in indexes:
        assert root_from_path(LEAVES[index], index, size, tiles.path(tree, index, size)) == root


def heads(leaf_hashes: Sequence[bytes]) -> list[bytes]:
    """The tree head at each size, from 0 on."""
    return [one.root() for one in accumulate(leaf_hashes, lambda tree, leaf: tree.extend([leaf]), initial=Frontier())]


# ---- the trees ------------------------------------------------------------------------------------------------


def test_every_tree_up_to_600_leaves_has_its_root_and_paths(small: Grown) -> None:
    sizes, roots = random.Random(1).choices(range(8), k=200), heads(LEAVES[:600])
    size = 0
    for step in sizes:
        small.add(Tree.LOG, LEAVES[size : min(size + step, 600)])
        size = min(size + step, 600)
        if size:
            assert_paths(small.tiles, Tree.LOG, size, [size - 1], roots[size])
    assert size == 600
    for size in range(1, 601):
        assert_paths(small.tiles, Tree.LOG, size, some(size, 10, size), roots[size])
    assert small.tiles.root(Tree.LOG, 0) == EMPTY_ROOT
    for size in (1, 3, 64, 65, 256, 257, 599, 600):
        for index in some(size, 3, size):
            assert small.tiles.path(Tree.LOG, index, size) == inclusion_proof(LEAVES[:size], index)


def test_only_full_tiles_are_kept_of_each_level(small: Grown) -> None:
    for start, end in pairwise([0, 1, 5, 5, 70, 79]):
        small.add(Tree.HEADERS, LEAVES[start:end])
    leaves = LEAVES[:79]
    expected = []
    for level in range(3):
        rows = [leaves[start : start + 4] for start in range(0, len(leaves) - 3, 4)]
        leaves = [root_of(row) for row in rows]
        expected += [
            (1, level, number, root, b"".join(row)) for number, (root, row) in enumerate(zip(leaves, rows, strict=True))
        ]
    assert [sum(row[1] == level for row in expected) for level in range(3)] == [19, 4, 1]
    assert small.rows() == expected


def test_a_tree_with_tiles_of_the_second_level(tmp_path: Path) -> None:
    grown, draw = Grown(tmp_path / "large.db", 8), random.Random(2)
    with grown.store.batch():
        for start in range(0, len(LEAVES), 4_096):
            grown.add(Tree.LOG, LEAVES[start : start + 4_096])
    levels = [(0, 273), (1, 1)]
    assert grown.store.database.select("SELECT level, count(*) FROM tiles GROUP BY 1") == levels
    sizes = sorted({1, 255, 256, 257, 65_535, 65_536, 65_537, 70_000, *draw.choices(range(1, 70_001), k=12)})
    frontier = Frontier()
    for tiles in (grown.tiles, grown.reader(grown.store)):
        frontier = Frontier()
        for size in sizes:
            frontier = frontier.extend(LEAVES[frontier.size : size])
            assert_paths(tiles, Tree.LOG, size, some(size, 30, size), frontier.root())
    assert tiles.path(Tree.LOG, 300, 70_000) == inclusion_proof(LEAVES, 300)
    grown.store.close()


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0), (0, 12), (0, -1)])
def test_there_is_no_path_outside_the_tree_or_of_a_tree_to_come(small: Grown, index: int, size: int) -> None:
    small.add(Tree.LOG, LEAVES[:11])
    with pytest.raises(IndexError):
        small.tiles.path(Tree.LOG, index, size)
    with pytest.raises(IndexError):
        small.tiles.root(Tree.LOG, size if size not in (0, 5) else 12)
    assert_paths(small.tiles, Tree.LOG, 11, range(11), root_of(LEAVES[:11]))


# ---- who writes, and who reads ----------------------------------------------------------------------------------


def test_a_reader_follows_what_another_process_adds(small: Grown) -> None:
    roots, size = heads(LEAVES[:400]), 0
    with Store.open(small.store.path, read_only=True) as opened:
        reader = small.reader(opened)
        for step in (1, 2, 1, 70, 0, 3, 200, 5, 1):
            small.add(Tree.LOG, LEAVES[size : size + step])
            size += step
            assert_paths(reader, Tree.LOG, size, some(size, 5, size), roots[size])
            assert_paths(reader, Tree.LOG, 1 + size // 2, [size // 2], roots[1 + size // 2])


def test_a_reader_that_was_away_reads_the_last_blocks_alone(small: Grown) -> None:
    small.add(Tree.LOG, LEAVES[:2])
    asked: list[int] = []

    def leaves(tree: Tree, start: int) -> Iterator[tuple[int, Sequence[bytes]]]:
        asked.append(start)
        return small.leaves(tree, start)

    reader = HashTiles(small.store.database, leaves, 2)
    for number in range(2, 300):
        assert number not in (2, 250, 251) or reader.root(Tree.LOG, number) == root_of(LEAVES[:number])
        small.add(Tree.LOG, LEAVES[number : number + 1])
    assert asked == [0, 246, 249], "then the last full tile ended with block 246, and what came after is known"


def test_a_path_reads_the_hashes_half_way_up_and_those_below_beside_its_leaf(small: Grown) -> None:
    small.add(Tree.LOG, LEAVES[:8])
    small.store.database.execute("UPDATE tiles SET hashes = zeroblob(64) || substr(hashes, 65) WHERE number = 0")
    small.tiles.forget()
    assert_paths(small.tiles, Tree.LOG, 8, [2, 3, 6], root_of(LEAVES[:8]))


def test_what_was_rolled_back_is_in_no_tree(small: Grown) -> None:
    small.add(Tree.LOG, LEAVES[:30])
    with suppress(ZeroDivisionError), small.store.database.transaction():
        small.blocks[Tree.LOG].append(LEAVES[100:150])
        small.tiles.append(Tree.LOG, 1, LEAVES[100:150])
        assert small.tiles.root(Tree.LOG, 80) == root_of(LEAVES[:30] + LEAVES[100:150])
        raise ZeroDivisionError
    small.blocks[Tree.LOG].pop()
    small.tiles.forget()
    with pytest.raises(IndexError):
        small.tiles.root(Tree.LOG, 31)
    small.add(Tree.LOG, LEAVES[30:80])
    assert_paths(small.tiles, Tree.LOG, 80, range(80), root_of(LEAVES[:80]))


# ---- in a store -------------------------------------------------------------------------------------------------

FOUNDED = found()
BLOCKS = 300


class Written:
    """A chain of 300 blocks with two statements each: tiles of the log end with blocks 128 and 256, of headers 255."""

    def __init__(self) -> None:
        scribe = FinalScribe(FOUNDED)
        self.sizes = [(0, 1)]
        """Of both trees, by block."""
        self.roots = [(EMPTY_ROOT, root_of([leaf_hash(genesis_block(FOUNDED).header.encoded)]))]
        for number in range(BLOCKS):
            scribe.forge(*(statement(f"{number}, {which}", ledger=FOUNDED.ledger_id) for which in range(2)))
            state = scribe.state
            headers = state.headers.extend([leaf_hash(state.tip.encoded)])
            self.sizes.append((state.log.size, headers.size))
            self.roots.append((state.log.root(), headers.root()))
        self.kept = scribe.kept
        self.leaves = {
            tree: [one for block in (genesis_block(FOUNDED), *scribe.blocks) for one in leaves_of(block)[tree]]
            for tree in Tree
        }

    def assert_in(self, store: Store, *blocks: int) -> None:
        """The store makes the trees at each of these blocks."""
        for block in blocks:
            for tree, size, root in zip(Tree, self.sizes[block], self.roots[block], strict=True):
                assert store.hash_tiles.root(tree, size) == root
                for index in some(size, 5, block):
                    path = store.hash_tiles.path(tree, index, size)
                    assert root_from_path(self.leaves[tree][index], index, size, path) == root


@pytest.fixture(scope="module")
def written() -> Written:
    return Written()


@pytest.fixture(scope="module")
def made(written: Written, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "chain.db"
    with Store.create(path, FOUNDED) as store, store.batch():
        for one in written.kept:
            store.append(one)
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    return shutil.copyfile(made, tmp_path / made.name)


def rows(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM tiles ORDER BY 1, 2, 3").fetchall()


def checked(store: Store) -> Report:
    """What a check finds; that signatures are good is not in question here."""
    return Check(store, lambda claims: [True] * len(claims)).run()


def report_of(path: Path) -> Report:
    with Store.open(path, read_only=True) as store:
        return checked(store)


def test_a_store_has_the_trees_that_each_block_led_to(written: Written, made: Path, path: Path) -> None:
    assert [row[:5] for row in rows(path)] == [(0, 0, 0, 128, 1), (0, 0, 1, 256, 1), (1, 0, 0, 255, 0)]
    for read_only in (True, False):
        with Store.open(path, read_only=read_only) as store:
            written.assert_in(store, BLOCKS, *range(1, BLOCKS, 7), 127, 128, 129, 254, 255, 256, 257)
    copy_database(made, path.with_name("backup.db"))
    with Store.open(path.with_name("backup.db"), read_only=True) as store:
        written.assert_in(store, BLOCKS)


def test_a_store_that_is_opened_again_or_read_meanwhile_goes_on(written: Written, tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    with Store.create(path, FOUNDED) as store:
        written.assert_in(store, 0)
    with Store.open(path, read_only=True) as reader:
        for first, last in pairwise([0, 1, 127, 128, 200, 255, 256, 300]):
            with Store.open(path) as store:
                with store.batch():
                    for one in written.kept[first:last]:
                        store.append(one)
                written.assert_in(store, last, last // 2)
            written.assert_in(reader, last, last // 2)
    assert report_of(path).is_sound


def test_a_change_that_fails_leaves_the_trees_as_they_were(written: Written, tmp_path: Path) -> None:
    with Store.create(tmp_path / "chain.db", FOUNDED) as store:
        with store.batch():
            for one in written.kept[:100]:
                store.append(one)
        with suppress(ZeroDivisionError), store.batch():
            for one in written.kept[100:270]:
                store.append(one)
            written.assert_in(store, 270)
            raise ZeroDivisionError
        with pytest.raises(IndexError):
            store.hash_tiles.root(Tree.LOG, written.sizes[101][0])
        written.assert_in(store, 100)
        with store.batch():
            for one in written.kept[100:254]:
                store.append(one)
        store.database.execute("CREATE TRIGGER no BEFORE INSERT ON tiles BEGIN SELECT raise(ABORT, 'no'); END")
        with pytest.raises(DamagedStore, match="no"):
            store.append(written.kept[254])
        store.database.execute("DROP TRIGGER no")
        with pytest.raises(IndexError):
            store.hash_tiles.root(Tree.HEADERS, written.sizes[255][1])
        for one in written.kept[254:257]:
            store.append(one)
        written.assert_in(store, 257, 254)
    assert report_of(tmp_path / "chain.db").is_sound


# ---- damage -----------------------------------------------------------------------------------------------------

DAMAGES = {
    "a tile is gone": "DELETE FROM tiles WHERE tree = 0 AND number = 0",
    "the last is gone": "DELETE FROM tiles WHERE tree = 1",
    "a tile too many": "INSERT INTO tiles SELECT tree, level, 2, block_index, position, root, middle, hashes "
    "FROM tiles WHERE tree = 0 AND number = 1",
    "a level too many": "INSERT INTO tiles SELECT tree, 1, 0, block_index, position, root, middle, hashes "
    "FROM tiles WHERE tree = 0 AND number = 1",
    "a hash": "UPDATE tiles SET hashes = zeroblob(32) || substr(hashes, 33) WHERE tree = 1",
    "a hash half-way": "UPDATE tiles SET middle = zeroblob(32) || substr(middle, 33) WHERE tree = 0 AND number = 0",
    "a root": "UPDATE tiles SET root = zeroblob(32) WHERE tree = 0 AND number = 0",
    "its block": "UPDATE tiles SET block_index = block_index - 1 WHERE tree = 0 AND number = 1",
    "its place": "UPDATE tiles SET position = 0 WHERE tree = 0 AND number = 1",
    "no hashes": "UPDATE tiles SET hashes = 'text', middle = 3",
    "no root": "UPDATE tiles SET root = 'text'",
    "no place": "UPDATE tiles SET position = 'text', block_index = 0.5",
    "no number": "UPDATE tiles SET number = 'text' WHERE tree = 1",
}


@pytest.mark.parametrize("sql", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_tile_is_found_and_made_anew(written: Written, path: Path, sql: str) -> None:
    before = rows(path)
    execute(path, sql)
    with Store.open(path) as store:
        for tree, size in zip(Tree, written.sizes[-1], strict=True):
            with suppress(DamagedStore, IndexError):  # or it is a path that leads to another root
                store.hash_tiles.path(tree, 0, size)
        report = checked(store)
        assert (report.derived, report.lines) == (["tiles of hashes"], ["derived: tiles of hashes"])
        repair(store, report)
        written.assert_in(store, BLOCKS, 200)
    assert report_of(path).is_sound
    assert rows(path) == before


@pytest.mark.parametrize(
    ("tree", "sql"),
    [
        (Tree.LOG, "DELETE FROM tiles WHERE tree = 0 AND number = 0"),
        (Tree.LOG, "UPDATE tiles SET hashes = substr(hashes, 2)"),
        (Tree.LOG, "UPDATE tiles SET middle = substr(middle, 2)"),
        (Tree.LOG, "UPDATE tiles SET root = substr(root, 2)"),
        (Tree.LOG, "UPDATE tiles SET position = 'text'"),
        (Tree.HEADERS, "UPDATE blocks SET header_leaf = 'text' WHERE block_index = 290"),
    ],
)
def test_what_cannot_be_hashes_makes_no_path(written: Written, path: Path, tree: Tree, sql: str) -> None:
    execute(path, sql)
    said = f"the hashes of its {tree.name.lower()} were altered; check and repair"
    with Store.open(path, read_only=True) as store, pytest.raises(DamagedStore, match=said):
        store.hash_tiles.path(tree, 20, written.sizes[-1][tree])


def test_a_block_that_was_altered_is_named(written: Written, path: Path) -> None:
    execute(path, "UPDATE blocks SET encoded = x'c1' WHERE block_index = 290")
    with Store.open(path, read_only=True) as store, pytest.raises(DamagedStore, match="block 290 was altered"):
        store.hash_tiles.path(Tree.LOG, 20, written.sizes[-1][0])


def test_no_tree_goes_on_behind_a_gap(written: Written, tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    with Store.create(path, FOUNDED) as store, store.batch():
        for one in written.kept[:20]:
            store.append(one)
    execute(path, "DELETE FROM blocks WHERE block_index = 10")
    with Store.open(path) as store:
        for one in written.kept[20:22]:
            store.append(one)
        written.assert_in(store, 9)
        for tree in Tree:
            with pytest.raises(IndexError):
                store.hash_tiles.root(tree, written.sizes[10][tree])


@pytest.mark.parametrize("value", ["zeroblob(32)", "'text'"])
def test_a_changed_leaf_of_a_header_is_made_anew(written: Written, path: Path, value: str) -> None:
    before = rows(path)
    execute(path, f"UPDATE blocks SET header_leaf = {value} WHERE block_index IN (3, 290)")
    assert report_of(path).derived == ["hashes of blocks"]
    with Store.open(path) as store:
        repair(store, checked(store))
        written.assert_in(store, BLOCKS)
    assert report_of(path).is_sound
    assert rows(path) == before


@pytest.mark.parametrize("first", [1, 100, 200, 290])
def test_blocks_that_are_put_back_bring_their_hashes(written: Written, path: Path, first: int) -> None:
    before = rows(path)
    execute(path, "DELETE FROM blocks WHERE block_index BETWEEN ? AND ?", first, first + 5)
    with Store.open(path) as store:
        report = checked(store)
        assert report.missing_blocks == [(first, first + 5)]
        repair(store, report)
        assert all(int(str(row[3])) < first for row in rows(path))
        written.assert_in(store, first - 1)
        with pytest.raises(IndexError):
            store.hash_tiles.root(Tree.LOG, written.sizes[first][0])
        put_blocks(store, [one.block for one in written.kept[first + 2 : first + 5]])
        put_blocks(store, [one.block for one in written.kept[first - 1 : first + 2]])
        written.assert_in(store, BLOCKS, first)
    assert report_of(path).is_sound
    assert rows(path) == before


def test_blocks_that_go_at_the_end_take_their_hashes_with_them(written: Written, path: Path) -> None:
    execute(path, "UPDATE blocks SET encoded = x'c1' WHERE block_index > 250")
    with Store.open(path) as store:
        repair(store, checked(store))
        written.assert_in(store, 250)
        for one in written.kept[250:]:
            store.append(one)
        written.assert_in(store, BLOCKS)
    assert report_of(path).is_sound


def test_what_is_saved_of_a_damaged_file_has_its_tiles_again_after_repair(written: Written, path: Path) -> None:
    target = path.with_name("saved.db")
    salvage(path, target)
    assert rows(target) == []
    assert "tiles of hashes" in report_of(target).derived
    with Store.open(target) as store:
        repair(store, checked(store))
        written.assert_in(store, BLOCKS)
    assert rows(target) == rows(path)


def test_a_tile_that_is_kept_while_another_reads_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grown = Grown(tmp_path / "small.db", 2)
    grown.add(Tree.LOG, LEAVES[:14])
    with closing(Store.open(tmp_path / "small.db", read_only=True)) as store:
        reader, select = grown.reader(store), store.database.select

        def and_the_node_goes_on(sql: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
            found = select(sql, values)
            if "FROM tiles" in sql and len(grown.blocks[Tree.LOG]) < 8:
                grown.add(Tree.LOG, LEAVES[14:18])
            return found

        monkeypatch.setattr(store.database, "select", and_the_node_goes_on)
        assert reader.root(Tree.LOG, 14) == root_of(LEAVES[:14])
    grown.store.close()

"""The form of a benchmark's result, its tables and plots, and how peers are set up and put side by side."""

import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import msgspec
import platformdirs
import pytest
from benchmarks import __main__ as command
from benchmarks import cometbft, course, document, peers, plots, processes, result, simulator, table
from benchmarks.__main__ import Benchmark
from benchmarks.result import Absent, Result, at_least, at_most, figure


@pytest.fixture(autouse=True)
def _verified_by_libsodium(tmp_path, monkeypatch):
    """Kept elsewhere, and by libsodium on every machine: where the native module is built, too."""
    monkeypatch.setattr(result, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(result, "verify_natively", None)


def test_a_result_is_kept_with_its_rounds_and_where_it_comes_from():
    taken = result.result("sync", [figure("sync / bare", "a / b", [0.9, 0.7, 0.8]), Absent("sync", "no peer")])
    taken.write()
    assert result.read_results() == [taken]
    kept = msgspec.json.decode((result.FOLDER / "sync.json").read_bytes())
    assert kept["figures"][0]["rounds"] == [0.9, 0.7, 0.8]
    assert (kept["figures"][0]["median"], kept["figures"][0]["low"], kept["figures"][0]["high"]) == (0.8, 0.7, 0.9)
    assert kept["absent"] == [{"name": "sync", "reason": "no peer"}]
    assert kept["verifier"].startswith("libsodium")
    assert all(kept[name] for name in ("commit", "taken_at", "processor", "cores", "python"))


def test_results_of_two_verifiers_do_not_replace_each_other(monkeypatch):
    result.result("sync", [figure("sync", "a", [1])]).write()
    monkeypatch.setattr(result, "verifier", lambda: "native 5.0")
    result.result("sync", [figure("sync", "a", [2])]).write()
    assert [one.figures[0].median for one in sorted(result.read_results(), key=lambda one: one.verifier)] == [1, 2]


@pytest.mark.parametrize(
    ("goal", "median", "is_met"),
    [(at_least(0.8), 0.8, True), (at_least(0.8), 0.79, False), (at_most(12), 12, True), (at_most(12), 12.1, False)],
)
def test_a_goal_is_met_on_its_side(goal, median, is_met):
    assert goal.is_met(median) is is_met
    (row,) = table.rows([_result("one", figure("name", "a / b", [median], goal=goal))])
    assert row[3] == ("yes" if is_met else "no")


def test_the_native_verifier_has_goals_of_its_own(monkeypatch):
    assert at_least(0.8, native=1.8).bound == 0.8
    monkeypatch.setattr(result, "verifier", lambda: "native 5.0")
    assert (at_least(0.8, native=1.8).bound, at_most(0.7).bound) == (1.8, 0.7)


def test_a_table_tells_what_is_absent_and_why():
    shown = [_result("throughput", figure("rate", "a", [3, 1, 2], "records/s"), Absent("rate / X", "there is no X"))]
    text, markdown = table.text(shown, only_targets=True), table.markdown(shown)
    assert "absent: there is no X" in text
    assert "2 records/s" not in text
    assert "| rate | a |  | 2 records/s (1 to 3; 3) |  |" in markdown
    assert "absent: there is no X" in markdown
    assert "verified by libsodium" in markdown


def test_only_blocks_of_figures_are_written_into_the_page(tmp_path):
    figures = [figure("cost", "a", [5.0], "ms", at=place) for place in (4, 16)]
    _result("agreement", *figures).write()
    page = tmp_path / "performance.md"
    before = "# Words\n\n<!-- figures: agreement traffic -->\nold\n<!-- end of figures -->\n\nmore words\n"
    page.write_text(before)
    document.write(tmp_path)
    first = page.read_text()
    assert first.startswith("# Words\n\n<!-- figures: agreement traffic -->\n")
    assert first.endswith("<!-- end of figures -->\n\nmore words\n")
    assert "cost at 16" in first
    assert "old" not in first
    assert "Not measured yet: `traffic`." in first
    assert "members.svg" not in first
    document.write(tmp_path)
    assert page.read_text() == first


def test_plots_are_the_same_for_the_same_figures_and_take_the_colours_of_the_page(tmp_path):
    names = ("rate, Tallystick", "rate, CometBFT tuned", "processor time, Tallystick", "processor time, CometBFT tuned")
    given = {"throughput": _result("throughput", *(figure(name, "a", [1, 2, 3], "µs") for name in names))}
    assert plots.write(given, tmp_path / "one") == plots.write(given, tmp_path / "two") == ["throughput"]
    one, two = ((tmp_path / name / "throughput.svg").read_text() for name in ("one", "two"))
    assert one == two
    assert "prefers-color-scheme: dark" in one
    assert "currentColor" in one
    assert "CometBFT tuned" in one


def test_all_plots_can_be_drawn(tmp_path):
    wanted = {
        "throughput": [figure(f"{name}, X", "a", [1]) for name in ("rate", "processor time")],
        "latency": [figure("samples, X", "a", [20, 30])],
        **{
            name: [figure("cost", "a", [1, 2], at=place) for place in (4, 16)]
            for name in ("length", "batch", "agreement")
        },
        "traffic": [figure(name, "a", [1], at=4) for name in ("all", "certificates", "votes")],
    }
    wanted["length"] += [figure(name, "a", [1], "MB", at=10_000) for name in ("memory", "memory, whole")]
    given = {name: _result(name, *figures) for name, figures in wanted.items()}
    assert plots.write(given, tmp_path / "svg") == list(plots.PLOTS)


# ---- the command ----------------------------------------------------------------------------------------------------


def test_the_command_keeps_what_it_takes_and_ends_with_the_targets(monkeypatch, capsys):
    taken = [figure("a / b", "both", [0.9], goal=at_least(0.8)), figure("a", "alone", [5], "µs")]
    monkeypatch.setattr(command, "BENCHMARKS", {"trie": Benchmark(lambda: taken), "sync": Benchmark(lambda: [], list)})
    monkeypatch.setattr(sys, "argv", ["benchmarks", "trie"])
    assert command.main() == 0
    assert [one.figures for one in result.read_results()] == [tuple(taken)]
    *_, head, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["figure", "target", "measured", "met?"]
    assert last.split() == ["trie:", "a", "/", "b", "≥", "0.80", "0.90", "yes"]


def test_the_quick_ones_are_those_that_say_how(monkeypatch):
    monkeypatch.setattr(command, "BENCHMARKS", {"trie": Benchmark(lambda: []), "sync": Benchmark(lambda: [], list)})
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--quick"])
    assert command.main() == 0
    assert [one.benchmark for one in result.read_results()] == ["sync"]


def test_one_that_fails_keeps_none_of_the_others_from_running(monkeypatch, capsys):
    def fail():
        yield figure("first", "alone", [1])
        raise ValueError("broken")

    monkeypatch.setattr(command, "BENCHMARKS", {"trie": Benchmark(fail), "sync": Benchmark(lambda: [])})
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    assert command.main() == 1
    kept = {one.benchmark: one for one in result.read_results()}
    assert [one.name for one in kept["trie"].figures] == ["first"]
    assert kept["trie"].absent == (Absent("the rest", "it failed with ValueError"),)
    assert "sync" in kept
    assert "ValueError: broken" in capsys.readouterr().err


def test_a_name_that_no_benchmark_has_is_refused_before_anything_runs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "trie", "try"])
    with pytest.raises(SystemExit):
        command.main()
    assert "no benchmark try; there are: one-node" in capsys.readouterr().err
    assert not result.FOLDER.exists()


# ---- peers ----------------------------------------------------------------------------------------------------------


class _Nodes:
    """A network that does what it is told in no time."""

    folders = tuple(map(Path, "1234"))
    sessions: tuple[int, ...] = ()

    def __init__(self, waits):
        self.waits, self.ended = waits, []

    def prepare(self, count):
        return []

    def feed(self, bodies, count):
        return 1.0

    def submit(self, node):
        assert node not in {one for _, one in self.ended}
        return self.waits.pop(0)

    def repeat(self, bodies):
        return False

    def kill(self, node):
        self.ended.append(("killed", node))

    def stop(self, node):
        self.ended.append(("stopped", node))


def _system(name, waits):
    @contextmanager
    def running():
        yield _Nodes(list(waits))

    return peers.System(name, running)


def _not_built():
    raise processes.NotInstalled("there is no go")


def test_systems_are_compared_round_by_round_and_those_absent_are_told(monkeypatch):
    monkeypatch.setattr(peers, "_IDLE_S", 0)
    systems = (_system(peers.OURS, [0, 10, 20, 30]), _system("B", [0, 40, 80, 120]), peers.System("C", _not_built))
    monkeypatch.setattr(peers, "SYSTEMS", systems)
    taken = list(peers.latency(2, 3))
    figures = {one.name: one for one in taken if not isinstance(one, Absent)}
    assert list(figures["idle / B"].rounds) == [0.25, 0.25]
    assert list(figures["samples, B"].rounds) == [40, 80, 120, 40, 80, 120]
    assert {one for one in taken if isinstance(one, Absent)} >= {Absent("idle / C", "there is no go")}


def test_the_simulator_is_measured_in_turn_with_that_of_an_earlier_commit(monkeypatch):
    for name, value in {"NODES": 64, "CERTIFICATES": 64, "ROUNDS": 1, "memory_per_node_bytes": lambda: 1}.items():
        monkeypatch.setattr(simulator, name, value)
    taken = {one.name: one for one in simulator.thousand_nodes()}
    if isinstance(taken["events / earlier"], Absent):
        pytest.skip(f"NOT TESTED: {taken['events / earlier'].reason}")
    assert taken["events / earlier"].median > 0
    assert taken["whole / earlier"].median > 0
    monkeypatch.setattr(simulator, "EARLIER", "0" * 40)
    told = {one.name: one for one in simulator.thousand_nodes()}
    assert told["events / earlier"] == Absent("events / earlier", f"git does not have commit {'0' * 40} here")


@pytest.mark.parametrize("is_closed", [True, False])
def test_nothing_is_handed_in_at_a_node_that_has_died(monkeypatch, is_closed):
    monkeypatch.setattr(peers, "_DEATH_EVERY_S", 0)
    nodes = _Nodes(list(range(61)))
    waits = peers._with_a_death(nodes, 60, is_closed=is_closed)
    assert nodes.ended[0] == ("killed" if is_closed else "stopped", 3)
    assert nodes.ended[-1] == ("killed", 3), "or it would hold up the end of the network"
    assert sorted(waits) == list(range(1, 61))


def test_without_go_a_peer_is_absent(tmp_path, monkeypatch):
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _: tmp_path)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(processes.NotInstalled, match="no go"):
        cometbft.binary()


def test_a_record_is_handed_in_again_only_where_the_mempool_is_full():
    assert not cometbft._is_refused({"result": {"code": 0}})
    assert cometbft._is_refused({"error": {"data": "mempool is full: number of txs 5000 (max: 5000)"}})
    assert cometbft._is_refused({"error": {"data": "mempool is still rechecking, so it is considered as full"}})
    with pytest.raises(AssertionError, match="no such method"):
        cometbft._is_refused({"error": {"message": "no such method"}})


def test_settings_are_changed_where_they_stand_and_nowhere_else(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('size = 1\n\n[p2p]\nsize = 2\nladdr = "a"\n\n[mempool]\n# size = 3\nsize = 4\n')
    cometbft._configure(path, {"mempool.size": 50, "p2p.laddr": "tcp://127.0.0.1:20000"})
    assert path.read_text() == (
        'size = 1\n\n[p2p]\nsize = 2\nladdr = "tcp://127.0.0.1:20000"\n\n[mempool]\n# size = 3\nsize = 50\n'
    )
    with pytest.raises(AssertionError, match=r"p2p\.rate"):
        cometbft._configure(path, {"p2p.rate": 1})


def test_the_course_is_measured_in_rounds_with_the_baseline_in_turn(monkeypatch):
    turns = list[str]()
    makers = {"baseline": course._straightforward_nodes, "course": course._course_nodes}

    def noting(kind):
        def make(*count):
            turns.append(kind)
            return makers[kind](*count)

        return make

    monkeypatch.setattr(course, "_straightforward_nodes", noting("baseline"))
    monkeypatch.setattr(course, "_course_nodes", noting("course"))
    monkeypatch.setattr(course, "ROUNDS", {5: 3, 10: 2})
    monkeypatch.setattr(course, "MANY_NODES", 3)
    figures = list(course.against_the_straightforward_one())
    named = [(one.name, one.at, len(one.rounds)) for one in figures]
    ratio, rate = "ours / straightforward", "ours"
    assert named == [(ratio, 5, 3), (rate, 5, 3), (ratio, 10, 2), (rate, 10, 2), ("many nodes", None, 3)]
    assert turns == [*["baseline", "course"] * 5, *["course"] * 3]


def test_no_port_is_one_where_others_listen_by_default(monkeypatch):
    drawn = iter([26_652, 26_649, 26_670])
    monkeypatch.setattr(processes, "drawn_port", lambda _: next(drawn))
    assert processes.ports(8) == range(26_670, 26_678)


def test_what_a_process_and_its_children_spent_is_counted_by_session():
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\ninput()"
    command = [sys.executable, "-c", burn]
    with subprocess.Popen(command, stdin=-1, stdout=-1, start_new_session=True) as process:
        process.stdout.readline()
        spent = processes.spent_s([process.pid])
        process.stdin.close()
    assert spent >= 0.25
    assert processes.spent_s([process.pid]) == 0


def _result(benchmark, *taken) -> Result:
    return result.result(benchmark, taken)

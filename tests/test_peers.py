"""Comparisons with other solvers: what is reported, not how fast anything is."""

import importlib.util
import os
import re
import shutil
import sys
import time

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from exactrelu.bench import _peers_gated, _peers_patterns, _peers_training, local_search, peers, reproduce, scaling
from exactrelu.bench._instances import planted, planted_three
from exactrelu.bench._measure import measure
from exactrelu.bench._peers_conic import build_program, working_set
from exactrelu.bench._peers_figure import peers_figure
from exactrelu.bench._peers_table import COLUMNS, compared, fastest_lines, markdown, time_to, times
from exactrelu.bench._process import (
    ABSENT,
    BEGIN,
    FAILED,
    FINISHED,
    MEMORY_LIMIT,
    READY,
    TIME_LIMIT,
    Enough,
    Outcome,
    Point,
    Sieve,
    Task,
    Worker,
    processor_seconds,
)
from exactrelu.bench._record import read_record
from exactrelu.bench._scnn import network_objective
from exactrelu.bench._search import SEARCHES, ThreeLayers, TwoLayers
from exactrelu.enumerate import count_patterns, sign_patterns
from exactrelu.solve import max_beta, train

from arrangements import cube, threshold
from naive import lp_patterns as naive_patterns

TASK = Task("tiny", planted(6, 2)[0], 1, 12)
# what must be importable for a peer to be there; polymake is a program
NEEDS = {"scnn": "scnn", "relucent": "relucent", "SageMath": "sage", "CVXPY": "cvxpy",
         "Clarabel": "clarabel", "SCS": "scs"}  # fmt: skip


def present(name):
    if name == "polymake":
        return shutil.which("polymake") is not None
    return all(importlib.util.find_spec(module) is not None for key, module in NEEDS.items() if key in name)


# Peers that misbehave; they stand in this module because they run in another process


def ready_then(send):
    send(READY)
    send(BEGIN)


def endless(task, send):
    ready_then(send)
    send(Point(0.5, 7.0, "first"))
    while True:
        time.sleep(0.01)


def missing(task, send):
    import a_package_that_is_not_there  # noqa: F401


def broken(task, send):
    ready_then(send)
    raise ArithmeticError("no answer\nat all")


def greedy(task, send):
    ready_then(send)
    held = [np.ones(1 << 24) for _ in range(64)]  # 8 GB
    send(Point(1.0, float(len(held))))


def killed(task, send):
    ready_then(send)
    os._exit(3)


def honest(task, send):
    ready_then(send)
    print("a banner that nobody should see")
    send(Point(0.25, float(len(task.X)), f"OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']}"))


@pytest.fixture
def importable(monkeypatch):
    """This module under its own name in the processes of the peers, too."""
    folder = os.path.dirname(__file__)
    monkeypatch.setitem(sys.modules, "test_peers", sys.modules[__name__])
    monkeypatch.setenv("PYTHONPATH", folder)
    for peer in (endless, missing, broken, greedy, killed, honest):
        monkeypatch.setattr(peer, "__module__", "test_peers")


def test_a_worker_survives_what_peers_do(importable, capfd):
    before, memory = dict(os.environ), 1 << 30
    with Worker(1, memory) as worker:
        first = worker.run(honest, TASK, 60.0)
        assert (first.status, first.points) == (FINISHED, [Point(0.25, 6.0, "OMP_NUM_THREADS=1")])
        absent = worker.run(missing, TASK, 60.0)
        assert absent.status == ABSENT
        assert "a_package_that_is_not_there" in absent.message
        failed = worker.run(broken, TASK, 60.0)
        assert (failed.status, failed.message) == (FAILED, "ArithmeticError: no answer at all")
        stopped = worker.run(endless, TASK, 0.2)
        assert (stopped.status, stopped.points) == (TIME_LIMIT, [Point(0.5, 7.0, "first")])
        assert stopped.spent >= 0.2
        assert worker.run(killed, TASK, 60.0).message == "the process ended with code 3"
        if sys.platform == "linux":
            assert worker.run(greedy, TASK, 60.0).status == MEMORY_LIMIT
        assert worker.run(honest, TASK, 60.0).status == FINISHED  # a new process
    assert dict(os.environ) == before
    assert "banner" not in capfd.readouterr().out


def test_the_sieve_passes_on_what_matters():
    passed = []
    sieve = Sieve(passed.append, (2.0, 1.0))
    for item in (READY, Point(0.0, 9.0), Point(0.1, 9.5), Point(0.2, 8.0), Point(0.21, 1.5), Point(0.22, 1.4)):
        sieve(item)
    assert passed == [READY, Point(0.21, 1.5)]
    sieve.flush()
    assert passed[-1] == Point(0.22, 1.4)
    with pytest.raises(Enough):
        sieve(Point(0.3, 0.5))
    assert passed[-1] == Point(0.3, 0.5)
    everything = []
    plain = Sieve(everything.append, ())
    for value in (1.0, 2.0, 3.0):
        plain(Point(0.0, value))
    assert len(everything) == 3


# Ratios and tables


def test_time_to_is_the_shortest_of_the_runs_that_arrive():
    points = [Point(1.0, 5.0), Point(4.0, 2.0), Point(3.0, 1.5), Point(9.0, 0.1)]
    assert time_to(points, 2.0) == 3.0
    assert time_to(points, 0.05) is None
    assert time_to([], 1.0) is None


def test_ratios_of_hand_made_outcomes():
    row = compared(Outcome(FINISHED), 6.0, 2.0)
    assert (row["ratio"], row["relation"], row["status"], times(row)) == (3.0, "=", "reached", "3×")
    row = compared(Outcome(FINISHED), 1.0, 4.0)
    assert (row["ratio"], times(row)) == (0.25, "0.25× (behind)")
    row = compared(Outcome(TIME_LIMIT, spent=15.0), None, 0.01)
    assert (row["ratio"], row["relation"], row["seconds"], times(row)) == (1500.0, ">", 15.0, "> 1500×")
    row = compared(Outcome(TIME_LIMIT, spent=15.0), 3.0, 1.0)  # it had arrived before
    assert (row["ratio"], row["relation"]) == (3.0, "=")
    row = compared(Outcome(FINISHED), None, 1.0)
    assert (row["ratio"], times(row)) == (None, "not reached")
    for status in (ABSENT, FAILED, MEMORY_LIMIT):
        assert times(compared(Outcome(status), None, 1.0)) == status
    assert times({**row, "ratio": 123456.0, "relation": "="}) == "120000×"
    assert times({**row, "ratio": 0.5, "relation": ">"}) == "> 0.5×"  # a bound below 1 says nothing


@pytest.mark.parametrize(("theirs", "mine"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (np.nan, 1.0)])
def test_ratios_refuse_seconds_that_are_none(theirs, mine):
    with pytest.raises(ValueError, match="must be positive, got"):
        compared(Outcome(FINISHED), theirs, mine)


def test_markdown_tables():
    assert markdown(["a", "b"], [[1, "x|y"]]) == "| a | b |\n|---|---|\n| 1 | x\\|y |\n"
    with pytest.raises(ValueError, match="a row of 1 cells under 2 columns"):
        markdown(["a", "b"], [[1]])


def training_rows(outcomes, lower_bound=10.0):
    task = Task("made", np.ones((4, 2)), 1, 8, np.ones(4), 0.1, lower_bound, (1e-1, 1e-3), (11.0, 10.01))
    return [row for peer in outcomes for row in peers.training_rows(task, outcomes, peer)]


OURS = Outcome(FINISHED, [Point(0.5, 10.0), Point(1.0, 10.0)])  # the optimum at once, certified to 1e-3 later


def test_training_rows_of_hand_made_outcomes():
    search = Outcome(TIME_LIMIT, [Point(2.0, 10.5), Point(8.0, 10.2)], spent=15.0)
    rows = training_rows({"exactrelu": OURS, "search": search, "other": Outcome(ABSENT, message="No module named x")})
    found = {(row["peer"], row["accuracy"]): row for row in rows}
    assert [found["exactrelu", a]["seconds"] for a in (1e-1, 1e-3)] == [0.5, 1.0]  # until certified
    assert found["search", 1e-1]["ratio"] == 4.0
    assert (found["search", 1e-3]["ratio"], found["search", 1e-3]["relation"]) == (15.0, ">")
    assert found["search", 1e-3]["note"].startswith("best 2.0e-02 above")
    assert found["other", 1e-3]["status"] == ABSENT
    assert set(rows[0]) == set(COLUMNS)
    text = peers.report(rows)
    assert "| search | 4× | > 15× | 2 | > 15 |" in text
    assert "- other is absent: No module named x" in text
    assert "No answer contradicts ours" in text


def test_the_fastest_peer_of_each_instance():
    rows = training_rows(
        {"exactrelu": OURS, "slow": Outcome(FINISHED, [Point(9.0, 10.0)]),
         "coarse": Outcome(TIME_LIMIT, [Point(0.25, 10.5), Point(3.0, 10.2)], spent=2.0)}
    )  # fmt: skip
    lines = fastest_lines(rows, "exactrelu")
    assert (
        "To 1e-01 the fastest peer takes 0.5 times our seconds in the geometric mean of 1 instances (0 of" in lines[0]
    )
    assert "coarse on made (0.5× (behind))" in lines[0]
    # a run that was stopped takes longer than one that did not arrive
    assert "To 1e-03 the fastest peer takes 3 times our seconds in the geometric mean of 1 instances (1 of" in lines[1]
    assert lines[1].endswith("nowhere.\n")
    assert "coarse" not in fastest_lines(rows, "exactrelu", least=1.0)[0]
    assert fastest_lines([row for row in rows if row["peer"] == "exactrelu"], "exactrelu") == []


def test_seconds_of_the_processor_are_those_of_the_process():
    before = time.process_time()
    found = processor_seconds(os.getpid())
    assert before <= found <= (time.process_time() if sys.platform == "linux" else time.monotonic())


def test_a_disagreement_is_shown():
    below = Outcome(FINISHED, [Point(1.0, 9.0)])
    rows = training_rows({"exactrelu": OURS, "search": below})
    assert {row["status"] for row in rows if row["peer"] == "search"} == {"wrong"}
    above = Outcome(FINISHED, [Point(1.0, 10.5)])
    rows = training_rows({"exactrelu": OURS, _peers_training.EXACT[0]: above})
    assert [row["status"] for row in rows if row["peer"] != "exactrelu"] == ["wrong", "wrong"]
    text = peers.report(rows)
    assert "answers 10.5, not 10" in text
    assert "No answer contradicts" not in text


def test_training_rows_need_our_own_answer():
    with pytest.raises(RuntimeError, match="did not finish"):
        training_rows({"exactrelu": Outcome(TIME_LIMIT)})


def test_pattern_rows_of_hand_made_outcomes():
    task = Task("made", np.ones((4, 2)), 1, 8)
    outcomes = {
        "exactrelu, patterns": Outcome(FINISHED, [Point(2.0, 8)]),
        "exactrelu, count": Outcome(FINISHED, [Point(1.0, 8)]),
        "polymake": Outcome(FINISHED, [Point(4.0, 8)]),
        "SageMath, counted": Outcome(FINISHED, [Point(4.0, 8)]),
        "vertex method (NumPy), counted": Outcome(FINISHED, [Point(4.0, 9)]),
        _peers_patterns.SAMPLING: Outcome(TIME_LIMIT, [Point(1.0, 3), Point(5.0, 6)], spent=6.0),
    }
    rows = {name: next(peers.pattern_rows(task, outcomes, name)) for name in outcomes}
    assert rows["polymake"]["ratio"] == 2.0  # against all patterns
    assert rows["SageMath, counted"]["ratio"] == 4.0  # against counting
    assert rows["vertex method (NumPy), counted"]["status"] == "wrong"
    sampled = rows[_peers_patterns.SAMPLING]
    assert (sampled["ratio"], sampled["relation"]) == (3.0, ">")
    assert sampled["note"] == "75.0% of the patterns at the limit"
    assert "vertex method (NumPy), counted answers 9, not 8" in peers.report(list(rows.values()))


def test_figure_of_hand_made_rows(tmp_path):
    rows = training_rows({"exactrelu": OURS, "search": Outcome(TIME_LIMIT, [Point(2.0, 10.5)], spent=15.0)})
    written = peers_figure(rows, tmp_path / "peers.png", ("exactrelu",))
    assert [path.suffix for path in written] == [".png", ".svg"]
    assert "search" in written[1].read_text()
    assert peers_figure(rows[:2], tmp_path / "none.png", ("exactrelu",)) == []
    assert not (tmp_path / "none.png").exists()


# The peers themselves


@pytest.fixture(scope="module")
def compared_for_real(tmp_path_factory):
    """The smoke version with every peer that is installed."""
    folder = tmp_path_factory.mktemp("peers")
    return folder, peers.study(folder, time_limit=10.0, quick=True)


def test_every_peer_that_is_there_is_right(compared_for_real):
    _, rows = compared_for_real
    unproven = ("scnn", "Adam", "L-BFGS")  # they need not arrive, but may not be below the optimum
    for name in {row["peer"] for row in rows}:
        statuses = {row["status"] for row in rows if row["peer"] == name}
        if not present(name):
            assert statuses == {ABSENT}, name
        elif name.startswith(unproven):
            assert statuses <= {"reached", "time limit", "not reached"}, name
        elif name not in ("relucent", "polymake"):  # these take long to start on a busy machine
            assert statuses == {"reached"}, name
        else:
            assert statuses <= {"reached", "time limit"}, name
    assert {row["peer"] for row in rows} == {*_peers_training.PEERS, *_peers_patterns.PEERS}


def test_what_is_absent_is_said(compared_for_real):
    folder, rows = compared_for_real
    text = (folder / "peers.md").read_text()
    for name in {row["peer"] for row in rows}:
        assert (f"- {name} is absent: " in text) == (not present(name))


def test_gated_networks_are_compared(tmp_path):
    names = [_peers_gated.OURS, "CVXPY + Clarabel, gated"]
    rows = peers.study(tmp_path, studies=["gated"], time_limit=10.0, quick=True, only=names)
    assert [row["peer"] for row in rows] == [name for _ in range(2) for name in names for _ in peers.ACCURACIES]
    assert {row["status"] for row in rows if row["accuracy"] >= 1e-6} == {"reached"}
    assert read_record(tmp_path / "peers_gated.csv")[1] == rows
    assert "### Gated networks" in (tmp_path / "peers_gated.md").read_text()


def test_tables_are_written(compared_for_real):
    folder, rows = compared_for_real
    read = [row for name in ("training", "patterns") for row in read_record(folder / f"peers_{name}.csv")[1]]
    assert read == rows
    notes = read_record(folder / "peers_training.csv")[0]
    assert (notes["threads"], notes["time limit"]) == ("1", "10 s for a run of a peer, twice that for an instance")
    for row in rows:
        if row["ratio"] is not None:
            assert row["ratio"] == pytest.approx(row["seconds"] / row["our_seconds"], rel=1e-4)
    assert (folder / "peers.svg").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time_limit": 0.0}, "time_limit must be positive, got 0.0"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"only": ["PyLearn"]}, "there is no peer 'PyLearn'; there are: exactrelu;"),
        ({"studies": ["testing"]}, "studies must be of training, gated, patterns, got 'testing'"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        peers.study(None, **options)


@pytest.mark.parametrize("X", [planted(9, 3)[0], cube(3)[1:], threshold(2), _peers_patterns.grid(2)], ids=str)
def test_linear_programs_find_all_patterns(X):
    found = _peers_patterns.lp_patterns(X)
    assert np.array_equal(found[np.lexsort(found.T[::-1])], naive_patterns(X))


def test_the_vertex_method_is_wrong_on_grids():
    """So the comparison has something to find: a peer with a wrong answer."""
    X = _peers_patterns.grid(4)
    assert _peers_patterns.vertex_method(X) != count_patterns(X) == len(sign_patterns(X))


def test_the_full_program_gives_a_network():
    X, y = planted(15, 2)
    beta = 0.1 * max_beta(X, y)
    program = build_program(X, y, beta)
    program.problem.solve(solver="CLARABEL")
    W, alpha = program.weights()
    optimum = train(X, y, beta, tol=1e-10).objective
    assert network_objective(X, y, beta, W, alpha) == pytest.approx(optimum, rel=1e-6)
    assert set(alpha) <= {1.0, -1.0}
    value, gap, _ = working_set(X, y, beta, 1e-6)
    assert gap <= 1e-6
    assert value == pytest.approx(optimum, rel=1e-6)


# Local search


@pytest.mark.parametrize("make", [
    lambda X, y: TwoLayers(X, y, 0.3, 4), lambda X, y: ThreeLayers(X, y, 0.3, 3, 2)], ids=["two", "three"])  # fmt: skip
def test_gradients(make):
    X, y = planted_three(12, 2, 2)
    objective = make(X, y)
    rng = np.random.default_rng(0)
    w = objective.start(rng)
    numeric = approx_fprime(w, lambda v: objective(v)[0], 1e-7)
    assert objective(w)[1] == pytest.approx(numeric, rel=1e-4, abs=1e-4)
    parts = [objective(w, np.arange(k, k + 6))[1] for k in (0, 6)]
    assert np.mean(parts, axis=0) == pytest.approx(objective(w)[1])  # minibatches are unbiased


@pytest.mark.parametrize("name", list(SEARCHES))
def test_searches_report_what_they_meet(name):
    X, y = planted(20, 2)
    beta = 0.1 * max_beta(X, y)
    objective = TwoLayers(X, y, beta, 10)
    met = []
    w = SEARCHES[name](objective, objective.start(np.random.default_rng(0)), np.random.default_rng(0), 200, met.append)
    assert min(met) <= objective(w)[0] < objective(objective.start(np.random.default_rng(0)))[0]
    assert min(met) >= train(X, y, beta, tol=1e-9).lower_bound


SMALL = ("--runs", "2", "--steps", "20", "--subnetworks", "2")


@pytest.mark.parametrize("layers", [2, 3])
def test_local_search_writes_table_and_picture(layers, tmp_path, capsys):
    out, picture = tmp_path / "local.csv", tmp_path / "local.png"
    size = ["--layers", str(layers), "--size", "6", "--beta-ratio", "0.2"]
    local_search.main([*size, *SMALL, "--out", str(out), "--plot", str(picture)])
    rows = read_record(out)[1]
    assert [row["layers"] for row in rows] == [layers] * 6
    assert all(row["objective"] >= row["lower_bound"] for row in rows)
    assert picture.exists()
    assert picture.with_suffix(".svg").exists()
    assert "| planted | L-BFGS | 2 | 2 |" in capsys.readouterr().out


def test_local_search_on_a_file(tmp_path):
    """Any rank: the reference comes with the bound that is proven in the time given."""
    X, y = planted(20, 6)
    path, out = tmp_path / "six.csv", tmp_path / "local.csv"
    table = np.column_stack([X, y > 0.0])
    np.savetxt(path, table, delimiter=",", header="a,b,c,d,e,f,label", comments="", fmt="%.6g")
    local_search.main([str(path), "--time-limit", "1", "--method", "Adam", *SMALL, "--out", str(out)])
    rows = [row for row in read_record(out)[1] if row["method"] == "Adam"]
    assert [(row["data"], row["r"], row["subnetworks"], row["run"]) for row in rows] == [
        ("six", 7, 2, 0),
        ("six", 7, 2, 1),
    ]
    assert all(row["lower_bound"] <= min(row["objective"], row["reference"]) for row in rows)


# Studies made anew


def test_reproduce_writes_tables_and_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "measured", lambda config, worker: measure(config))  # processes take long to start
    assert reproduce.main(["patterns", "local", "--quick", "--out-dir", str(tmp_path)]) == 0
    for name in ("patterns_n", "patterns_d", "local_two", "local_three"):
        for ending in ("csv", "png", "svg"):
            assert (tmp_path / f"{name}.{ending}").stat().st_size > 0
    rows = read_record(tmp_path / "patterns_n.csv")[1]
    assert [(row["n"], row["cells"]) for row in rows] == [(20, 40), (40, 80)]  # 2 n for rank 2
    wide = read_record(tmp_path / "patterns_d.csv")[1]
    assert {row["cells"] for row in wide} == {382}  # whatever d is
    summary = (tmp_path / "summary.md").read_text()
    assert "| 40 | 2 | 2 | 80 |" in summary
    assert f"Made by `{read_record(tmp_path / 'patterns_n.csv')[0]['command']}`" in summary
    for picture in re.findall(r"\]\((\S+\.png)\)", summary):
        assert (tmp_path / picture).exists()
    assert summary.index("## Patterns") < summary.index("## Two layers")


def test_reproduce_refuses_unknown_studies(tmp_path):
    plan = reproduce.Plan(tmp_path / "new", True)
    known = "patterns, training, sizes, local, real, peers"
    with pytest.raises(ValueError, match=f"there is no study 'speed'; there are: {known}"):
        reproduce.reproduce(["patterns", "speed"], plan)
    assert not plan.out.exists()
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        reproduce.reproduce(["real"], reproduce.Plan(tmp_path, True, 0))


def test_reproduce_says_which_part_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "study", lambda *grids, **options: exec('raise ValueError("no")'))
    with pytest.raises(RuntimeError, match="real failed"):
        reproduce.reproduce(["real"], reproduce.Plan(tmp_path, True))

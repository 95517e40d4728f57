"""The study of proven gaps: rows, resuming, the picture."""

import numpy as np
import pytest

from exactrelu.bench import gaps, relaxations
from exactrelu.bench._instances import planted
from exactrelu.bench._record import read_record
from exactrelu.solve import train


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 6))
    y = np.maximum(X[:, 0], 0.0) - np.abs(X[:, 1])
    path = tmp_path / "toy.csv"
    np.savetxt(path, np.column_stack([X, y]), delimiter=",", header="a,b,c,d,e,f,target", comments="")
    return path


def test_a_study_of_gaps_goes_on_where_it_stopped(table, tmp_path, capsys):
    out = tmp_path / "gaps.csv"
    words = ["--only-data", "--data", str(table), "--seconds", "0.5", "--out", str(out)]
    assert gaps.main([*words, "--parts", "0.3"]) == 0
    assert gaps.main([*words, "--parts", "0.3", "0.5", "--resume", "--plot", str(tmp_path / "gaps")]) == 0
    _, rows = read_record(out)
    assert [(row["data"], row["rank"], row["part"]) for row in rows] == [("toy", 7, 0.3), ("toy", 7, 0.5)]
    for row in rows:
        assert 0.0 <= row["gap"] <= 1.0
        assert 0.0 < row["without_pairs"] <= 1.0
    assert "0.5 max_beta: median gap" in capsys.readouterr().out
    assert (tmp_path / "gaps.svg").stat().st_size > 0


def test_classes_become_one_against_the_others():
    data = gaps.Data("three", True, np.random.default_rng(1).standard_normal((30, 6)), np.arange(30) % 3)
    problem = gaps.problem_of(data)
    assert problem.rank == 7
    assert problem.output_bias
    assert sorted(set(problem.y)) == [-1.0, 1.0]
    assert (problem.y > 0.0).sum() == 10


def test_nothing_to_measure_is_said():
    with pytest.raises(SystemExit):
        gaps.main(["--only-data"])


def test_the_published_relaxation_is_below_the_optimum_and_no_better_than_ours(monkeypatch, tmp_path):
    X, y = planted(6, 2)
    best = train(X, y, 0.1, tol=1e-7).objective
    assert 0.5 * best <= relaxations.sdpnn(X, y, 0.1, 60.0) <= best * (1.0 + 1e-3)
    monkeypatch.setattr(relaxations, "SIZES", ((6, 2),))
    monkeypatch.setattr(relaxations, "ROUNDS", 20)
    assert relaxations.main(["--out", str(tmp_path / "relaxations.csv")]) == 0
    _, rows = read_record(tmp_path / "relaxations.csv")
    assert [row["part"] for row in rows] == list(relaxations.PARTS)
    assert all(row["gap_pairs"] <= row["gap_sdpnn"] + 1e-3 for row in rows)

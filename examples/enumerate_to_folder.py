"""Write all patterns to a folder with worker processes; a run that was stopped goes on where it ended."""

import tempfile
from pathlib import Path

import joblib
from sklearn.datasets import load_diabetes

from exactrelu.enumerate import PatternFolder, count_patterns, enumerate_to

X = load_diabetes().data[:120, [2, 3, 8]]

if __name__ == "__main__":  # worker processes import this file
    with tempfile.TemporaryDirectory() as scratch, joblib.parallel_config(backend="loky", n_jobs=2):
        path = Path(scratch) / "patterns"
        folder = enumerate_to(path, X)
        print(f"{len(folder):,} patterns in {folder.n_parts} parts; counted: {count_patterns(X):,}")
        (path / "part-0000000.npy").unlink()  # as if the run had been killed before this part
        print("parts left:", len(PatternFolder(path).finished))
        print("complete again:", enumerate_to(path, X).complete)

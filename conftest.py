# Collecting the packages' folders (say, with --doctest-modules) would import kernels under wrong module
# names and poison Numba's cache; docstring examples run from tests/test_packaging.py instead.
collect_ignore = ["bench", "build", "enumerate", "setup.py", "solve", "src"]

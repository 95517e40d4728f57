"""The same package built by setuptools: for machines without Meson, `cython -a` listings and debuggers.

    python setup.py bdist_wheel                        # the same files as the wheel that Meson builds
    ANNOTATE=1 python setup.py build_ext --inplace     # build/cython/**/*.html shows where Python is called
    python setup.py build_ext --inplace --debug        # symbols for gdb

Metadata stand in pyproject.toml; this needs setuptools 77 or newer and Cython 3.1 or newer.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

TOP = {
    "exactrelu": "src/exactrelu",
    "exactrelu.bench": "bench",
    "exactrelu.enumerate": "enumerate",
    "exactrelu.solve": "solve",
}
SHARED = "exactrelu._memoryviews"  # what Cython writes for memoryviews, once for all modules
FOLDERS = TOP | {
    f"{package}.{room.parent.name}": room.parent.as_posix()
    for package, folder in TOP.items()
    for room in sorted(Path(folder).glob("*/__init__.py"))
}


def extensions() -> list[Extension]:
    """One extension module per .pyx file, under the name of the package it belongs to, and what they share."""
    return [
        Extension(SHARED, [f"{SHARED.replace('.', '/')}.c"]),
        *(
            Extension(f"{package}.{source.stem}", [source.as_posix()], libraries=["m"] if os.name == "posix" else [])
            for package, folder in FOLDERS.items()
            for source in sorted(Path(folder).glob("*.pyx"))
        ),
    ]


if __name__ == "__main__":
    setup(
        packages=list(FOLDERS),
        package_dir=FOLDERS,
        package_data={"exactrelu": ["py.typed"], "exactrelu.bench": ["results/guard.csv"]},
        include_package_data=False,
        ext_modules=cythonize(
            extensions(),
            include_path=["."],
            build_dir="build/cython",
            annotate="ANNOTATE" in os.environ,
            shared_utility_qualified_name=SHARED,
        ),
    )

"""Check that two wheels hold the same files, the same entry points and the same licence.

python compare_wheels.py ONE.whl OTHER.whl
"""

import sys
import zipfile

# What each build tool writes about itself
OWN = ("RECORD", "WHEEL", "METADATA", "top_level.txt")


def contents(path: str) -> dict[str, bytes]:
    """Files of a wheel by name; compiled modules count by name only, text files by content."""
    with zipfile.ZipFile(path) as wheel:
        return {
            name: b"" if name.endswith((".so", ".pyd")) else wheel.read(name).strip()
            for name in wheel.namelist()
            if not (".dist-info/" in name and name.endswith(OWN)) and not name.endswith("/")
        }


def metadata(path: str) -> list[str]:
    """Sorted header fields of METADATA that users depend on."""
    with zipfile.ZipFile(path) as wheel:
        name = next(entry for entry in wheel.namelist() if entry.endswith(".dist-info/METADATA"))
        header = wheel.read(name).decode().partition("\n\n")[0].splitlines()
    wanted = (
        "Name:",
        "Version:",
        "Requires-Dist:",
        "Requires-Python:",
        "Provides-Extra:",
        "License-Expression:",
    )
    return sorted(line.replace(" ", "").replace("'", '"') for line in header if line.startswith(wanted))


def main(one: str, other: str) -> int:
    """Print the differences; 0 when there are none."""
    first, second = contents(one), contents(other)
    problems = [f"only in {one}: {name}" for name in sorted(first.keys() - second.keys())]
    problems += [f"only in {other}: {name}" for name in sorted(second.keys() - first.keys())]
    problems += [f"differs: {n}" for n in sorted(first.keys() & second.keys()) if first[n] != second[n]]
    difference = set(metadata(one)) ^ set(metadata(other))
    problems += [f"metadata differ: {line}" for line in sorted(difference)]
    print("\n".join(problems) or f"{len(first)} files, the same in both wheels")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

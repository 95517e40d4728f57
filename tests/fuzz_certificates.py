"""Runs the random certificates of `certificate_cases.py` by `verify`, and counts what that says of them.

``python tests/fuzz_certificates.py --cases 100000 --seed 0`` runs both kinds and prints what went wrong;
`test_certificate_fuzz.py` runs a few hundred.  Every problem follows from (seed, index) alone, ``--only 17`` runs one.
"""

from __future__ import annotations

import argparse
import collections
import time
from contextlib import suppress

import numpy as np
from certificate_cases import Case, forged, honest

from exactrelu.certificates import NotProvenError

VERIFY_LIMIT = 10.0  # seconds, after which a proof counts as "not proven"


def verdict(case: Case) -> str:
    """What `verify` says: "holds", "not proven" (late, or by rounding) or "refused" with its reason."""
    if case.certificate is None:
        return "refused: no file"
    try:
        with np.errstate(all="ignore"):
            case.certificate.verify(case.X, case.y, sample_weight=case.weight, time_limit=VERIFY_LIMIT)
    except NotProvenError as error:
        return f"rounding: {error}" if "scale the columns" in str(error) else f"not proven: {error}"
    except ValueError as error:
        return f"refused: {error}"
    return "holds"


def wrong(kind: str, case: Case, said: str) -> bool:
    """Whether a verdict is wrong; rounding may only hide the proof of what training did not make."""
    if kind == "forged":
        return said == "holds"
    return said.startswith("refused") or (said.startswith("rounding") and case.kind != "known norm")


def run(
    seed: int, cases: int, kind: str, only: int | None = None, *, until_wrong: bool = False
) -> tuple[collections.Counter[tuple[str, str]], list[str]]:
    """Verdicts by kind of case, and descriptions of what went wrong, of at least so many cases."""
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    failures: list[str] = []
    index = 0 if only is None else only
    with suppress(KeyboardInterrupt):  # counts of what was done by then are shown
        while counts.total() < cases and only in (None, index) and not (until_wrong and failures):
            rng = np.random.default_rng([seed, index, kind == "forged"])
            for case in forged(rng) if kind == "forged" else honest(rng):
                said = verdict(case)
                counts[case.kind, " ".join(said.split()[:2]).strip(":")] += 1
                if wrong(kind, case, said):
                    failures.append(f"{kind}, seed {seed}, problem {index}, {case.kind}: {said}")
                    print(failures[-1], flush=True)
            index += 1
    return counts, failures


def main() -> int:
    """Run from the command line; returns 1 when a verdict was wrong."""
    parser = argparse.ArgumentParser(description="Honest and forged certificates.")
    parser.add_argument("--cases", type=int, default=10_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=("honest", "forged"), help="only this kind")
    parser.add_argument("--only", type=int, help="the number of a single problem")
    args = parser.parse_args()
    failed = 0
    for kind in (args.kind,) if args.kind else ("honest", "forged"):
        started = time.monotonic()
        counts, failures = run(args.seed, args.cases, kind, args.only)
        failed += len(failures)
        print(f"{counts.total()} {kind}, seed {args.seed}: {len(failures)} wrong, {time.monotonic() - started:.0f} s")
        for (name, said), count in sorted(counts.items()):
            print(f"  {name:32s} {said:32s} {count}")
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())

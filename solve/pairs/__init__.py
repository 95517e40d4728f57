"""The pair bound: a doubly nonnegative relaxation of training for any rank, and branching over it."""

from ._api import price_pairs, solve_pairs
from ._proofs import PairResult, proof_seconds

__all__ = ["PairResult", "price_pairs", "proof_seconds", "solve_pairs"]

"""Verifiers: programs that say whether a response is right, each also a ``Scorer``.

Made from plain specs: ``verifier_of({"kind": "word_count", "at_least": 50})``. The kinds and their
keys are in docs/verifiers.md.
"""

from assay.feedback.verifiers import combine, counts, layout, patterns, truths
from assay.feedback.verifiers.base import KINDS, Check, Rule, TextRule, Verifier
from assay.feedback.verifiers.combine import All, Weighted
from assay.feedback.verifiers.specs import (
    is_verifier,
    load_verifier,
    load_verifiers,
    verifier_of,
    verifiers_of,
)

# a kind is known once its module is loaded
_MODULES = (combine, counts, layout, patterns, truths)

__all__ = [
    "KINDS",
    "All",
    "Check",
    "Rule",
    "TextRule",
    "Verifier",
    "Weighted",
    "is_verifier",
    "load_verifier",
    "load_verifiers",
    "verifier_of",
    "verifiers_of",
]

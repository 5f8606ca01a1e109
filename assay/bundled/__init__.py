"""Data that ships with Assay: everyday questions with ranked replies (README.md tells)."""

from pathlib import Path

TRAIN = Path(__file__).with_name("everyday_train.jsonl.gz")
HELDOUT = Path(__file__).with_name("everyday_heldout.jsonl.gz")

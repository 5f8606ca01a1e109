"""Scorers, batch scoring of files, best-of-n, and verification of a run."""

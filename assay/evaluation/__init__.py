"""Evaluation: suites, baselines, bias probes, best-of-n, comparison of models, reports."""

"""Preference data: loading, splitting by prompt, the scoring contract and tree packing."""

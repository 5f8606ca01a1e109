"""Candidate responses: what is sampled of whom, which of it is distinct, and where it goes."""

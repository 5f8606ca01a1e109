"""Backbones, the tree engine, heads, reward models and their files."""

"""Losses, and the loop that trains reward models with them."""

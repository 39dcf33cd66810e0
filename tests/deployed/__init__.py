"""Judges a deployed stack, as README.md here says."""

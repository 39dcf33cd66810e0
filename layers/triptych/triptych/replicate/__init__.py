"""Replicate: predictions, webhooks and their signatures, downloads of outputs.

Nothing here knows what a job does next; that belongs in `flows`.
"""

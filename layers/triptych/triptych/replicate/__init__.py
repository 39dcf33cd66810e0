"""Everything that Replicate says or is asked: predictions, webhooks, downloads of outputs.

Nothing here knows what a job is to do next: that belongs in `flows`.
"""

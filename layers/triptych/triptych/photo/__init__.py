"""The bytes of photos and outputs: their format, whether they are safe to open, and the prepared copy.

Nothing here stores or fetches them; that belongs in `aws` and `replicate`.
"""

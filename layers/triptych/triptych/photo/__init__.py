"""The bytes of photos and outputs: which format they are, whether they are safe to open, and the prepared copy.

Nothing here stores or fetches them: that belongs in `aws` and `replicate`.
"""

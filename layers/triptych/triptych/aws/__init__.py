"""Everything that AWS is asked: the jobs table, the bucket with all its keys, the queues, the event bus.

Nothing here decides anything about a job: that belongs in `job` and `flows`.
"""

"""The AWS services: the jobs table, the counts of spending, the bucket with its key layout, the queues, the event bus.

Nothing here decides anything about a job; that belongs in `job` and `flows`.
"""

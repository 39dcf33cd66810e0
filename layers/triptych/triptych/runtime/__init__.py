"""The surroundings of every function: init, clock, time budgets, TLS, logs and metrics.

Nothing here knows AWS's services, Replicate or the flow of a job.
"""

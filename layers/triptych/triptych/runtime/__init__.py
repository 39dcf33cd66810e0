"""What every function needs around its work: init, clock, time limits, TLS, logs and metrics.

Nothing here knows AWS's services, Replicate or the flow of a job.
"""

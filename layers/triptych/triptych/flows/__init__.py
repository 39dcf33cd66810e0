"""What happens to a job, one file for each thing: it reads the job, applies the rules, asks others and writes.

Nothing here speaks HTTP or SQL: that belongs in `replicate` and `aws`. No rule is decided here: rules stand above the
rooms, in `job`.
"""

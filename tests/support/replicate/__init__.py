"""Replicate without I/O, threads or a clock of its own: one state machine behind each stand-in for Replicate.

Each call is given the time, in nanoseconds since the epoch, so a stand-in runs on real or on virtual time. A stand-in
adds how requests arrive, what a prediction makes, how webhooks leave, and its faults.
"""

"""What can happen to a job, one file for each: create, open the photo, generate, collect, finish, watch, clean up.

Those that read or change a job do so through `record`. Nothing here speaks HTTP or to AWS directly; that belongs in
`replicate`, `runtime` and `aws`. Nothing here decides a rule; rules are in `job`.
"""

"""What the functions share: the job and its rules, its table, its pictures in S3, Replicate."""

"""axe-core, which finds what is wrong for people with disabilities. Its npm package has a lock of its own."""

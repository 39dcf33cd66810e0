"""`python3 -m tests.mutation [--seed N] [--sample N] [MODULE …]`: put defects into the layer and count those that a test notices."""

from tests import environment

environment.ensure("tests.mutation")

from tests.mutation.command import main  # noqa: E402  # its packages are in .venv

if __name__ == "__main__":
    main()

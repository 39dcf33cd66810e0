"""Two clients of the API, generated from its description, and the files that generate and test them."""

"""What an operator does when a person asks for their data: export everything of one owner, or erase it."""

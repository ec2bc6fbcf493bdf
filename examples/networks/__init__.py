"""Networks of other people, written as their papers describe them, as a user brings them along."""

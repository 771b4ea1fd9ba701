"""What this package is measured by: pieces of work, and comparisons of the time they take with that of peers."""

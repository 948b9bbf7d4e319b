"""What `python -m voice doctor` looks at: each check takes a `Patient` and gives findings."""

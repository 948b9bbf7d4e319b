"""Which row of the fault matrix and of the threat table is shown by which test, and docs/reliability.md made of it."""

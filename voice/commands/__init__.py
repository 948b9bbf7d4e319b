"""What the commands of `python -m voice` do, one module each; voice/cli.py says which options they have."""

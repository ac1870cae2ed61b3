"""What the papers claim, one file per group of experiments; tools/claims.py runs them and writes the page."""
